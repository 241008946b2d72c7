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

/* The next word from *at on, with *at behind it; empty at the end. */
static struct leat_span next_word(const char **at, const char *end)
{
    while (*at < end && is_space(**at))
        ++*at;
    const char *word = *at;
    while (*at < end && !is_space(**at))
        ++*at;
    return (struct leat_span){word, (size_t)(*at - word)};
}

static size_t longest_word(struct leat_span text)
{
    const char *at = text.base, *end = at + text.size;
    size_t longest = 0, size;

    while ((size = next_word(&at, end).size) > 0)
        longest = size > longest ? size : longest;
    return longest;
}

static int split(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_span text = leat_at(in, i, 0).as.bytes, word;
        const char *at = text.base, *end = at + text.size;
        size_t longest = text.size > WORD_MOST ? longest_word(text) : 0;

        if (longest > WORD_MOST) {
            leat_reject(t, i, "a word of %zu bytes; at most %d can be counted", longest, WORD_MOST);
            continue;
        }
        while ((word = next_word(&at, end)).size > 0)
            leat_emit(t, i, LEAT_ROW(leat_str_n(word.base, word.size)));
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
