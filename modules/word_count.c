/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/modules.h"

#include <string.h>

/* How often each word was seen. Sentences are split where they lie; the fold adds up words before they travel to the
 * task that owns them. */

enum { COUNTS };
enum { WORD_MOST = 400 };

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int split(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_span text = leat_at(in, i, 0).as.bytes;
        const char *at = text.base, *end = at + text.size;

        while (at < end) {
            const char *word = at;

            while (at < end && !is_space(*at))
                at++;
            size_t size = (size_t)(at - word);
            if (size > WORD_MOST)
                leat_reject(t, i, "a word of %zu bytes; at most %d can be counted", size, WORD_MOST);
            else if (size > 0)
                leat_emit(t, i, LEAT_ROW(leat_str_n(word, size)));
            at++;
        }
    }
    return 0;
}

static int look_up(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value word = leat_at(in, i, 0), count = leat_i64(0);

        leat_get(t, COUNTS, LEAT_KEYS(word), &count, 1);
        leat_emit(t, i, LEAT_ROW(word, count));
    }
    return 0;
}

static int all_counts(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value word, count;
    struct leat_scan *scan;

    (void)in;
    if (leat_scan_open(t, COUNTS, LEAT_KEYS(), NULL, &scan) != 0)
        return leat_task_error(t);
    while (leat_scan_next(scan, &word, &count, 1) == 0)
        leat_emit(t, 0, LEAT_ROW(word, count));
    leat_scan_close(scan);
    return leat_task_error(t);
}

const struct leat_module module_word_count = {
    LEAT_ABI, .name = "word_count", .about = "how often each word was seen",
    .options = OPTIONS({"top", "10"}),
    .depots = DEPOTS({"sentences", "text: str", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES([COUNTS] = {"counts", "map<str, i64>"}),
    .topologies = TOPOLOGIES(
        {"count_words", LEAT_STREAM, NODES(
            {"split", .from = "sentences", .run = split, .emits = "word: str"},
            {"count", .from = "split", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "counts"})},
        {"count", LEAT_QUERY, .takes = "word: str", NODES(
            {"look_up", .from = "request", .route = LEAT_BY_KEY, .run = look_up, .emits = "word: str, count: i64"},
            {"answer", .from = "look_up", .route = LEAT_TO_ORIGIN, .fold = &leat_list, .into = "reply"})},
        {"top", LEAT_QUERY, .takes = "", NODES(
            {"scan", .from = "request", .route = LEAT_ALL, .run = all_counts, .emits = "word: str, count: i64"},
            {"best", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &leat_top_k,
             .args = "k=$top by=count id=word order=descending", .into = "reply"})}),
};
