/* SPDX-License-Identifier: Apache-2.0 */
/* Whole clusters in one thread, with virtual time, on a disk that loses what was not synced.
 *
 *   leat-sim --seed S [--drop LIST] [--verbose]   one seed, without some of its operations
 *   leat-sim [--seeds N] [--from S]               N seeds (200; 10,000 with LEAT_LONG=1) from S (1) on; ends at the
 *                                                 first that fails, made small
 *   leat-sim --same [--seeds N]                   run them twice: is the trace the same?
 *
 * A seed decides everything: the module, the clients, the schedule, what goes wrong. A failure prints how to run it
 * again. */

#include "tests/sim/sim.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/commit.h"

/* What a crash left lying in memory is not freed: a process runs some seeds only. */
enum { PATIENCE_S = 30, SEEDS_EACH = 100, SEEDS = 200, SEEDS_LONG = 10000 };

struct options {
    uint64_t seed, seeds;
    bool one, verbose, check;
    bool dropped[SIM_OPS];
};

/* There when lines are counted. */
void __gcov_dump(void) __attribute__((weak));

static struct sim_result *result; /* shared with the process that runs */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Run seeds in a process of their own, from one on, until one fails. */
static void run_child(uint64_t from, uint64_t count, const bool *dropped, bool verbose)
{
    int status;

    fflush(stdout);
    result->failed = false;
    result->text[0] = '\0';
    pid_t pid = fork();
    if (pid == 0) {
        for (uint64_t i = 0; i < count; i++) {
            setitimer(ITIMER_PROF, &(struct itimerval){.it_value = {.tv_sec = PATIENCE_S}}, NULL);
            sim_run(from + i, dropped, verbose, result);
            result->done++;
        }
        if (__gcov_dump != NULL)
            __gcov_dump();
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("leat-sim");
        exit(2);
    }
    if (result->failed || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return;
    result->failed = true;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
        snprintf(result->text, sizeof(result->text), "it does not end in %d s of its processor", PATIENCE_S);
    else
        snprintf(result->text, sizeof(result->text), "the process dies (%s %d)",
                 WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* ---- Making a failure small ---- */

/* Does it still fail, and in the same words, up to the first number? */
static bool fails_without(uint64_t seed, const bool *dropped, const char *as)
{
    run_child(seed, 1, dropped, false);
    return result->failed && strncmp(result->text, as, strcspn(as, "0123456789")) == 0;
}

/* Leave out operations, half of them at once, then fewer, as long as it still fails. */
static void shrink(uint64_t seed, bool *dropped, uint32_t ops, const char *as)
{
    for (uint32_t chunk = ops / 2; chunk > 0; chunk /= 2)
        for (uint32_t at = 0; at < ops; at += chunk) {
            bool tried[SIM_OPS];
            bool changes = false;

            memcpy(tried, dropped, sizeof(tried));
            for (uint32_t i = at; i < at + chunk && i < ops; i++) {
                changes = changes || !tried[i];
                tried[i] = true;
            }
            if (changes && fails_without(seed, tried, as))
                memcpy(dropped, tried, sizeof(tried));
        }
}

static void print_failure(uint64_t seed, const bool *given)
{
    bool dropped[SIM_OPS];
    char text[sizeof(result->text)];
    uint32_t ops = result->ops, left = 0;
    const char *comma = "";

    printf("leat-sim: seed %llu fails (commit %s): %s\n", (unsigned long long)seed, SIM_COMMIT, result->text);
    memcpy(text, result->text, sizeof(text));
    memcpy(dropped, given, sizeof(dropped));
    shrink(seed, dropped, ops, text);
    fails_without(seed, dropped, text);
    for (uint32_t i = 0; i < ops; i++)
        left += !dropped[i];
    printf("with %u of its %u operations: %s\n  leat-sim --seed %llu", left, ops, result->text,
           (unsigned long long)seed);
    for (uint32_t i = 0; i < ops; i++)
        if (dropped[i]) {
            printf("%s%u", comma[0] == '\0' ? " --drop " : comma, i);
            comma = ",";
        }
    printf(" --verbose\n");
}

/* ---- The report ---- */

static void print_count(const char *what, uint64_t count)
{
    printf("  %-28s %12llu\n", what, (unsigned long long)count);
}

static void print_report(double seconds)
{
    const struct sim_counts *c = &result->counts;
    double virtual_s = (double)c->virtual_ns / 1e9;

    printf("%llu seeds in %.1f s: %.1f ms each; %.0f virtual seconds, %.0f in each real one\n",
           (unsigned long long)result->done, seconds, seconds * 1e3 / (double)(result->done > 0 ? result->done : 1),
           virtual_s, virtual_s / seconds);
    print_count("lives", c->lives);
    print_count("crashes while it opens", c->crashes_at_open);
    print_count("directories that do not open", c->failed_opens);
    print_count("modules that stop", c->stops);
    print_count("rows appended", c->rows);
    print_count("appends tried again", c->retries);
    print_count("reads checked", c->reads);
    print_count("queries checked", c->queries);
    print_count("ticks", c->ticks);
    print_count("values sent back", c->returns);
    print_count("journals seen to be trimmed", c->trims_checked);
    print_count("backups", c->backups);
    print_count("backups restored", c->restored);
    print_count("rebuilds", c->rebuilds);
    print_count("rebuilds cut off by a crash", c->rebuilds_crashed);
    print_count("rebuilds that fail", c->rebuilds_failed);
    print_count("changes of groups", c->rebuilt_groups);
    print_count("moves of consumers", c->consumed);
    print_count("partitions seen trimmed", c->trimmed);
    print_count("vectors sent", c->vectors_sent);
    print_count("postings split", c->vectors_splits);
    print_count("postings opened", c->vectors_opened);
    print_count("postings left", c->vectors_left);
    print_count("compactions asked for", c->vectors_compactions);
    print_count("rows moved", c->vectors_moved);
    print_count("crashes with an index", c->vectors_crashes);
    print_count("while upkeep was asked for", c->vectors_amid_asked);
    print_count("while postings were retired", c->vectors_amid_retired);
    print_count("while rows moved", c->vectors_amid_moving);
    print_count("switches of threads", c->switches);
    print_count("threads stalled", c->stalls);
    print_count("wake-ups for nothing", c->spurious);
    for (int i = 0; i < FILES_COUNTS; i++)
        print_count(files_count_name[i], c->files[i]);
    for (int i = OP_POWER; i < OP_KINDS; i++) {
        char text[64];

        snprintf(text, sizeof(text), "operation: %s", op_name[i]);
        print_count(text, c->ops[i]);
    }
}

/* ---- Command line ---- */

static void parse_drop(const char *list, bool *dropped)
{
    while (*list != '\0') {
        char *end;
        unsigned long at = strtoul(list, &end, 10);

        if (end == list || at >= SIM_OPS) {
            fprintf(stderr, "leat-sim: --drop wants numbers of operations, as 3,4,7\n");
            exit(2);
        }
        dropped[at] = true;
        list = *end == ',' ? end + 1 : end;
    }
}

static void parse(int count, char **argument, struct options *o)
{
    const char *many = getenv("LEAT_LONG");

    *o = (struct options){.seed = 1, .seeds = many != NULL && many[0] == '1' ? SEEDS_LONG : SEEDS};
    for (int i = 1; i < count; i++) {
        const char *value = i + 1 < count ? argument[i + 1] : NULL;

        if (strcmp(argument[i], "--verbose") == 0) {
            o->verbose = true;
            continue;
        }
        if (strcmp(argument[i], "--same") == 0) {
            o->check = true;
            continue;
        }
        if (value == NULL) {
            fprintf(stderr, "usage: leat-sim --seed S [--drop LIST] [--verbose] | --seeds N [--from S] | --same\n");
            exit(2);
        }
        if (strcmp(argument[i], "--seed") == 0 || strcmp(argument[i], "--from") == 0)
            o->seed = strtoull(value, NULL, 10);
        else if (strcmp(argument[i], "--seeds") == 0)
            o->seeds = strtoull(value, NULL, 10);
        else if (strcmp(argument[i], "--drop") == 0)
            parse_drop(value, o->dropped);
        if (strcmp(argument[i], "--seed") == 0) {
            o->one = true;
            o->seeds = 1;
        }
        i++;
    }
}

/* The same seed gives the same trace, also behind others in one process. */
static int check_same(const struct options *o)
{
    for (uint64_t seed = o->seed; seed < o->seed + o->seeds; seed++) {
        run_child(seed, 1, o->dropped, false);
        uint64_t first = result->trace;

        run_child(seed > 1 ? seed - 1 : seed, seed > 1 ? 2 : 1, o->dropped, false);
        if (result->trace != first || result->failed) {
            printf("leat-sim: seed %llu runs differently the second time\n", (unsigned long long)seed);
            return 1;
        }
    }
    printf("%llu seeds run the same a second time\n", (unsigned long long)o->seeds);
    return 0;
}

int main(int count, char **argument)
{
    struct options o;
    double start = now();

    parse(count, argument, &o);
    /* Sums of floats, and so all that follows from them, are the same on each processor. */
    setenv("LEAT_SIMD", "portable", 0);
    /* Memory that is freed stays: the kernel is asked for little. */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (result == MAP_FAILED)
        return 2;
    if (o.check)
        return check_same(&o);
    for (uint64_t i = 0; i < o.seeds && !result->failed; i += SEEDS_EACH)
        run_child(o.seed + i, o.seeds - i < SEEDS_EACH ? o.seeds - i : SEEDS_EACH, o.dropped, o.verbose);
    if (result->failed && !o.verbose) {
        print_failure(result->seed, o.dropped);
        return 1;
    }
    if (result->failed) {
        printf("leat-sim: seed %llu fails: %s\n", (unsigned long long)result->seed, result->text);
        return 1;
    }
    print_report(now() - start);
    if (o.one)
        printf("trace %016llx\n", (unsigned long long)result->trace);
    return 0;
}
