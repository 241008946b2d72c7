/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/view.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

/* Free pages go back to the file system as holes in the file. LMDB keeps a list of them, by the transaction that freed
 * them, and writes to those that no reader sees any more, without reading them first: a hole there is as good as what
 * was there. On the writer's thread between turns, so that none comes into use meanwhile. */

enum { FREE_LIST = 0 };

static int older(const char *line, void *context)
{
    size_t *oldest = context, id;

    /* pid, thread, transaction, or "-" for one that reads nothing */
    if (sscanf(line, "%*u %*x %zu", &id) == 1 && id < *oldest)
        *oldest = id;
    return 0;
}

static void take(struct view_pages *p, const MDB_val *list)
{
    size_t count;

    memcpy(&count, list->mv_data, sizeof(count));
    if (p->count + count > p->room) {
        p->room = 2 * p->room + count;
        p->page = base_realloc(p->page, p->room * sizeof(*p->page));
    }
    memcpy(p->page + p->count, (const size_t *)list->mv_data + 1, count * sizeof(*p->page));
    p->count += count;
}

static int by_number(const void *a, const void *b)
{
    size_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

int free_pages(const struct pstate_view *v, bool unseen, struct view_pages *out)
{
    MDB_val key, list;
    MDB_cursor *c;
    MDB_txn *txn;
    int rc = mdb_txn_begin(v->env, NULL, MDB_RDONLY, &txn);

    *out = (struct view_pages){0};
    if (rc != 0)
        return rc;
    size_t oldest = unseen ? mdb_txn_id(txn) : SIZE_MAX, id = 0;
    if (unseen && mdb_reader_list(v->env, older, &oldest) < 0)
        rc = EIO;
    if (rc == 0)
        rc = mdb_cursor_open(txn, FREE_LIST, &c);
    if (rc == 0) {
        while (mdb_cursor_get(c, &key, &list, MDB_NEXT) == 0) {
            memcpy(&id, key.mv_data, sizeof(id));
            if (id >= oldest)
                break;
            take(out, &list);
        }
        mdb_cursor_close(c);
    }
    mdb_txn_abort(txn);
    if (out->count > 0)
        qsort(out->page, out->count, sizeof(*out->page), by_number);
    return rc;
}

void holes_make(const struct pstate_view *v, size_t *from, uint32_t most)
{
    struct view_pages p;
    MDB_stat stat;
    int fd, rc = free_pages(v, true, &p);
    size_t i = 0, end;

    mdb_env_stat(v->env, &stat);
    mdb_env_get_fd(v->env, &fd);
    while (i < p.count && p.page[i] < *from)
        i++;
    for (; i < p.count && rc == 0 && most > 0; i = end, most--) {
        for (end = i + 1; end < p.count && p.page[end] == p.page[end - 1] + 1;)
            end++;
        rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(p.page[i] * stat.ms_psize),
                       (off_t)((end - i) * stat.ms_psize));
    }
    *from = i < p.count ? p.page[i] : 0;
    free(p.page);
}
