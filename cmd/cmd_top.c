/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "cmd/signals.h"
#include "cmd/top.h"

/* leat top: a screen of figures, new each second. */

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
    ended = number;
}

/* Whoever has the directory open writes its figures there each second, and once more when it closes. */
static int read_figures(const char *data, struct buffer *text, struct top_sample **out, struct leat_error *err)
{
    enum { MOST = 64 << 20 };
    char path[4096];

    snprintf(path, sizeof(path), "%s/stats.jsonl", data);
    buffer_init(text, MOST);
    int rv = file_read(path, MOST, text, err);
    *out = rv == 0 ? top_sample_open(buffer_bytes(text)) : NULL;
    return rv == 0 && *out == NULL ? LEAT_ENOTFOUND : rv;
}

int call_figures(const char *data, struct buffer *text, struct top_sample **out)
{
    struct leat_error err = {0};
    int rv = read_figures(data, text, out, &err);

    if (rv == LEAT_ENOTFOUND)
        fprintf(stderr, "leat: there are no figures in '%s': nothing has run there\n", data);
    else if (rv != 0)
        call_error(&err);
    return rv == 0 ? 0 : EXIT_OPEN;
}

/* NULL: there are none now. */
static struct top_sample *read_sample(const char *data)
{
    struct top_sample *s;
    struct buffer text;

    read_figures(data, &text, &s, NULL);
    buffer_fini(&text);
    return s;
}

static void look_around(struct top_view *v)
{
    struct statvfs disk;

    v->wall_us = clock_real()->wall_us(clock_real());
    if (statvfs(v->directory, &disk) == 0) {
        v->disk_free = (uint64_t)disk.f_bavail * disk.f_frsize;
        v->disk_size = (uint64_t)disk.f_blocks * disk.f_frsize;
    }
}

/* ---- The terminal ---- */

struct screen {
    struct termios kept;
    bool changed;
};

static void screen_begin(struct screen *s)
{
    struct termios raw;

    s->changed = tcgetattr(STDIN_FILENO, &s->kept) == 0;
    if (s->changed) {
        raw = s->kept;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    fputs("\x1b[?1049h\x1b[?25l", stdout);
}

static void screen_end(const struct screen *s)
{
    fputs("\x1b[?25h\x1b[?1049l", stdout);
    fflush(stdout);
    if (s->changed)
        tcsetattr(STDIN_FILENO, TCSANOW, &s->kept);
}

static uint32_t terminal_height(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 3 ? size.ws_row : 24;
}

/* Over what was there, so that nothing flickers; lines that do not fit are left out. */
static void screen_show(const struct buffer *frame)
{
    const char *at = (const char *)frame->base, *end = at + frame->size;
    uint32_t left = terminal_height() - 1;

    fputs("\x1b[H", stdout);
    for (; at < end && left > 0; left--) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));

        printf("%.*s\x1b[K\n", (int)(stop - at), at);
        at = stop + 1;
    }
    fputs(at < end ? "more lines than the terminal has\x1b[K" : "\x1b[J", stdout);
    fflush(stdout);
}

/* A key, a signal or some time. true: go on. */
static bool wait_for_key(int ms)
{
    struct pollfd in = {.fd = isatty(STDIN_FILENO) ? STDIN_FILENO : -1, .events = POLLIN};
    char key = 0;

    if (poll(&in, 1, ms) > 0 && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q' || key == 3))
        return false;
    return ended == 0;
}

/* ---- Once, and again and again ---- */

/* Two moments, so that there are rates; one where nobody writes new figures. */
static void take_two(const char *data, struct top_view *v, struct top_sample **before, struct top_sample **now)
{
    enum { TRIES = 30, EACH_MS = 100 };

    for (int i = 0; i < TRIES && v->wall_us - top_sample_time(*now) < 3000000; i++) {
        poll(NULL, 0, EACH_MS);
        struct top_sample *s = read_sample(data);

        if (s != NULL && top_sample_time(s) != top_sample_time(*now)) {
            *before = *now;
            *now = s;
            return;
        }
        top_sample_close(s);
    }
}

static int once(const struct call *c, struct top_view *v, struct top_sample *first)
{
    struct top_sample *before = NULL, *now = first;
    struct buffer out = {0};

    look_around(v);
    take_two(v->directory, v, &before, &now);
    look_around(v);
    v->before = before;
    v->now = now;
    if (c->json)
        top_json(v, &out);
    else
        top_frame(v, &out);
    fwrite(out.base, 1, out.size, stdout);
    buffer_fini(&out);
    top_sample_close(before);
    top_sample_close(now);
    return 0;
}

static int again(struct top_view *v, struct top_sample *first)
{
    struct top_sample *before = NULL, *now = first;
    struct buffer frame = {0};
    struct screen screen;

    signals_catch(on_signal, 0);
    v->colour = getenv("NO_COLOR") == NULL;
    screen_begin(&screen);
    do {
        struct top_sample *s = read_sample(v->directory);

        if (s != NULL && top_sample_time(s) != top_sample_time(now)) {
            top_sample_close(before);
            before = now;
            now = s;
        } else {
            top_sample_close(s);
        }
        look_around(v);
        v->before = before;
        v->now = now;
        v->width = terminal_width();
        buffer_clear(&frame);
        top_frame(v, &frame);
        screen_show(&frame);
    } while (wait_for_key(1000));
    screen_end(&screen);
    buffer_fini(&frame);
    top_sample_close(before);
    top_sample_close(now);
    return 0;
}

int cmd_top(struct call *c)
{
    const char *data = call_option(c, "data");
    struct top_sample *first;
    struct buffer text;

    if (data == NULL)
        return call_usage(c, "say where the data is: --data DIR");
    int rv = call_figures(data, &text, &first);
    buffer_fini(&text);
    if (rv != 0)
        return rv;
    struct top_view v = {.directory = data, .now = first, .width = 80};
    bool live = call_option(c, "once") == NULL && !c->json && isatty(STDOUT_FILENO);
    return live ? again(&v, first) : once(c, &v, first);
}
