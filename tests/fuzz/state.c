/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/progress.h"
#include "engine/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* What a group keeps in its checkpoints. What loads is saved as bytes that load to the same. */

enum { PARTITIONS = 3 };

static void save(const struct progress *p, const struct session_table *t, struct buffer *out)
{
    progress_save(p, out);
    session_save(t, out);
}

static int load(struct leat_span bytes, struct progress *p, struct session_table *t)
{
    struct reader in = reader_of(bytes);
    int rv = progress_load(p, &in);

    return rv == 0 ? session_load(t, &in) : rv;
}

static void check_again(const struct progress *p, const struct session_table *t)
{
    struct progress *again = progress_open(PARTITIONS);
    struct session_table sessions = {0};
    struct buffer saved = {0};

    save(p, t, &saved);
    leat_assert(load(buffer_bytes(&saved), again, &sessions) == 0);
    leat_assert(progress_open_turns(again) == progress_open_turns(p) &&
                progress_open_bytes(again) == progress_open_bytes(p));
    leat_assert(progress_open_records(again) == progress_open_records(p));
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        leat_assert(progress_cursor(again, i) == progress_cursor(p, i));
        leat_assert(progress_frontier(again, i) == progress_frontier(p, i));
    }
    for (uint32_t i = 0; i < t->capacity; i++) {
        const struct session_entry *e = session_find(t, t->entry[i].session),
                                   *same = session_find(&sessions, t->entry[i].session);

        /* What is too old may be forgotten at any time. */
        if (same == NULL && e != NULL && e->time_us < t->newest_us - LIMIT_SESSION_AGE_US)
            continue;
        leat_assert((e == NULL) == (same == NULL));
        leat_assert(e == NULL || memcmp(e, same, sizeof(*e)) == 0);
    }
    buffer_fini(&saved);
    session_fini(&sessions);
    progress_close(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct progress *p = progress_open(PARTITIONS);
    struct session_table sessions = {0};

    if (load(span_of(bytes, size), p, &sessions) == 0)
        check_again(p, &sessions);
    /* Open turns end in any order. */
    for (uint64_t turn = 0; turn < 300; turn++)
        progress_xor(p, turn * 7 % 300, size > 0 ? bytes[turn % size] : 1);
    session_fini(&sessions);
    progress_close(p);
    return 0;
}
