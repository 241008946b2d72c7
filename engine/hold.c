/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/hold.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define RETRY_NS 100000000LL
enum { STEP_MS = 2 };

int hold_open(struct hold *h, const char *directory, struct leat_error *err)
{
    char path[4096];

    *h = (struct hold){.fd = -1};
    snprintf(path, sizeof(path), "%s/hold", directory);
    h->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return h->fd >= 0 ? 0 : base_errno(err, errno, "open", path);
}

void hold_close(struct hold *h)
{
    if (h->fd >= 0)
        close(h->fd);
    h->fd = -1;
}

bool hold_checkpoint(struct hold *h, int64_t now_ns)
{
    if (h->fd < 0 || h->ours)
        return true;
    if (now_ns < h->retry_ns)
        return false;
    h->ours = flock(h->fd, LOCK_EX | LOCK_NB) == 0;
    if (!h->ours)
        h->retry_ns = now_ns < INT64_MAX - RETRY_NS ? now_ns + RETRY_NS : INT64_MAX;
    return h->ours;
}

void hold_checkpoint_over(struct hold *h)
{
    if (h->ours)
        flock(h->fd, LOCK_UN);
    h->ours = false;
}

int hold_copy(struct hold *h, uint32_t timeout_ms, struct leat_error *err)
{
    int64_t deadline = clock_real()->monotonic_ns(clock_real()) + timeout_ms * 1000000LL;

    leat_assert(h->fd >= 0);
    while (flock(h->fd, LOCK_SH | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return leat_fail(err, LEAT_EIO, "a lock cannot be taken: %s", strerror(errno));
        if (clock_real()->monotonic_ns(clock_real()) > deadline)
            return leat_fail(err, LEAT_ETIMEOUT, "a checkpoint has not ended within %u ms; try again", timeout_ms);
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    }
    return 0;
}
