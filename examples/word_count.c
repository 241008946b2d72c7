/* SPDX-License-Identifier: Apache-2.0 */
/* Counts words. usage: word_count DIRECTORY */

#include <stdio.h>
#include <stdlib.h>

#include <leat/leat.h>

static void must(int code, const struct leat_error *err)
{
    if (code != 0) {
        fprintf(stderr, "word_count: %s: %s\n", leat_code_name(code), err->text);
        exit(1);
    }
}

/* README: begin */
static int split(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_span text = leat_at(in, i, 0).as.bytes;
        const char *letter = text.base;
        for (size_t from = 0, to = 0; from < text.size; from = ++to) {
            while (to < text.size && letter[to] != ' ')
                to++;
            if (to > from)
                leat_emit(t, i, LEAT_ROW(leat_str_n(letter + from, to - from)));
        }
    }
    return 0;
}

static const struct leat_module words = {
    LEAT_ABI, .name = "words",
    .depots = DEPOTS({"sentences", "text: str", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES({"counts", "map<str, i64>"}),
    .topologies = TOPOLOGIES({"count", LEAT_STREAM, NODES(
        {"split", .from = "sentences", .run = split, .emits = "word: str"},
        {"add", .from = "split", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "counts"})})};

static int64_t count_words(const char *directory, struct leat_value word, struct leat_error *err)
{
    struct leat *l;
    struct leat_depot *sentences;
    struct leat_rows *rows;
    struct leat_view *view;
    struct leat_value count = leat_i64(0);

    must(leat_open(directory, NULL, &l, err), err);
    must(leat_launch(l, &words, &(struct leat_launch){.tasks = 8, .groups = 2}, err), err);
    must(leat_depot_find(l, "words", "sentences", &sentences, err), err);
    must(leat_rows_new(sentences, &rows), err);
    must(leat_rows_add(rows, LEAT_ROW(leat_str("a leat carries a stream")), err), err);
    must(leat_rows_add(rows, LEAT_ROW(leat_str("to where the stream does work")), err), err);
    must(leat_append(sentences, rows, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, err), err);
    must(leat_view_open(l, "words", &view, err), err);
    must(leat_get(leat_view_owner(view, &word), 0, LEAT_KEYS(word), &count, 1), err);
    leat_view_close(view);
    leat_rows_free(rows);
    leat_close(l);
    return count.as.i;
}
/* README: end */

int main(int argc, char **argv)
{
    struct leat_error err = {0, ""};
    if (argc != 2) {
        fprintf(stderr, "usage: word_count DIRECTORY\n");
        return 2;
    }
    printf("stream: %lld\n", (long long)count_words(argv[1], leat_str("stream"), &err));
    return 0;
}
