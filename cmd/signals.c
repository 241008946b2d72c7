/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/signals.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

static void set_all(void (*handler)(int), int flags)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGTERM};
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags}, was;

    for (int i = 0; i < 3; i++)
        if (sigaction(numbers[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
}

void signals_catch(void (*handler)(int number), int flags)
{
    set_all(handler, flags);
}

void signals_release(void)
{
    set_all(SIG_DFL, 0);
}

pid_t signals_fork(void)
{
    pid_t parent = getpid(), child = fork();

    /* Its parent may have ended before it could be told of that. */
    if (child == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent))
        _exit(1);
    return child;
}
