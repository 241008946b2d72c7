/* SPDX-License-Identifier: Apache-2.0 */
/* Power loss of a whole data directory. Three modules run under load while every file call is recorded; then states
 * that a disk may hold after a crash at any moment are made, the engine recovers from them, and all that was
 * acknowledged must be there, once, with its effects. In some, the recovery is recorded too, with more load behind it,
 * and the power fails again; or only the process died first, so that what recovery reads is not on the disk.
 *
 *   power_loss             120 images, 5,000 with LEAT_LONG=1; LEAT_SEED: the first seed
 *   power_loss images N    so many
 *   power_loss image FILE  check again the image that a failure has left in FILE */

#include "engine/node.h"
#include "modules/modules.h"
#include "tests/lib/disk.h"
#include "tests/process/chain.h"

#include "base/file.h"
#include "base/log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    IMAGES = 120,
    IMAGES_LONG = 5000,
    IMAGES_EACH = 30, /* of one recording */
    LIVES = 3,        /* of the engine in one recording */
    DEPTH = 3,        /* crashes one upon the other */
    BATCH = 20,
    LIFE = 400,       /* rows of each client in one */
    ROWS = 4000,
    WRONG_SHOWN = 8,
    PATIENCE_S = 60
};

enum { SENTENCES, DEPOSITS, TRANSFERS, NUMBERS, CLIENTS };

enum { VOCABULARY = 17, ACCOUNTS = 8, DEPOSIT = 10, SESSION = 7 };

/* What the world was told. */
struct told {
    int64_t appended[CLIENTS];      /* rows below this are acknowledged */
    bool processed[CLIENTS][ROWS];
};

/* ---- Failing ---- */

/* The image in hand, for a file that repeats its check. */
static struct {
    const struct disk *disk;
    struct {
        uint64_t seed;
        uint32_t crash;
        enum disk_loss loss;
    } image;
    char path[300];
} evidence;

/* Async-signal-safe. */
static void save_evidence(void)
{
    int fd = openat(AT_FDCWD, evidence.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd >= 0)
        disk_save(evidence.disk, &evidence.image, sizeof(evidence.image), fd);
}

static void on_signal(int number)
{
    save_evidence();
    _exit(128 + number);
}

static void must(int code, const struct leat_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "power_loss: %s: %s\n", leat_code_name(code), err->text);
    save_evidence();
    _exit(1);
}

/* ---- The load: row i of each client follows from i ---- */

static const struct {
    const struct leat_module *module;
    const char *depot;
} client[CLIENTS] = {
    [SENTENCES] = {&module_word_count, "sentences"},
    [DEPOSITS] = {&module_bank_transfer, "deposits"},
    [TRANSFERS] = {&module_bank_transfer, "transfers"},
    [NUMBERS] = {&module_chain, "numbers"},
};

static const char *text(char *out, const char *prefix, int64_t number)
{
    snprintf(out, 32, "%s%lld", prefix, (long long)number);
    return out;
}

static int add_row(struct leat_rows *rows, int c, int64_t i, struct leat_error *err)
{
    char a[32], b[32], words[128];

    switch (c) {
    case SENTENCES:
        snprintf(words, sizeof(words), "u%lld w%lld w%lld", (long long)i, (long long)(i * 7919 % VOCABULARY),
                 (long long)(i * 31 % VOCABULARY));
        return leat_rows_add(rows, LEAT_ROW(leat_str(words)), err);
    case DEPOSITS:
        return leat_rows_add(rows, LEAT_ROW(leat_str(text(a, "a", i % ACCOUNTS)), leat_i64(DEPOSIT)), err);
    case TRANSFERS:
        return leat_rows_add(rows, LEAT_ROW(leat_str(text(a, "a", i * 5 % ACCOUNTS)),
                                            leat_str(text(b, "a", (i * 3 + 1) % ACCOUNTS)), leat_i64(1 + i % 15),
                                            leat_str(text(words, "t", i))), err);
    default:
        return leat_rows_add(rows, LEAT_ROW(leat_i64(key_of(i)), leat_i64(i)), err);
    }
}

struct load {
    struct leat *leat;
    int client;
    int64_t from, to;
    struct random random;
    pthread_t thread;
};

/* Append rows in batches of any size, with any acknowledgement. */
static void *append(void *context)
{
    struct load *load = context;
    struct leat_error err = {0};
    struct leat_depot *d;
    struct leat_rows *rows;

    must(leat_depot_find(load->leat, client[load->client].module->name, client[load->client].depot, &d, &err), &err);
    must(leat_rows_new(d, &rows), &err);
    for (int64_t at = load->from; at < load->to;) {
        int64_t end = at + 1 + (int64_t)random_below(&load->random, BATCH);
        struct leat_append how = {.ack = random_below(&load->random, 3) == 0 ? LEAT_PROCESSED : LEAT_APPENDED,
                                  .session = SESSION, .sequence = (uint64_t)at};

        leat_rows_clear(rows);
        end = end < load->to ? end : load->to;
        for (int64_t i = at; i < end; i++)
            must(add_row(rows, load->client, i, &err), &err);
        must(leat_append(d, rows, &how, NULL, &err), &err);
        disk_mark((uint32_t)load->client * 2 + (how.ack == LEAT_PROCESSED), (uint64_t)at, (uint64_t)end);
        at = end;
    }
    leat_rows_free(rows);
    return NULL;
}

/* All clients at once, each from where it knows that it got to, or some rows before. */
static void append_all(struct leat *l, const struct told *told, int64_t rows, uint64_t seed)
{
    struct load load[CLIENTS];

    for (int c = 0; c < CLIENTS; c++) {
        int64_t known = told->appended[c];

        load[c] = (struct load){.leat = l, .client = c, .to = known + rows};
        random_seed(&load[c].random, seed + (uint64_t)c);
        load[c].from = known - (int64_t)random_below(&load[c].random, 2 * BATCH);
        load[c].from = load[c].from > 0 ? load[c].from : 0;
        leat_assert(load[c].to <= ROWS);
        leat_assert(pthread_create(&load[c].thread, NULL, append, &load[c]) == 0);
    }
    for (int c = 0; c < CLIENTS; c++)
        pthread_join(load[c].thread, NULL);
}

static struct leat *start(const char *directory)
{
    static const struct leat_module *const modules[] = {&module_word_count, &module_bank_transfer, &module_chain};
    struct leat_error err = {0};
    struct leat *l;

    must(leat_open(directory, NULL, &l, &err), &err);
    l->segment_size = 24 << 10;
    l->checkpoint_bytes = 64 << 10;
    for (size_t i = 0; i < LENGTH_OF(modules); i++)
        must(leat_launch(l, modules[i], &(struct leat_launch){.tasks = 8, .groups = 2}, &err), &err);
    return l;
}

static void hear(struct told *told, const struct disk *d, uint32_t crash)
{
    memset(told, 0, sizeof(*told));
    for (uint32_t i = 0; i < crash; i++) {
        const struct disk_event *e = &d->event[i];

        if (e->kind != DISK_MARK)
            continue;
        if ((int64_t)e->size > told->appended[e->file / 2])
            told->appended[e->file / 2] = (int64_t)e->size;
        for (uint64_t row = e->offset; row < e->size && e->file % 2 == 1; row++)
            told->processed[e->file / 2][row] = true;
    }
}

/* ---- Checking ---- */

struct check {
    struct leat *leat;
    struct leat_view *view[CLIENTS]; /* of the client's module */
    int64_t rows[CLIENTS];
    uint64_t chain[KEYS];            /* by an offline replay of the depot */
    bool *seen;                      /* rows of the depot in hand */
    int client, wrong;
};

static void equal(struct check *k, const char *what, int64_t number, uint64_t got, uint64_t want)
{
    if (got == want)
        return;
    if (k->wrong++ >= WRONG_SHOWN)
        return;
    fprintf(stderr, "%s %lld: %llu instead of %llu\n", what, (long long)number, (unsigned long long)got,
            (unsigned long long)want);
}

/* The fields that a key leads to, on the task of another; false: nothing is there. */
static bool find(struct check *k, int c, uint32_t pstate, struct leat_row keys, struct leat_value *out,
                 uint32_t fields)
{
    int rv = leat_get(leat_view_owner(k->view[c], &keys.value[0]), pstate, keys, out, fields);
    struct leat_error err = {0};

    if (rv != LEAT_ENOTFOUND)
        must(rv, &err);
    return rv == 0;
}

static uint64_t number_of(struct check *k, int c, uint32_t pstate, struct leat_value key)
{
    struct leat_value out;

    return find(k, c, pstate, LEAT_KEYS(key), &out, 1) ? out.as.u : 0;
}

static void open_views(struct check *k)
{
    struct leat_error err = {0};

    for (int c = 0; c < CLIENTS; c++)
        must(leat_view_open(k->leat, client[c].module->name, &k->view[c], &err), &err);
}

static void close_views(struct check *k)
{
    for (int c = 0; c < CLIENTS; c++)
        leat_view_close(k->view[c]);
}

/* Right after the start: what was processed is seen without waiting. */
static void check_processed(struct check *k, const struct told *told)
{
    char id[32], account[32];
    struct leat_value out[4];

    open_views(k);
    for (int64_t i = 0; i < ROWS; i++) {
        if (told->processed[SENTENCES][i])
            equal(k, "at once: word u", i, number_of(k, SENTENCES, 0, leat_str(text(id, "u", i))), 1);
        if (told->processed[TRANSFERS][i])
            equal(k, "at once: transfer", i,
                  find(k, TRANSFERS, 1,
                       LEAT_KEYS(leat_str(text(account, "a", i * 5 % ACCOUNTS)), leat_str(text(id, "t", i))), out, 3),
                  1);
    }
    close_views(k);
}

static int on_record(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    struct check *k = context;
    int64_t number = (int64_t)record->sequence;

    leat_assert(record->session == SESSION && number < ROWS);
    equal(k, "repeated row", number, k->seen[number], false);
    k->seen[number] = true;
    if (k->client == NUMBERS) {
        int64_t key = leat_at(row, 0, 0).as.i;

        k->chain[key] = mix(k->chain[key], leat_at(row, 0, 1).as.i);
    }
    return 0;
}

/* Every row once in its depot. */
static void check_depot(struct check *k, int c)
{
    bool seen[ROWS] = {false};
    struct leat_error err = {0};
    struct leat_depot *d;

    k->client = c;
    k->seen = seen;
    must(leat_depot_find(k->leat, client[c].module->name, client[c].depot, &d, &err), &err);
    for (uint32_t p = 0; p < leat_depot_partitions(d); p++) {
        uint64_t next = 0, at;

        do {
            at = next;
            must(leat_depot_read(d, p, at, 1000, on_record, k, &next, &err), &err);
        } while (next > at);
    }
    for (int64_t i = 0; i < ROWS; i++)
        equal(k, client[c].depot, i, seen[i], i < k->rows[c]);
}

static void check_words(struct check *k)
{
    uint64_t count[VOCABULARY] = {0};
    char word[32];

    for (int64_t i = 0; i < k->rows[SENTENCES]; i++) {
        count[i * 7919 % VOCABULARY]++;
        count[i * 31 % VOCABULARY]++;
        equal(k, "word u", i, number_of(k, SENTENCES, 0, leat_str(text(word, "u", i))), 1);
    }
    for (int64_t i = 0; i < VOCABULARY; i++)
        equal(k, "word w", i, number_of(k, SENTENCES, 0, leat_str(text(word, "w", i))), count[i]);
}

static void check_money(struct check *k)
{
    int64_t balance[ACCOUNTS] = {0}, sum = 0;
    struct leat_value out[3];
    char id[32], account[32];

    for (int64_t i = 0; i < k->rows[DEPOSITS]; i++)
        balance[i % ACCOUNTS] += DEPOSIT;
    for (int64_t i = 0; i < k->rows[TRANSFERS]; i++) {
        int64_t from = i * 5 % ACCOUNTS, to = (i * 3 + 1) % ACCOUNTS;
        bool there = find(k, TRANSFERS, 1, LEAT_KEYS(leat_str(text(account, "a", from)), leat_str(text(id, "t", i))),
                          out, 3);

        equal(k, "transfer", i, there, true);
        if (there && out[2].as.b) {
            balance[from] -= 1 + i % 15;
            balance[to] += 1 + i % 15;
        }
    }
    for (int64_t i = 0; i < ACCOUNTS; i++) {
        int64_t got = (int64_t)number_of(k, DEPOSITS, 0, leat_str(text(account, "a", i)));

        equal(k, "balance", i, (uint64_t)got, (uint64_t)balance[i]);
        equal(k, "debt", i, got < 0, false);
        sum += got;
    }
    equal(k, "sum", 0, (uint64_t)sum, (uint64_t)(k->rows[DEPOSITS] * DEPOSIT));
}

static void check_chain(struct check *k)
{
    uint64_t hops[HOPS] = {0};

    for (int64_t i = 0; i < k->rows[NUMBERS]; i++)
        hops[hop_of(i)]++;
    for (int64_t i = 0; i < KEYS; i++)
        equal(k, "chain", i, number_of(k, NUMBERS, 0, leat_i64(i)), k->chain[i]);
    for (int64_t i = 0; i < HOPS; i++) {
        equal(k, "hops", i, number_of(k, NUMBERS, 1, leat_i64(i)), hops[i]);
        equal(k, "hops_again", i, number_of(k, NUMBERS, 2, leat_i64(i)), hops[i]);
    }
    equal(k, "derived", 0, (uint64_t)chain_ask(k->leat, NULL), 0);
}

static void check_all(struct check *k)
{
    struct leat_error err = {0};

    memset(k->chain, 0, sizeof(k->chain));
    must(leat_wait_idle(k->leat, PATIENCE_S * 1000, &err), &err);
    for (int c = 0; c < CLIENTS; c++)
        check_depot(k, c);
    open_views(k);
    check_words(k);
    check_money(k);
    check_chain(k);
    close_views(k);
}

/* Recover, let the clients go on, and compare everything. A batch that was under way may be there in part, so
 * they append beyond it. */
static int recover(const char *directory, const struct told *told, uint64_t seed)
{
    struct check k = {.leat = start(directory)};

    for (int c = 0; c < CLIENTS; c++)
        k.rows[c] = told->appended[c] + 2 * BATCH;
    check_processed(&k, told);
    append_all(k.leat, told, 2 * BATCH, seed);
    check_all(&k);
    leat_close(k.leat);
    if (seed % 4 == 0) {
        k.leat = start(directory);
        check_all(&k);
        leat_close(k.leat);
    }
    return k.wrong;
}

/* ---- Crashes ---- */

/* Anywhere; often at events that are rare: a new file, a change of names, a sync, a write that is no page of LMDB. */
static uint32_t choose_crash(struct random *random, const struct disk *d, uint32_t first)
{
    uint32_t at = first + 1 + (uint32_t)random_below(random, d->events - first),
             kind = (uint32_t)random_below(random, 4);

    if (kind == 0)
        at = first + 1 + (at - first) / 8;
    while (kind == 1 && at < d->events && d->event[at - 1].kind != DISK_LINK && d->event[at - 1].kind != DISK_UNLINK &&
           d->event[at - 1].kind != DISK_GROW)
        at++;
    while (kind == 2 && at < d->events && d->event[at].kind != DISK_SYNC)
        at++;
    return at;
}

static const char *below(char *out, const char *root, const char *name, int number)
{
    snprintf(out, 256, "%s/%s%d", root, name, number);
    must(mkdir(out, 0700) == 0 ? 0 : LEAT_EIO, &(struct leat_error){.text = "a directory cannot be made"});
    return out;
}

static void remember(const struct disk *d, uint32_t crash, enum disk_loss loss, uint64_t seed)
{
    evidence.disk = d;
    evidence.image.seed = seed;
    evidence.image.crash = crash;
    evidence.image.loss = loss;
}

/* Marks of what was told before the recording began. */
static void mark_told(const struct told *told)
{
    for (uint32_t c = 0; c < CLIENTS; c++) {
        disk_mark(c * 2, 0, (uint64_t)told->appended[c]);
        for (uint64_t i = 0; i < ROWS; i++)
            if (told->processed[c][i])
                disk_mark(c * 2 + 1, i, i + 1);
    }
}

/* Crash, recover with all file calls recorded, and take load. Returns where the recording begins in *out. */
static uint32_t crash_and_live(const struct disk *d, uint32_t crash, enum disk_loss loss, uint64_t seed,
                               const char *root, struct disk *out)
{
    struct told *told = base_alloc(sizeof(*told));
    char data[300];

    remember(d, crash, loss, seed);
    hear(told, d, crash);
    disk_init(out);
    disk_image(d, crash, loss, seed, root, loss == DISK_POWER ? out : NULL);
    if (loss == DISK_KILL)
        disk_first(d, crash, out);
    disk_record(out, root);
    if (loss == DISK_POWER)
        mark_told(told);
    uint32_t first = out->events;
    snprintf(data, sizeof(data), "%s/data", root);
    struct leat *l = start(data);
    append_all(l, told, 3 * BATCH, seed);
    leat_close(l);
    disk_record_end();
    free(told);
    return first;
}

static int check_image(const struct disk *d, uint32_t crash, enum disk_loss loss, uint64_t seed, const char *root)
{
    struct told *told = base_alloc(sizeof(*told));
    char directory[256], data[300];

    remember(d, crash, loss, seed);
    hear(told, d, crash);
    disk_image(d, crash, loss, seed, below(directory, root, "image", 0), NULL);
    snprintf(data, sizeof(data), "%s/data", directory);
    int wrong = recover(data, told, seed);
    if (wrong > 0)
        save_evidence();
    free(told);
    return wrong;
}

/* Some crashes one upon the other, the last one a loss of power. */
static int check_seed(const struct disk *recording, uint64_t seed, const char *root)
{
    const struct disk *d = recording;
    struct disk next[DEPTH];
    struct random random;
    uint32_t first = 0;
    char directory[256];

    random_seed(&random, seed);
    for (int depth = 0; depth < DEPTH && random_below(&random, 2) == 0; depth++) {
        uint32_t crash = choose_crash(&random, d, first);
        enum disk_loss loss = random_below(&random, 2) == 0 ? DISK_KILL : DISK_POWER;

        first = crash_and_live(d, crash, loss, random_u64(&random), below(directory, root, "crash", depth),
                               &next[depth]);
        d = &next[depth];
    }
    uint32_t crash = choose_crash(&random, d, first);
    return check_image(d, crash, DISK_POWER, random_u64(&random), root);
}

/* In a process of its own, as the engine may abort. */
static bool survives(const struct disk *recording, uint64_t seed, const char *disk, const char *memory)
{
    static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGALRM};
    char directory[256];
    int status = 0;

    snprintf(evidence.path, sizeof(evidence.path), "%s-%llu.events", disk, (unsigned long long)seed);
    below(directory, memory, "seed", (int)(seed % 1000000));
    pid_t child = fork();
    if (child == 0) {
        for (size_t i = 0; i < LENGTH_OF(fatal); i++)
            signal(fatal[i], on_signal);
        alarm(PATIENCE_S);
        _exit(check_seed(recording, seed, directory) == 0 ? 0 : 1);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    file_remove_tree(directory, NULL);
    if (status == 0)
        return true;
    printf("seed %llu: the image is not recovered (status %d). LEAT_SEED=%llu runs it first; 'power_loss image %s' "
           "checks this very image\n",
           (unsigned long long)seed, status, (unsigned long long)seed, evidence.path);
    return false;
}

/* ---- Recording ---- */

static void record(struct disk *d, uint64_t seed, const char *root)
{
    struct told *told = base_alloc(sizeof(*told));
    char data[300];

    disk_init(d);
    disk_record(d, root);
    snprintf(data, sizeof(data), "%s/data", root);
    for (uint64_t life = 0; life < LIVES; life++) {
        struct leat *l = start(data);

        hear(told, d, d->events);
        append_all(l, told, LIFE, seed + life * CLIENTS);
        leat_close(l);
    }
    disk_record_end();
    free(told);
}

/* Replaying the record to its end must give what is there: no call was missed. (LMDB keeps its readers in a map.) */
static bool whole(const struct disk *d, const char *root, const char *copy)
{
    char command[1024];

    disk_image(d, d->events, DISK_KILL, 0, copy, NULL);
    snprintf(command, sizeof(command), "diff -r -x lock.mdb -x 'stats.jsonl*' '%s' '%s'", root, copy);
    return system(command) == 0;
}

/* Did journals get new segments, and lose old ones behind checkpoints? */
static bool trims(const struct disk *d)
{
    uint32_t made = 0, removed = 0;

    for (uint32_t i = 0; i < d->events; i++)
        if (d->event[i].name != NULL && strstr(d->event[i].name, ".seg") != NULL) {
            made += d->event[i].kind == DISK_LINK;
            removed += d->event[i].kind == DISK_UNLINK;
        }
    printf("%u events of %u files; %u segments, %u of them removed\n", d->events, d->files, made, removed);
    return removed > 0;
}

/* The load runs on a disk, where syncs take their time; images are made in memory where there is such a directory. */
static int campaign(uint64_t seed, int images, const char *disk, const char *memory)
{
    int failed = 0;

    for (int i = 0; i < images && failed < 5; i++) {
        static struct disk recording;
        char root[256], copy[256];

        if (i % IMAGES_EACH == 0) {
            disk_fini(&recording);
            record(&recording, seed + (uint64_t)i, below(root, disk, "load", i));
            failed += !whole(&recording, root, below(copy, memory, "copy", i)) || !trims(&recording);
            file_remove_tree(root, NULL);
            file_remove_tree(copy, NULL);
        }
        failed += !survives(&recording, seed + (uint64_t)i, disk, memory);
    }
    return failed;
}

static int replay(const char *path, const char *scratch)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct disk d;

    must(fd >= 0 ? 0 : LEAT_ENOTFOUND, &(struct leat_error){.text = "the file cannot be read"});
    disk_load(&d, &evidence.image, sizeof(evidence.image), fd);
    close(fd);
    snprintf(evidence.path, sizeof(evidence.path), "/dev/null");
    int wrong = check_image(&d, evidence.image.crash, evidence.image.loss, evidence.image.seed, scratch);
    printf("%d wrong values\n", wrong);
    return wrong;
}

static const char *scratch(char *out, size_t size, const char *parent)
{
    snprintf(out, size, "%s/leat-power-XXXXXX", parent);
    must(mkdtemp(out) != NULL ? 0 : LEAT_EIO, &(struct leat_error){.text = "a temporary directory cannot be made"});
    return out;
}

int main(int argc, char **argv)
{
    const char *given = getenv("LEAT_SEED"), *tmp = getenv("TMPDIR"), *lasting = getenv("LEAT_LONG");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : random_entropy() % 1000000000;
    int images = lasting != NULL && strcmp(lasting, "1") == 0 ? IMAGES_LONG : IMAGES, failed;
    char disk[256], memory[256];

    setvbuf(stdout, NULL, _IOLBF, 0);
    log_level_set(LOG_ERROR);
    tmp = tmp != NULL ? tmp : "/tmp";
    scratch(disk, sizeof(disk), tmp);
    scratch(memory, sizeof(memory), access("/dev/shm", W_OK) == 0 ? "/dev/shm" : tmp);
    if (argc == 3 && strcmp(argv[1], "image") == 0) {
        failed = replay(argv[2], memory);
    } else {
        images = argc == 3 && strcmp(argv[1], "images") == 0 ? atoi(argv[2]) : images;
        printf("seed %llu, %d images\n", (unsigned long long)seed, images);
        failed = campaign(seed, images, disk, memory);
    }
    file_remove_tree(disk, NULL);
    file_remove_tree(memory, NULL);
    return failed == 0 ? 0 : 1;
}
