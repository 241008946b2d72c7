/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_SIGNALS_H
#define CMD_SIGNALS_H

#include <sys/types.h>

/* What ends a command from outside: SIGHUP, SIGINT and SIGTERM, all alike. What was ignored when it started, as under
 * nohup, or by a shell for what runs in the background, stays so. */

/* flags: of sigaction. */
void signals_catch(void (*handler)(int number), int flags);
/* In a child: they end it, as when nothing had been caught. */
void signals_release(void);
/* fork(2) for work of this process: the child is killed when this one ends, whatever ends it. */
pid_t signals_fork(void);

#endif
