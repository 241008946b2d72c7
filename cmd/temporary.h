/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TEMPORARY_H
#define CMD_TEMPORARY_H

#include <stdbool.h>

/* Directories that end with the process, also when a signal (signals.h) ends it. */

/* Make one from a path that ends in XXXXXX, which is replaced. false: errno says why not. */
bool temporary_make(char *path);
/* Remove a directory with all in it, made here or not. */
void temporary_remove(const char *path);

#endif
