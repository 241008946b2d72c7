/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <stdio.h>
#include <time.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/codec.h"

struct table {
    bool json;
    uint64_t plain; /* bit i: the cells of column i are JSON already */
    uint32_t columns, rows;
    const char *const *name;
    char **cell; /* rows * columns */
};

uint32_t terminal_width(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 100;
}

bool time_text(int64_t time_us, char out[40])
{
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm date;
    char text[24];

    if (gmtime_r(&seconds, &date) == NULL || strftime(text, sizeof(text), "%F %T", &date) == 0)
        return false;
    snprintf(out, 40, "%s.%03dZ", text, (int)(time_us / 1000 % 1000));
    return true;
}

/* Columns on a terminal: code points; wide ones count as one, which is right for almost all text here. */
static uint32_t display_width(const char *text)
{
    uint32_t width = 0;

    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

struct table *table_open(const struct call *c, const char *const *columns, uint32_t count, uint64_t plain)
{
    struct table *t = base_alloc(sizeof(*t));

    *t = (struct table){.json = c->json, .plain = plain, .columns = count, .name = columns};
    return t;
}

static void json_row(const struct table *t, const char *const *cells)
{
    struct buffer out = {0};

    for (uint32_t i = 0; i < t->columns; i++) {
        buffer_put(&out, i == 0 ? "{" : ", ", i == 0 ? 1 : 2);
        json_escape(span_text(t->name[i]), &out);
        buffer_put(&out, ": ", 2);
        if (i < 64 && t->plain >> i & 1)
            buffer_put(&out, cells[i], strlen(cells[i]));
        else
            json_escape(span_text(cells[i]), &out);
    }
    buffer_put(&out, "}\n", 2);
    fwrite(out.base, 1, out.size, stdout);
    buffer_fini(&out);
}

void table_row(struct table *t, const char *const *cells)
{
    if (t->json) {
        json_row(t, cells);
        return;
    }
    t->cell = base_realloc(t->cell, (t->rows + 1) * t->columns * sizeof(char *));
    for (uint32_t i = 0; i < t->columns; i++)
        t->cell[t->rows * t->columns + i] = base_strdup(cells[i]);
    t->rows++;
}

/* One cell, cut to its width on a terminal; the last column gets what is left of the line. */
static void print_cell(const char *text, uint32_t width, bool last)
{
    uint32_t shown = 0;
    bool cut = display_width(text) > width;

    for (const char *c = text; *c != '\0'; c++) {
        bool starts = ((unsigned char)*c & 0xc0) != 0x80;

        if (starts && shown + cut == width)
            break;
        shown += starts;
        /* What others stored must not steer the terminal. */
        putchar((unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c);
    }
    if (cut) {
        fputs("…", stdout);
        shown++;
    }
    for (; !last && shown < width + 2; shown++)
        putchar(' ');
}

void table_close(struct table *t)
{
    uint32_t width[LIMIT_COLUMNS + 2] = {0}, left = terminal_width();

    for (uint32_t i = 0; i < t->columns && !t->json; i++) {
        width[i] = display_width(t->name[i]);
        for (uint32_t r = 0; r < t->rows; r++) {
            uint32_t w = display_width(t->cell[r * t->columns + i]);

            width[i] = w > width[i] ? w : width[i];
        }
        if (i + 1 < t->columns && width[i] > 60)
            width[i] = 60;
        if (i + 1 == t->columns && isatty(STDOUT_FILENO))
            width[i] = left > 10 ? left : 10;
        left -= width[i] + 2 < left ? width[i] + 2 : left;
    }
    for (uint32_t i = 0; i < t->columns && !t->json; i++)
        print_cell(t->name[i], width[i], i + 1 == t->columns);
    if (!t->json)
        putchar('\n');
    for (uint32_t r = 0; r < t->rows; r++) {
        for (uint32_t i = 0; i < t->columns; i++) {
            print_cell(t->cell[r * t->columns + i], width[i], i + 1 == t->columns);
            free(t->cell[r * t->columns + i]);
        }
        putchar('\n');
    }
    free(t->cell);
    free(t);
}

void print_batch(const struct call *c, const struct leat_batch *batch)
{
    const char *name[LIMIT_COLUMNS];
    struct buffer cell[LIMIT_COLUMNS];

    for (uint32_t i = 0; i < batch->columns; i++) {
        name[i] = batch->column[i].name;
        buffer_init(&cell[i], 0);
    }
    struct table *t = table_open(c, name, batch->columns, 0);
    for (uint32_t row = 0; row < batch->rows; row++) {
        const char *text[LIMIT_COLUMNS];

        if (c->json) {
            buffer_clear(&cell[0]);
            batch_row_to_json(batch, row, &cell[0]);
            printf("%.*s\n", (int)cell[0].size, (const char *)cell[0].base);
            continue;
        }
        for (uint32_t i = 0; i < batch->columns; i++) {
            struct leat_value v = leat_at(batch, row, i);

            buffer_clear(&cell[i]);
            if (v.type == LEAT_STR)
                buffer_put(&cell[i], v.as.bytes.base, v.as.bytes.size);
            else
                value_to_json(&v, &cell[i]);
            buffer_u8(&cell[i], 0);
            text[i] = (const char *)cell[i].base;
        }
        table_row(t, text);
    }
    table_close(t);
    for (uint32_t i = 0; i < batch->columns; i++)
        buffer_fini(&cell[i]);
}

double call_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
