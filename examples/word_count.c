/* SPDX-License-Identifier: Apache-2.0 */
/* Counts words. usage: word_count DIRECTORY [WORD ...] */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <leat/leat.h>

static void must(int code, const struct leat_error *err)
{
    if (code != 0) {
        fprintf(stderr, "word_count: %s: %s\n", leat_code_name(code),
                err->text[0] != '\0' ? err->text : leat_code_text(code));
        exit(1);
    }
}

/* The text up to the next space, which is taken off its front. */
static bool next_word(struct leat_span *text, struct leat_span *word)
{
    const char *at = text->base, *end = at + text->size;

    while (at < end && *at == ' ')
        at++;
    *word = (struct leat_span){at, 0};
    while (at < end && *at != ' ')
        at++;
    word->size = (size_t)(at - (const char *)word->base);
    *text = (struct leat_span){at, (size_t)(end - at)};
    return word->size > 0;
}

/* README: begin */
static int split(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_span text = leat_at(in, i, 0).as.bytes, word;
        while (next_word(&text, &word))
            leat_emit(t, i, LEAT_ROW(leat_str_n(word.base, word.size)));
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

static void append(struct leat_depot *sentences, const char *text, struct leat_error *err)
{
    struct leat_rows *rows;
    must(leat_rows_new(sentences, &rows), err);
    must(leat_rows_add(rows, LEAT_ROW(leat_str(text)), err), err);
    must(leat_append(sentences, rows, &(struct leat_append){.ack = LEAT_PROCESSED}, NULL, err), err);
    leat_rows_free(rows);
}
/* README: end */

static int64_t count_of(struct leat_view *view, struct leat_value word)
{
    struct leat_value count;
    int rv = leat_get(leat_view_owner(view, &word), 0, LEAT_KEYS(word), &count, 1);
    if (rv == LEAT_ENOTFOUND)
        return 0;
    must(rv, &(struct leat_error){rv, ""});
    return count.as.i;
}

int main(int argc, char **argv)
{
    struct leat_error err = {0, ""};
    struct leat *l;
    struct leat_depot *sentences;
    struct leat_view *view;

    if (argc < 2) {
        fprintf(stderr, "usage: word_count DIRECTORY [WORD ...]\n");
        return 2;
    }
    must(leat_open(argv[1], NULL, &l, &err), &err);
    must(leat_launch(l, &words, NULL, &err), &err);
    must(leat_depot_find(l, "words", "sentences", &sentences, &err), &err);
    append(sentences, "a leat carries a stream", &err);
    append(sentences, "to where the stream does work", &err);
    must(leat_view_open(l, "words", &view, &err), &err);
    for (int i = 2; i < argc; i++)
        printf("%s: %lld\n", argv[i], (long long)count_of(view, leat_str(argv[i])));
    leat_view_close(view);
    leat_close(l);
    return 0;
}
