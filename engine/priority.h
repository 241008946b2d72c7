/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PRIORITY_H
#define ENGINE_PRIORITY_H

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Who comes first where threads want more processors than there are: queries, on threads that stay as they are; then
 * turns and appends; then samples of recall; then background nodes. So much is added to the nice value of a thread. */
enum priority { PRIORITY_TURNS = 5, PRIORITY_SAMPLES = 10, PRIORITY_BACKGROUND = 19 };

/* Of the calling thread. That it cannot be had is no fault. */
static inline void priority_lower(enum priority by)
{
    id_t thread = (id_t)syscall(SYS_gettid);

    setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + (int)by);
}

#endif
