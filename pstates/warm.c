/* SPDX-License-Identifier: Apache-2.0 */
#include "pstates/view.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* What a view has in use, read before it is wanted. Else pages come when they are, in any order and one wait for the
 * disk after another; here in the order of the file, and many requests at a time. */

/* A request: the kernel cuts larger ones off. Runs with fewer free pages between them are one. */
enum { STEP = 128 << 10, NEAR = 8 };

struct warming {
    int fd;
    size_t page;   /* bytes */
    size_t left;   /* pages that may still be read */
    uint8_t *into; /* room to read into; NULL: asked for, and not waited for */
};

/* Pages [from, end) are in use. */
static void take_run(struct warming *w, size_t from, size_t end)
{
    size_t pages = end - from < w->left ? end - from : w->left, at = from * w->page, stop = at + pages * w->page;

    for (; at < stop; at += STEP) {
        size_t bytes = stop - at < STEP ? stop - at : STEP;

        if (w->into == NULL)
            posix_fadvise(w->fd, (off_t)at, (off_t)bytes, POSIX_FADV_WILLNEED);
        else if (pread(w->fd, w->into, bytes, (off_t)at) <= 0)
            break;
    }
    w->left -= pages;
}

static void each_run(struct warming w, const struct view_pages *unused, size_t pages)
{
    size_t from = 0;

    for (size_t i = 0, end; i < unused->count && unused->page[i] < pages; i = end) {
        for (end = i + 1; end < unused->count && unused->page[end] == unused->page[end - 1] + 1;)
            end++;
        if (end - i < NEAR)
            continue;
        take_run(&w, from, unused->page[i]);
        from = unused->page[end - 1] + 1;
    }
    if (from < pages)
        take_run(&w, from, pages);
}

void pstate_view_warm(const struct pstate_view *v, uint64_t most)
{
    struct view_pages unused;
    MDB_envinfo info;
    MDB_stat stat;
    int fd;

    mdb_env_info(v->env, &info);
    mdb_env_stat(v->env, &stat);
    mdb_env_get_fd(v->env, &fd);
    if (free_pages(v, false, &unused) == 0) {
        struct warming w = {.fd = fd, .page = stat.ms_psize, .left = most / stat.ms_psize};

        each_run(w, &unused, info.me_last_pgno + 1);
        w.into = base_alloc(STEP);
        each_run(w, &unused, info.me_last_pgno + 1);
        free(w.into);
    }
    free(unused.page);
}
