/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/recall.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Queries a second, on a logarithmic scale, over recall: higher and further right is better. */

enum { WIDTH = 720, HEIGHT = 440, LEFT = 80, RIGHT = 24, TOP = 48, BOTTOM = 56 };

struct frame {
    double least_recall, least_power, most_power; /* powers of ten */
};

static double x_of(const struct frame *f, double recall)
{
    return LEFT + (recall - f->least_recall) / (1 - f->least_recall) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct frame *f, double qps)
{
    return HEIGHT - BOTTOM - (log10(qps) - f->least_power) / (f->most_power - f->least_power) * (HEIGHT - TOP - BOTTOM);
}

static struct frame frame_of(const struct recall_point *point, uint32_t count)
{
    struct frame f = {0.95, INFINITY, -INFINITY};

    for (uint32_t i = 0; i < count; i++) {
        f.least_recall = fmin(f.least_recall, floor(point[i].recall * 20) / 20);
        f.least_power = fmin(f.least_power, floor(log10(point[i].qps)));
        f.most_power = fmax(f.most_power, ceil(log10(point[i].qps) + 1e-9));
    }
    return f;
}

static void put_text(FILE *to, const char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '<' || *text == '&')
            fprintf(to, "&#%d;", *text);
        else
            fputc(*text, to);
}

static void put_axes(FILE *to, const struct frame *f, uint32_t k)
{
    double step = f->least_recall < 0.5 ? 0.1 : f->least_recall < 0.8 ? 0.05 : 0.01;

    for (int i = 0; f->least_recall + i * step < 1 + step / 2; i++) {
        double recall = f->least_recall + i * step, x = x_of(f, recall);

        fprintf(to, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", x, TOP, x, HEIGHT - BOTTOM);
        fprintf(to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.2f</text>\n", x, HEIGHT - BOTTOM + 20, recall);
    }
    for (double power = f->least_power; power < f->most_power + 0.5; power++)
        for (int digit = 1; digit <= 5 && (power < f->most_power || digit == 1); digit += digit == 1 ? 1 : 3) {
            double qps = digit * pow(10, power), y = y_of(f, qps);

            fprintf(to, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>\n", LEFT, y, WIDTH - RIGHT,
                    y);
            fprintf(to, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.0f</text>\n", LEFT - 8, y + 4, qps);
        }
    fprintf(to, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">recall@%u</text>\n", (LEFT + WIDTH - RIGHT) / 2,
            HEIGHT - 12, k);
    fprintf(to, "<text transform=\"translate(18 %d) rotate(-90)\" text-anchor=\"middle\">queries a second</text>\n",
            (TOP + HEIGHT - BOTTOM) / 2);
}

static void put_curve(FILE *to, const struct frame *f, const struct recall_point *point, uint32_t count)
{
    fprintf(to, "<polyline points=\"");
    for (uint32_t i = 0; i < count; i++)
        fprintf(to, "%s%.1f,%.1f", i == 0 ? "" : " ", x_of(f, point[i].recall), y_of(f, point[i].qps));
    fprintf(to, "\"/>\n");
    for (uint32_t i = 0; i < count; i++) {
        double x = x_of(f, point[i].recall), y = y_of(f, point[i].qps);

        fprintf(to,
                "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>%u: recall %.4f, %.0f queries a "
                "second</title></circle>\n",
                x, y, point[i].value, point[i].recall, point[i].qps);
        fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%u</text>\n", x - 7, y + 14, point[i].value);
    }
}

int recall_plot_check(const char *path, struct leat_error *err)
{
    struct stat st;
    bool there = lstat(path, &st) == 0; /* or a link to what is not */

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return 0; /* whoever reads a pipe would take this for its end */
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return base_errno(err, errno, "write", path);
    close(fd);
    if (!there)
        unlink(path);
    return 0;
}

int recall_plot(const char *path, const char *title, uint32_t k, const struct recall_point *point, uint32_t count,
                struct leat_error *err)
{
    struct frame f = frame_of(point, count);
    FILE *to = fopen(path, "w");

    if (to == NULL)
        return base_errno(err, errno, "write", path);
    fprintf(to, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
                "font-family=\"sans-serif\" font-size=\"12\">\n"
                "<style>.grid{stroke:#ddd}polyline{fill:none;stroke:#1565c0;stroke-width:2}"
                "circle{fill:#1565c0}</style>\n"
                "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n<text x=\"%d\" y=\"28\" font-size=\"15\">",
                WIDTH, HEIGHT, LEFT);
    put_text(to, title);
    fprintf(to, "</text>\n");
    put_axes(to, &f, k);
    put_curve(to, &f, point, count);
    fprintf(to, "</svg>\n");
    bool failed = ferror(to) != 0;
    return fclose(to) != 0 || failed ? base_errno(err, errno, "write", path) : 0;
}
