/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "../../cmd/top.c"

/* Screens of known figures: rates between two moments, the units, the width, and what
 * is told when something is wrong. */

static char text[65536];

static void begin_text(int64_t time_us, int pid)
{
    snprintf(text, sizeof(text), "{\"time_us\": %lld, \"pid\": %d}\n", (long long)time_us, pid);
}

static void add_value(const char *object, const char *name, double value)
{
    size_t size = strlen(text);

    snprintf(text + size, sizeof(text) - size,
             "{\"name\": \"%s\", \"module\": \"%s\", \"object\": \"%s\", \"kind\": \"gauge\", \"value\": %.17g}\n",
             name, strcmp(object, "disk") == 0 ? "" : "m", object, value);
}

static void add_spread(const char *object, const char *name, int count, double sum)
{
    size_t size = strlen(text);

    snprintf(text + size, sizeof(text) - size,
             "{\"name\": \"%s\", \"module\": \"m\", \"object\": \"%s\", \"kind\": \"histogram\", \"count\": %d, "
             "\"sum\": %.9g, \"p50\": 0.0012, \"p90\": 0, \"p99\": 2.5, \"max\": 3}\n",
             name, object, count, sum);
}

/* n: how far everything has got. */
static struct top_sample *sample(int64_t time_us, int pid, int n, int failed)
{
    begin_text(time_us, pid);
    add_value("disk", "level", failed);
    add_value("module", "failed", failed);
    add_value("group 0", "turns_total", 10 * n);
    add_value("group 0", "rows_total", 5000 * n);
    add_value("group 0", "appended_rows_total", 1000 * n);
    add_value("group 1", "appended_rows_total", 2500 * n);
    add_value("group 0", "lag_rows", 1234567);
    add_value("group 0", "waits_for_space", failed);
    add_spread("group 0", "turn_seconds", n, n);
    add_value("depot a_depot_with_a_name_of_forty_eight_characters_12", "rows", 100 * n);
    add_value("depot a_depot_with_a_name_of_forty_eight_characters_12", "lag_rows", 77);
    add_value("depot dead_letters", "rows", failed);
    add_value("node t.busy", "rows_total", 20 * n);
    add_spread("node t.busy", "run_seconds", n, 0.5 * n);
    add_value("node t.never", "rows_total", 0);
    add_spread("node t.never", "run_seconds", 0, 0);
    add_spread("query near", "query_seconds", n, n);
    add_value("query near", "recall", 0.98765);
    add_spread("query far", "query_seconds", n, n);
    return top_sample_open(span_text(text));
}

static void frame(const struct top_view *v, struct buffer *out)
{
    buffer_clear(out);
    top_frame(v, out);
    buffer_u8(out, 0);
}

static bool shows(const struct buffer *out, const char *what)
{
    return strstr((const char *)out->base, what) != NULL;
}

static void test_rates(void **state)
{
    struct buffer out = {0};
    struct top_view v = {.before = sample(1000000, 7, 1, 0), .now = sample(3000000, 7, 3, 0), .directory = "DIR",
                         .disk_free = 5ULL << 30,
                         .disk_size = 3ULL << 40, .wall_us = 3500000, .width = 80};

    (void)state;
    frame(&v, &out);
    assert_true(shows(&out, "leat top DIR: process 7\n"));
    assert_true(shows(&out, "5 GiB of 3 TiB free\n"));
    assert_true(shows(&out, "in 3.5k rows/s, 0 B/s; lag 77"));
    assert_true(shows(&out, "group 0          10       5k     1.2M  1.2 ms   2.5 s"));
    assert_true(shows(&out, "a_depot_with_a_name_of_forty_eight_c        300        100         77\n"));
    assert_true(shows(&out, "t.busy                                      20        0   50 %   1.2 ms    2.5 s\n"));
    assert_true(shows(&out, "\nquery                                       /s   recall             p50      p99\n"));
    assert_true(shows(&out, "query near                                   1    0.988          1.2 ms    2.5 s\n"));
    assert_true(shows(&out, "query far                                    1                   1.2 ms    2.5 s\n"));
    assert_false(shows(&out, "t.never"));
    assert_false(shows(&out, "STOPPED") || shows(&out, "LOW") || shows(&out, "\x1b") || shows(&out, "no new figures") ||
                 shows(&out, "dead letters:"));
    v.wall_us = 63000000;
    frame(&v, &out);
    assert_true(shows(&out, "no new figures for 60 s"));
    top_sample_close((struct top_sample *)(uintptr_t)v.before);
    top_sample_close((struct top_sample *)(uintptr_t)v.now);
    buffer_fini(&out);
}

static void test_without_an_earlier_moment(void **state)
{
    struct buffer out = {0};
    struct top_sample *other = sample(1000000, 8, 1, 0), *now = sample(3000000, 7, 3, 0);
    struct top_view v = {.now = now, .directory = "DIR", .wall_us = 3500000, .width = 80};

    (void)state;
    for (int i = 0; i < 2; i++) {
        frame(&v, &out);
        assert_true(shows(&out, "in - rows/s"));
        assert_true(shows(&out, "group 0           -        -     1.2M"));
        v.before = other; /* of another process */
    }
    top_sample_close(other);
    top_sample_close(now);
    buffer_fini(&out);
}

static void test_what_needs_somebody(void **state)
{
    struct buffer out = {0};
    struct top_sample *now = sample(3000000, 7, 3, 1);
    struct top_view v = {.now = now, .directory = "DIR", .wall_us = 3500000, .width = 80, .colour = true};

    (void)state;
    frame(&v, &out);
    assert_true(shows(&out, "\x1b[1;31mm: STOPPED"));
    assert_true(shows(&out, "LOW"));
    assert_true(shows(&out, "dead letters: 1"));
    assert_true(shows(&out, "no space"));
    top_sample_close(now);
    buffer_fini(&out);
}

static void test_width(void **state)
{
    struct buffer out = {0};
    struct top_sample *now = sample(3000000, 7, 3, 0);
    struct top_view v = {.now = now,
                         .directory = "a/very/long/path/\xc3\xa9\xc3\xa9\xc3\xa9/and/further/and/further/and/further"
                                      "/and/further/on\x1b[31m",
                         .wall_us = 3500000};

    (void)state;
    for (v.width = 21; v.width <= 81; v.width += 20) {
        frame(&v, &out);
        uint32_t columns = 0;
        for (const char *c = (const char *)out.base; *c != '\0'; c++) {
            assert_int_not_equal(*c, '\x1b');
            columns = *c == '\n' ? 0 : columns + (((unsigned char)*c & 0xc0) != 0x80);
            assert_true(columns <= v.width);
        }
    }
    top_sample_close(now);
    buffer_fini(&out);
}

static void test_numbers(void **state)
{
    (void)state;
    assert_string_equal(count_text(0).text, "0");
    assert_string_equal(count_text(0.25).text, "0.2");
    assert_string_equal(count_text(999).text, "999");
    assert_string_equal(count_text(999.9).text, "1.0k");
    assert_string_equal(count_text(123456).text, "123k");
    assert_string_equal(count_text(1e15).text, "1000T");
    assert_string_equal(bytes_text(1536).text, "1.5 KiB");
    assert_string_equal(count_text(NAN).text, "-");
    assert_string_equal(percent_text(0.999).text, "100 %");
}

static void test_damaged_text(void **state)
{
    (void)state;
    assert_null(top_sample_open(span_text("")));
    assert_null(top_sample_open(span_text("{\"name\": \"x\"}\nnonsense\n{")));
    struct top_sample *s =
        top_sample_open(span_text("nonsense\n{\"time_us\": 5, \"pid\": 1}\n{\"name\": \"x\", \"value\": 3}\n{\"na"));
    assert_non_null(s);
    assert_int_equal(s->figures, 1);
    top_sample_close(s);
}

static void test_json(void **state)
{
    struct buffer out = {0};
    struct top_sample *before = sample(1000000, 7, 1, 0), *now = sample(3000000, 7, 3, 0);
    struct top_view v = {.before = before, .now = now, .directory = "DIR", .wall_us = 3500000, .width = 80};

    (void)state;
    top_json(&v, &out);
    buffer_u8(&out, 0);
    assert_true(shows(&out, "{\"module\": \"m\", \"object\": \"node t.busy\", \"rows_per_s\": 20, \"run_p50_s\": "
                            "0.0012, \"run_p99_s\": 2.5}\n"));
    top_sample_close(before);
    top_sample_close(now);
    buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates), cmocka_unit_test(test_without_an_earlier_moment),
        cmocka_unit_test(test_what_needs_somebody), cmocka_unit_test(test_width), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_damaged_text), cmocka_unit_test(test_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
