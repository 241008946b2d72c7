/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cmd/signals.h"
#include "engine/checkup.h"
#include "modules/modules.h"

/* leat doctor: looks at everything in a data directory and changes nothing. One line a finding. */

static const char *const weights[] = {"note", "warning", "damage"};

struct doctor {
    struct call *call;
    struct table *table;   /* JSON lines */
    struct checkup checkup;
    enum checkup_weight worst;
    uint32_t findings;
    char scratch[3072];
    uint64_t compared;     /* elements that were made again */
};

static volatile sig_atomic_t stopped, reader; /* the process that looks at a view; 0: none */

static void on_signal(int number)
{
    stopped = number;
    if (reader > 0)
        kill(reader, SIGKILL);
}

static void tell(struct doctor *d, const char *weight, const char *where, const char *what, const char *advice)
{
    if (d->table != NULL)
        table_row(d->table, (const char *const[]){weight, where, what, advice});
    else
        printf("%-8s %s: %s%s%s\n", weight, where, what, advice[0] != '\0' ? "\n         what to do: " : "", advice);
    fflush(stdout);
}

static void found(void *context, enum checkup_weight weight, const char *where, const char *what, const char *advice)
{
    struct doctor *d = context;

    d->findings++;
    d->worst = weight > d->worst ? weight : d->worst;
    tell(d, weights[weight], where, what, advice);
}

/* ---- Views are looked at in a process of its own: a damaged file may end it ---- */

#define REBUILD UINT32_MAX /* no group, but all of them made again */

struct message {
    int weight; /* -1: the last one */
    uint64_t elements;
    char where[5000], what[1200], advice[300];
};

static void send_message(int to, const struct message *m)
{
    for (size_t sent = 0; sent < sizeof(*m);) {
        ssize_t n = write(to, (const char *)m + sent, sizeof(*m) - sent);

        if (n < 0 && errno != EINTR)
            _exit(1);
        sent += n > 0 ? (size_t)n : 0;
    }
}

static void send_finding(void *context, enum checkup_weight weight, const char *where, const char *what,
                         const char *advice)
{
    struct message m = {.weight = (int)weight};

    snprintf(m.where, sizeof(m.where), "%s", where);
    snprintf(m.what, sizeof(m.what), "%s", what);
    snprintf(m.advice, sizeof(m.advice), "%s", advice);
    send_message(*(const int *)context, &m);
}

_Noreturn static void view_process(const struct doctor *d, const struct layout *l, uint32_t group, int to, int said)
{
    char scratch[4096];

    signals_release();
    dup2(said, STDERR_FILENO); /* what LMDB or a sanitizer would say of damage is told in our words */
    snprintf(scratch, sizeof(scratch), "%s/view", d->scratch);
    struct checkup c = {.found = send_finding, .context = &to, .settled = true, .scratch = scratch};
    if (group == REBUILD)
        checkup_rebuild(l, modules_find(l->module), &c);
    else
        checkup_view(l, group, &c);
    struct message last = {.weight = -1, .elements = c.elements};
    send_message(to, &last);
    _exit(0);
}

static bool receive_message(int from, struct message *m)
{
    for (size_t got = 0; got < sizeof(*m);) {
        ssize_t n = read(from, (char *)m + got, sizeof(*m) - got);

        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        got += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Who aborts says why. *out: the last line of ours, or "". false: nothing was said at all. */
static bool last_words(int said, char out[256])
{
    char text[4096];
    off_t size = lseek(said, 0, SEEK_END), most = sizeof(text) - 1;
    ssize_t got = pread(said, text, (size_t)most, size > most ? size - most : 0);
    char *rest = text;

    text[got > 0 ? got : 0] = '\0';
    out[0] = '\0';
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (strncmp(line, "leat: ", 6) == 0)
            snprintf(out, 256, "%.255s", line + 6);
    return got > 0;
}

/* What a damaged page does to who reads it, or to the assertions of LMDB; other signals, and those of which nothing was
 * said, come from somebody else, or for want of memory. */
static bool is_of_damage(int number, bool spoke)
{
    return number == 0 || number == SIGBUS || number == SIGSEGV || number == SIGFPE || number == SIGILL ||
           (number == SIGABRT && spoke);
}

/* status: of the process that should have read it all; -1: there was none. said: its standard error. */
static void say_unread(struct doctor *d, const char *path, int status, int said)
{
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    char what[600] = "not checked: no process can be started for it", words[256] = "";
    bool spoke = number == SIGABRT && last_words(said, words);

    if (strstr(words, "broken invariant") != NULL) {
        snprintf(what, sizeof(what), "not checked: a bug of Leat ended the process that read it: %s", words);
        found(d, CHECKUP_WARNING, path, what, "report it, and keep the directory; it need not be damaged");
        return;
    }
    if (status != -1 && words[0] == '\0' && is_of_damage(number, spoke)) {
        found(d, CHECKUP_DAMAGE, path, "reading it ended the process: pages of data.mdb are damaged",
              "make the views again (leat rebuild), or put the module's directory back from a backup (leat restore)");
        return;
    }
    if (status != -1)
        snprintf(what, sizeof(what), "not checked: the process that read it was ended by signal %d (%s)%s%s", number,
                 strsignal(number), words[0] != '\0' ? ": " : "", words);
    found(d, CHECKUP_WARNING, path, what, "try again, and look whether there is memory enough");
}

static void check_view(struct doctor *d, const struct layout *l, uint32_t group)
{
    struct message m = {.weight = 0};
    char path[4096];
    int ends[2], status = -1;

    if (group == REBUILD)
        snprintf(path, sizeof(path), "%s", l->directory);
    else
        layout_path(l, group, "view", path, sizeof(path));
    if (pipe(ends) != 0) {
        found(d, CHECKUP_WARNING, path, "not checked: no pipe can be made", "try again");
        return;
    }
    fflush(NULL);
    int said = memfd_create("said", MFD_CLOEXEC);
    said = said >= 0 ? said : open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t child = signals_fork();
    if (child == 0) {
        close(ends[0]);
        view_process(d, l, group, ends[1], said);
    }
    reader = child;
    if (stopped && child > 0) /* before it was known whom to end */
        kill(child, SIGKILL);
    close(ends[1]);
    while (child > 0 && receive_message(ends[0], &m) && m.weight >= 0)
        found(d, (enum checkup_weight)m.weight, m.where, m.what, m.advice);
    close(ends[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    reader = 0;
    if (m.weight == -1 && group == REBUILD)
        d->compared = m.elements;
    else if (m.weight == -1)
        d->checkup.elements += m.elements;
    else if (!stopped)
        say_unread(d, path, status, said);
    close(said);
    snprintf(path, sizeof(path), "%s/view", d->scratch);
    file_remove_tree(path, NULL);
}

/* ---- Modules ---- */

static void check_module(struct doctor *d, const char *data, const char *module)
{
    struct leat_error err = {0};
    struct layout *l;
    char what[256], path[4096];

    snprintf(path, sizeof(path), "%s/%s", data, module);
    if (layout_open(data, module, &l, &err) != 0) {
        found(d, CHECKUP_DAMAGE, path, err.text,
              "put module.ini, module.fingerprint and module.streams back, all from one backup");
        return;
    }
    d->checkup.segments = d->checkup.records = d->checkup.batches = d->checkup.bytes = d->checkup.elements = 0;
    checkup_logs(l, &d->checkup);
    for (uint32_t i = 0; i < l->groups && d->checkup.settled && !stopped; i++)
        check_view(d, l, i);
    d->compared = 0;
    if (call_option(d->call, "rebuild") != NULL && d->checkup.settled && d->worst < CHECKUP_DAMAGE && !stopped)
        check_view(d, l, REBUILD);
    int size = snprintf(what, sizeof(what),
                        "%u groups, %llu segments with %llu MiB, %llu records, %llu turns, %llu elements of views",
                        l->groups, (unsigned long long)d->checkup.segments, (unsigned long long)d->checkup.bytes >> 20,
                        (unsigned long long)d->checkup.records, (unsigned long long)d->checkup.batches,
                        (unsigned long long)d->checkup.elements);
    if (d->compared > 0)
        snprintf(what + size, sizeof(what) - (size_t)size, "; %llu elements were made again and compared",
                 (unsigned long long)d->compared);
    tell(d, "checked", path, what, "");
    layout_close(l);
}

/* How many. */
static uint32_t check_all(struct doctor *d, const char *data)
{
    struct dirent **entry = NULL;
    int count = scandir(data, &entry, NULL, alphasort);
    uint32_t modules = 0;

    for (int i = 0; i < count; i++) {
        if (entry[i]->d_name[0] != '.' && layout_there(data, entry[i]->d_name) && !stopped) {
            check_module(d, data, entry[i]->d_name);
            modules++;
        }
        free(entry[i]);
    }
    free(entry);
    return modules;
}

/* ---- The directory ---- */

/* Keep others out while we look, without a trace. -1: somebody has it open. */
static int lock_directory(const char *data, bool *settled)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/leat.lock", data);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *settled = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0;
    return fd;
}

/* A place for copies of views: beside the data, as there is most likely space. */
static int make_scratch(struct doctor *d, const char *data)
{
    const char *given = call_option(d->call, "scratch"), *tmp = getenv("TMPDIR");
    size_t size = strlen(data);

    while (size > 1 && data[size - 1] == '/')
        size--;
    if (given != NULL)
        snprintf(d->scratch, sizeof(d->scratch), "%s/leat-doctor-XXXXXX", given);
    else
        snprintf(d->scratch, sizeof(d->scratch), "%.*s.doctor-XXXXXX", (int)size, data);
    if (mkdtemp(d->scratch) != NULL)
        return 0;
    snprintf(d->scratch, sizeof(d->scratch), "%s/leat-doctor-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (given == NULL && mkdtemp(d->scratch) != NULL)
        return 0;
    fprintf(stderr, "leat: no directory for copies of views can be made; name a place with --scratch DIR\n");
    return EXIT_FAILED;
}

static int verdict(const struct doctor *d)
{
    if (stopped) {
        fprintf(stderr, "stopped: not everything was looked at\n");
        return EXIT_FAILED;
    }
    if (d->worst == CHECKUP_NOTE)
        return EXIT_FINE;
    fprintf(stderr, "leat: %u finding%s, the worst is %s\n", d->findings, d->findings == 1 ? "" : "s",
            d->worst == CHECKUP_DAMAGE ? "damage" : "a warning");
    return d->worst == CHECKUP_DAMAGE ? EXIT_FAILED : EXIT_NO;
}

static int check_directory(struct doctor *d, const char *data)
{
    uint32_t modules = 1;

    signals_catch(on_signal, 0);
    if (!d->checkup.settled)
        found(d, CHECKUP_NOTE, data, "a process has it open: views, checkpoints and the ends of logs were not checked",
              "stop that process and run this again");
    if (d->call->arguments > 0)
        check_module(d, data, d->call->argument[0]);
    else
        modules = check_all(d, data);
    if (modules == 0)
        found(d, CHECKUP_WARNING, data, "it holds no data of any module", "look whether it is the right directory");
    return verdict(d);
}

int cmd_doctor(struct call *c)
{
    static const char *const columns[] = {"weight", "where", "what", "advice"};
    const char *data = call_option(c, "data");
    struct doctor d = {.call = c};

    if (data == NULL)
        return call_usage(c, "say where the data is: --data DIR");
    int rv = call_there(data, c->arguments > 0 ? c->argument[0] : NULL);
    if (rv != 0)
        return rv;
    d.checkup = (struct checkup){.found = found, .context = &d};
    int lock = lock_directory(data, &d.checkup.settled);
    rv = make_scratch(&d, data);
    if (rv == 0) {
        d.table = c->json ? table_open(c, columns, LENGTH_OF(columns), 0) : NULL;
        rv = check_directory(&d, data);
        if (d.table != NULL)
            table_close(d.table);
        file_remove_tree(d.scratch, NULL);
    }
    if (lock >= 0)
        close(lock);
    return rv;
}
