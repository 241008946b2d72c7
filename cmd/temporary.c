/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/temporary.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cmd/signals.h"

/* A handler may not remove files: it wakes a thread that does. Children that are forked have the handler, but not the
 * thread, and end at once. */

enum { MOST = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *made[MOST];
static int wake[2];
static pid_t owner;

static void die_of(int number)
{
    signal(number, SIG_DFL);
    raise(number);
}

static void on_signal(int number)
{
    char byte = (char)number;

    if (getpid() != owner || write(wake[1], &byte, 1) != 1)
        die_of(number);
}

/* Other threads write there, and would make a directory again that is gone. execv ends them: the shell in the place of
 * this process removes the directories, and then ends by the signal. */
static void *remove_all(void *context)
{
    static char script[] = "number=$1; shift; trap '' HUP INT TERM; rm -rf -- \"$@\"; trap - $number; kill -$number $$";
    static char shell[] = "sh", flag[] = "-c";
    char *argument[6 + MOST] = {shell, flag, script, shell}, text[8], number = 0;
    int arguments = 5;

    (void)context;
    if (read(wake[0], &number, 1) != 1)
        return NULL;
    snprintf(text, sizeof(text), "%d", number);
    argument[4] = text;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; i++)
        if (made[i] != NULL)
            argument[arguments++] = made[i];
    execv("/bin/sh", argument);
    die_of(number);
    return NULL;
}

static void watch(void)
{
    pthread_t thread;

    owner = getpid();
    if (pipe(wake) != 0 || pthread_create(&thread, NULL, remove_all, NULL) != 0)
        return;
    pthread_detach(thread);
    signals_catch(on_signal, SA_RESTART);
}

bool temporary_make(char *path)
{
    if (owner == 0)
        watch();
    pthread_mutex_lock(&lock);
    bool fine = mkdtemp(path) != NULL;
    for (int i = 0; fine && i < MOST; i++)
        if (made[i] == NULL) {
            made[i] = strdup(path);
            break;
        }
    pthread_mutex_unlock(&lock);
    return fine;
}

void temporary_remove(const char *path)
{
    file_remove_tree(path, NULL);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; i++)
        if (made[i] != NULL && strcmp(made[i], path) == 0) {
            free(made[i]);
            made[i] = NULL;
        }
    pthread_mutex_unlock(&lock);
}
