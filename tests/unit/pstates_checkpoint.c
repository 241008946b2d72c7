/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/random.h"
#include "pstates/pstate.h"
#include "tests/lib/fault.h"

/* Power loss, simulated: the file as it was at a checkpoint, and any mix of the pages written later lost, kept or torn,
 * must be restored exactly and go on; and so must a process that dies at any point of a checkpoint, and one whose file
 * calls fail. */

enum { KEYS = 400, PAGE = 4096, IMAGES = 300 };

struct fixture {
    char directory[64], data[128];
    struct arena *arena;
    struct pstate_schema schema[2];
    struct pstate_config config;
};

static void set_up(struct fixture *f)
{
    struct leat_error err = {0};

    fault_directory(f->directory);
    snprintf(f->data, sizeof(f->data), "%s/data.mdb", f->directory);
    f->arena = arena_open(1 << 20);
    assert_int_equal(pstate_schema_parse(f->arena, "numbers", "map<u64, i64>", NULL, NULL, &f->schema[0], &err), 0);
    assert_int_equal(pstate_schema_parse(f->arena, "vectors", "rows<f32[100]>", NULL, NULL, &f->schema[1], &err), 0);
    f->config = (struct pstate_config){
        .directory = f->directory, .schema = f->schema, .schemas = 2, .map_size = 64 << 20, .durability = LEAT_PROCESS};
}

static void tear_down(struct fixture *f)
{
    file_remove_tree(f->directory, NULL);
    arena_close(f->arena);
}

static struct pstate_view *open_view(struct fixture *f, uint64_t *turn)
{
    struct buffer state = {0};
    struct leat_error err = {0};
    struct pstate_view *v;

    if (pstate_view_open(&f->config, &v, turn, &state, &err) != 0)
        fail_msg("%s", err.text);
    if (*turn > 0) {
        assert_int_equal(state.size, 8);
        assert_int_equal(load_u64(state.base), *turn * 3);
    }
    buffer_fini(&state);
    return v;
}

/* A turn of random puts and deletes that follows from its number alone. */
static int try_turn(struct pstate_view *v, uint64_t turn, int64_t *model, struct leat_error *err)
{
    float vector[100] = {(float)turn};
    struct random random;
    int rv = pstate_view_begin(v, NULL, err);

    random_seed(&random, turn);
    for (int i = 0; i < 60 && rv == 0; i++) {
        uint64_t key = random_below(&random, KEYS);
        int64_t value = (int64_t)(random_u64(&random) >> 2) + 1;

        if (random_below(&random, 4) == 0) {
            rv = pstate_delete(v, 0, 0, LEAT_KEYS(leat_u64(key)), err);
            value = 0;
        } else {
            rv = pstate_put(v, 0, 0, LEAT_KEYS(leat_u64(key)), LEAT_ROW(leat_i64(value)), err);
        }
        if (model != NULL)
            model[key] = value;
    }
    if (rv == 0)
        rv = pstate_rows_append(v, 0, 1, LEAT_KEYS(), LEAT_ROW(leat_vector(LEAT_F32_VECTOR, vector, 100)), NULL, err);
    return rv == 0 ? pstate_view_commit(v, turn, err) : rv;
}

static void take_turn(struct pstate_view *v, uint64_t turn, int64_t *model)
{
    struct leat_error err = {0};

    if (try_turn(v, turn, model, &err) != 0)
        fail_msg("%s", err.text);
}

static void check(struct pstate_view *v, uint64_t turn, const int64_t *model)
{
    struct leat_error err = {0};
    struct pstate_reader *r;
    struct leat_block block;
    struct leat_value value;
    uint64_t rows;
    float first;

    assert_int_equal(pstate_snapshot_open(v, &r, &err), 0);
    assert_int_equal(pstate_reader_turn(r), turn);
    for (uint64_t key = 0; key < KEYS; key++) {
        int rv = pstate_get(r, 0, 0, LEAT_KEYS(leat_u64(key)), &value, 1, &err);

        assert_int_equal(rv, model[key] != 0 ? 0 : LEAT_ENOTFOUND);
        if (rv == 0)
            assert_true(value.as.i == model[key]);
    }
    assert_int_equal(pstate_size(r, 0, 1, LEAT_KEYS(), &rows, &err), 0);
    assert_int_equal(rows, turn);
    for (uint64_t row = 0; row < turn; row += block.rows)
        for (uint32_t i = 0; pstate_rows_block(r, 0, 1, LEAT_KEYS(), row, &block, &err) == 0 && i < block.rows; i++) {
            memcpy(&first, (const uint8_t *)block.base + (size_t)i * block.stride, 4);
            assert_true(first == (float)(row + i + 1));
        }
    pstate_snapshot_close(r);
}

static int try_checkpoint(struct pstate_view *v, uint64_t turn, struct leat_error *err)
{
    uint8_t state[8];

    store_u64(state, turn * 3);
    int rv = pstate_checkpoint_start(v, span_of(state, 8), err);
    return rv == 0 ? pstate_checkpoint_wait(v, err) : rv;
}

static void checkpoint(struct pstate_view *v, uint64_t turn)
{
    struct leat_error err = {0};
    uint64_t at, previous;

    if (try_checkpoint(v, turn, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(pstate_checkpoint_poll(v, &at, &previous, &err), 0);
    assert_int_equal(at, turn);
}

static struct buffer read_file(const char *path)
{
    struct buffer b;
    struct leat_error err = {0};

    buffer_init(&b, 64 << 20);
    assert_int_equal(file_read(path, 64 << 20, &b, &err), 0);
    return b;
}

/* Pages written since the checkpoint survive or not, each by chance; some are torn in the middle. */
static void make_image(const struct fixture *f, const struct buffer *then, const struct buffer *now, uint64_t seed)
{
    struct random random;
    int fd = open(f->data, O_RDWR | O_TRUNC);

    assert_true(fd >= 0);
    random_seed(&random, seed);
    uint32_t lost = (uint32_t)random_below(&random, 101);
    for (size_t at = 0; at < now->size; at += PAGE) {
        uint8_t page[PAGE] = {0};
        size_t keep = random_below(&random, 100) < lost ? 0
                      : random_below(&random, 20) == 0  ? 512 * random_below(&random, 8)
                                                        : PAGE;

        if (at < then->size)
            memcpy(page, then->base + at, PAGE);
        memcpy(page, now->base + at, keep);
        assert_int_equal(pwrite(fd, page, PAGE, (off_t)at), PAGE);
    }
    close(fd);
}

static void any_mix_of_later_pages_is_restored(void **state)
{
    int64_t at_checkpoint[KEYS] = {0}, model[KEYS] = {0};
    struct fixture f;
    uint64_t turn, start;

    (void)state;
    set_up(&f);
    struct pstate_view *v = open_view(&f, &start);
    for (turn = 1; turn <= 20; turn++)
        take_turn(v, turn, model);
    checkpoint(v, 20);
    memcpy(at_checkpoint, model, sizeof(model));
    struct buffer then = read_file(f.data);
    for (; turn <= 45; turn++)
        take_turn(v, turn, model);
    struct buffer now = read_file(f.data);
    pstate_view_close(v);
    for (uint64_t image = 0; image < IMAGES; image++) {
        make_image(&f, &then, &now, image);
        v = open_view(&f, &start);
        assert_int_equal(start, 20);
        check(v, 20, at_checkpoint);
        memcpy(model, at_checkpoint, sizeof(model));
        for (turn = 21; turn <= 24; turn++)
            take_turn(v, turn, model);
        check(v, 24, model);
        pstate_view_close(v);
    }
    buffer_fini(&then);
    buffer_fini(&now);
    tear_down(&f);
}

/* ---- Dying at a point ---- */

struct death {
    const char *point;
    int after;
};

static bool die_here(void *context, const char *point)
{
    struct death *d = context;

    if (strcmp(point, d->point) == 0 && d->after-- == 0)
        _exit(7);
    return false;
}

/* What a child does: turns with a checkpoint each third, from where the view stands. */
static void live(struct fixture *f, struct death *d)
{
    uint64_t turn;

    pstate_crash_hook(die_here, d);
    struct pstate_view *v = open_view(f, &turn);
    for (uint64_t end = turn + 12; turn < end;) {
        take_turn(v, ++turn, NULL);
        if (turn % 3 == 0)
            checkpoint(v, turn);
    }
    pstate_view_close(v);
    _exit(0);
}

static void a_death_at_any_point_is_survived(void **state)
{
    (void)state;
    for (const char *const *point = pstate_crash_points; *point != NULL; point++) {
        struct fixture f;
        uint64_t turn, last = 0;
        int deaths = 0;

        set_up(&f);
        for (int round = 0; round < 6; round++) {
            struct death d = {*point, round % 3};
            int64_t model[KEYS] = {0};
            int status;
            pid_t child = fork();

            if (child == 0)
                live(&f, &d);
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 7));
            deaths += WEXITSTATUS(status) == 7;
            struct pstate_view *v = open_view(&f, &turn);
            assert_true(turn >= last && turn % 3 == 0);
            last = turn;
            struct pstate_config scratch_config = f.config;
            char scratch[] = "/tmp/leat-model-XXXXXX";
            assert_non_null(mkdtemp(scratch));
            scratch_config.directory = scratch;
            scratch_config.volatile_view = true;
            struct buffer none = {0};
            struct pstate_view *m;
            uint64_t zero;
            assert_int_equal(pstate_view_open(&scratch_config, &m, &zero, &none, NULL), 0);
            for (uint64_t i = 1; i <= turn; i++)
                take_turn(m, i, model);
            pstate_view_close(m);
            file_remove_tree(scratch, NULL);
            check(v, turn, model);
            pstate_view_close(v);
        }
        assert_true(deaths > 0);
        tear_down(&f);
    }
}

/* Without a thread a checkpoint is taken in two polls, and turns go on between them. */
static void a_checkpoint_in_steps(void **state)
{
    struct fixture f;
    struct leat_error err = {0};
    int64_t model[KEYS] = {0}, then[KEYS];
    uint8_t bytes[8];
    uint64_t turn, at, previous;

    (void)state;
    set_up(&f);
    f.config.step_checkpoints = true;
    struct pstate_view *v = open_view(&f, &turn);
    take_turn(v, 1, model);
    memcpy(then, model, sizeof(then));
    store_u64(bytes, 3);
    assert_int_equal(pstate_checkpoint_start(v, span_of(bytes, 8), &err), 0);
    take_turn(v, 2, model);
    assert_int_equal(pstate_checkpoint_start(v, span_of(bytes, 8), &err), LEAT_EBUSY);
    assert_int_equal(pstate_checkpoint_poll(v, &at, &previous, &err), LEAT_EAGAIN);
    take_turn(v, 3, model);
    assert_int_equal(pstate_checkpoint_poll(v, &at, &previous, &err), 0);
    assert_int_equal(at, 1);
    store_u64(bytes, 9);
    assert_int_equal(pstate_checkpoint_start(v, span_of(bytes, 8), &err), 0);
    pstate_view_close(v); /* the second one was never written */
    v = open_view(&f, &turn);
    assert_int_equal(turn, 1);
    check(v, 1, then);
    take_turn(v, 2, then);
    checkpoint(v, 2);
    pstate_view_close(v);
    v = open_view(&f, &turn);
    assert_int_equal(turn, 2);
    check(v, 2, then);
    pstate_view_close(v);
    tear_down(&f);
}

/* ---- Failing calls ---- */

enum { TURNS = 36, LIFE = 12 };

static void make_history(int64_t (*history)[KEYS])
{
    struct fixture f;
    uint64_t turn;

    set_up(&f);
    struct pstate_view *v = open_view(&f, &turn);
    for (turn = 1; turn <= TURNS; turn++) {
        memcpy(history[turn], history[turn - 1], sizeof(history[turn]));
        take_turn(v, turn, history[turn]);
    }
    pstate_view_close(v);
    tear_down(&f);
}

/* Turns with a checkpoint each third, until a call fails. *tried: the last checkpoint
 * begun; returns the last one done. */
static uint64_t live_until_failure(struct fixture *f, uint64_t done, uint64_t *tried)
{
    struct buffer state = {0};
    struct leat_error err = {0};
    struct pstate_view *v;
    uint64_t turn;
    int rv = pstate_view_open(&f->config, &v, &turn, &state, &err);

    buffer_fini(&state);
    assert_true(rv <= 0 && rv != LEAT_ECORRUPT);
    if (rv != 0)
        return done;
    assert_int_equal(turn, done); /* pages of older checkpoints may be gone */
    for (uint64_t end = turn + LIFE; turn < end && rv == 0;) {
        rv = try_turn(v, ++turn, NULL, &err);
        if (rv != 0 || turn % 3 != 0)
            continue;
        *tried = turn;
        rv = try_checkpoint(v, turn, &err);
        done = rv == 0 ? turn : done;
    }
    assert_true(rv == 0 || strstr(err.text, f->directory) != NULL);
    pstate_view_close(v);
    return done;
}

/* A life without faults, one with, one without; false: there are fewer calls. */
static bool lives(const struct fault *fault, const int64_t (*history)[KEYS])
{
    static const struct fault none;
    struct fixture f;
    uint64_t turn, tried = 0;

    set_up(&f);
    f.config.durability = LEAT_FULL;
    uint64_t done = live_until_failure(&f, 0, &tried);
    assert_int_equal(done, LIFE);
    fault_begin(f.directory, fault);
    done = live_until_failure(&f, done, &tried);
    uint32_t calls = fault_end();
    struct pstate_view *v = open_view(&f, &turn);
    if (turn != done && turn != tried)
        fail_msg("%s %u: the view stands at turn %d, not %d or %d", fault_name[fault->call], fault->at, (int)turn,
                 (int)done, (int)tried);
    check(v, turn, history[turn]);
    pstate_view_close(v);
    fault_begin(f.directory, &none);
    done = live_until_failure(&f, turn, &tried);
    fault_end();
    assert_int_equal(done, turn + LIFE);
    v = open_view(&f, &turn);
    assert_int_equal(turn, done);
    check(v, turn, history[turn]);
    pstate_view_close(v);
    tear_down(&f);
    return calls >= fault->at;
}

static void any_call_may_fail(void **state)
{
    static const struct fault kinds[] = {{.call = FAULT_OPEN, .number = EMFILE}, {.call = FAULT_WRITE, .number = EIO},
                                         {.call = FAULT_WRITE, .number = ENOSPC}, {.call = FAULT_SYNC, .number = EIO},
                                         {.call = FAULT_READ, .number = EIO}};
    static int64_t history[TURNS + 1][KEYS];

    (void)state;
    make_history(history);
    for (size_t i = 0; i < LENGTH_OF(kinds) * 2; i++) {
        struct fault f = kinds[i / 2];

        f.at = 1;
        f.lasting = i % 2 == 1;
        while (lives(&f, (const int64_t (*)[KEYS])history))
            f.at++;
        assert_true(f.at > 1);
    }
}

/* Threads whose stacks find no place cannot be made. */
static void make_threads_huge(bool huge)
{
    static pthread_attr_t was;
    pthread_attr_t attributes;

    if (huge) {
        assert_int_equal(pthread_getattr_default_np(&was), 0);
        assert_int_equal(pthread_attr_init(&attributes), 0);
        assert_int_equal(pthread_attr_setstacksize(&attributes, (size_t)1 << 47), 0);
        assert_int_equal(pthread_setattr_default_np(&attributes), 0);
        pthread_attr_destroy(&attributes);
    } else {
        assert_int_equal(pthread_setattr_default_np(&was), 0);
        pthread_attr_destroy(&was);
    }
}

static int start_with_fault(struct fixture *f, struct pstate_view *v, struct leat_error *err)
{
    static const struct fault unread = {.call = FAULT_READ, .at = 1, .number = EIO};

    fault_begin(f->directory, &unread);
    int rv = pstate_checkpoint_start(v, span_of("state", 5), err);
    assert_int_equal(fault_end(), 1);
    return rv;
}

/* None is under way then, and the next goes into the slot that this one would have had: not over the last whole one. */
static void a_checkpoint_that_cannot_begin(void **state)
{
    int64_t model[KEYS] = {0};
    struct buffer out = {0};
    struct leat_error err = {0};
    struct pstate_slot slot[2];
    struct fixture f;
    uint64_t turn, at, previous;
    size_t huge = LIMIT_BATCH + (2 << 20);
    void *much = base_alloc(huge);

    (void)state;
    set_up(&f);
    struct pstate_view *v = open_view(&f, &turn);
    for (turn = 1; turn <= 6; turn++) {
        take_turn(v, turn, model);
        if (turn % 3 == 0) {
            assert_int_equal(pstate_checkpoint_start(v, span_of(much, huge), &err), LEAT_ELIMIT);
        } else if (turn % 3 == 1) {
            assert_int_equal(start_with_fault(&f, v, &err), LEAT_EIO);
            assert_non_null(strstr(err.text, "meta pages"));
        } else {
            make_threads_huge(true);
            assert_true(pstate_checkpoint_start(v, span_of("state", 5), &err) < 0);
            make_threads_huge(false);
            assert_non_null(strstr(err.text, f.directory));
        }
        assert_int_equal(pstate_checkpoint_wait(v, &err), 0);
        assert_int_equal(pstate_checkpoint_poll(v, &at, &previous, &err), 0);
        assert_int_equal(at, turn - 1);
        checkpoint(v, turn);
        pstate_slots(f.directory, slot, &out);
        assert_true(slot[turn % 2].code == 0 && slot[turn % 2].turn == turn);
        assert_int_equal(slot[1 - turn % 2].code, turn == 1 ? LEAT_ENOTFOUND : LEAT_ETRIMMED);
    }
    pstate_view_close(v);
    v = open_view(&f, &turn);
    check(v, 6, model);
    pstate_view_close(v);
    buffer_fini(&out);
    free(much);
    tear_down(&f);
}

static void a_clean_close_keeps_everything(void **state)
{
    int64_t model[KEYS] = {0};
    uint8_t bytes[8];
    struct leat_error err = {0};
    struct fixture f;
    uint64_t turn;

    (void)state;
    set_up(&f);
    struct pstate_view *v = open_view(&f, &turn);
    for (turn = 1; turn <= 5; turn++)
        take_turn(v, turn, model);
    store_u64(bytes, 15);
    assert_int_equal(pstate_view_close_clean(v, span_of(bytes, 8), &err), 0);
    v = open_view(&f, &turn);
    assert_int_equal(turn, 5);
    check(v, 5, model);
    pstate_view_close(v);
    tear_down(&f);
}

/* A view of two turns with a checkpoint of each: the second is in slot 0. */
static void make_two(struct fixture *f)
{
    int64_t model[KEYS] = {0};
    struct pstate_view *v;
    uint64_t turn;

    set_up(f);
    v = open_view(f, &turn);
    for (turn = 1; turn <= 2; turn++) {
        take_turn(v, turn, model);
        checkpoint(v, turn);
    }
    pstate_view_close(v);
}

static void write_file(const char *path, const struct buffer *bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes->base, bytes->size, 0), bytes->size);
    close(fd);
}

/* Two checkpoints, of turns 1 and 2; *first gets the slot of the first as it was before the second. */
static void take_two(struct fixture *f, struct buffer *first)
{
    int64_t model[KEYS] = {0};
    char path[128];
    uint64_t turn;
    struct pstate_view *v = open_view(f, &turn);

    take_turn(v, 1, model);
    checkpoint(v, 1);
    snprintf(path, sizeof(path), "%s/checkpoint.1", f->directory);
    *first = read_file(path);
    take_turn(v, 2, model);
    checkpoint(v, 2);
    pstate_view_close(v);
}

/* The pages of the checkpoint before the newest one may be in use again: it must not stand in for that. */
static void the_slot_before_is_never_taken(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct buffer state_out = {0}, first;
        struct leat_error err = {0};
        struct fixture f;
        struct pstate_view *v;
        char newest[128], other[128];
        uint64_t turn;

        set_up(&f);
        take_two(&f, &first);
        snprintf(newest, sizeof(newest), "%s/checkpoint.0", f.directory);
        snprintf(other, sizeof(other), "%s/checkpoint.1", f.directory);
        if (way >= 2) { /* it died before the other was spent: then the next start does that */
            write_file(other, &first);
            v = open_view(&f, &turn);
            assert_int_equal(turn, 2);
            pstate_view_close(v);
        }
        struct buffer none = {0};
        if (way % 2 == 0)
            write_file(newest, &none);
        else
            assert_int_equal(unlink(newest), 0);
        assert_int_equal(pstate_view_open(&f.config, &v, &turn, &state_out, &err), LEAT_ECORRUPT);
        assert_non_null(strstr(err.text, "no checkpoint"));
        buffer_fini(&first);
        tear_down(&f);
    }
}

static int open_code(struct fixture *f, struct leat_error *err)
{
    struct buffer state = {0};
    struct pstate_view *v;
    uint64_t turn;

    return pstate_view_open(&f->config, &v, &turn, &state, err);
}

static void damaged_slots_are_reported(void **state)
{
    static const off_t place[] = {0, 44, 100}; /* its mark, a size, what the CRC is of; then a file that is too short */

    (void)state;
    for (size_t i = 0; i <= LENGTH_OF(place); i++) {
        struct leat_error err = {0};
        struct fixture f;

        make_two(&f);
        for (int slot = 0; slot < 2; slot++) {
            char path[128];

            snprintf(path, sizeof(path), "%s/checkpoint.%d", f.directory, slot);
            int fd = open(path, O_RDWR);
            if (i < LENGTH_OF(place))
                assert_int_equal(pwrite(fd, "x", 1, place[i]), 1);
            else
                assert_int_equal(ftruncate(fd, 20), 0);
            close(fd);
        }
        assert_int_equal(open_code(&f, &err), LEAT_ECORRUPT);
        assert_non_null(strstr(err.text, "no checkpoint"));
        assert_non_null(strstr(err.text, "does not check out"));
        tear_down(&f);
    }
}

/* A slot of a later program, or of another LMDB: not passed over, as the pages of the other may be gone. */
static void slots_of_another_version_are_refused(void **state)
{
    static const struct {
        size_t place;
        uint32_t more;
        const char *says;
    } field[] = {{8, 1, "this program reads version"}, {32, 1U << 24, "another LMDB version"}};

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(field); i++) {
        struct leat_error err = {0};
        struct fixture f;
        char path[128];

        make_two(&f);
        snprintf(path, sizeof(path), "%s/checkpoint.0", f.directory);
        struct buffer slot = read_file(path);
        size_t size = 48 + 2 * (size_t)load_u32(slot.base + 12) + load_u64(slot.base + 40);
        assert_true(size <= slot.size);
        store_u32(slot.base + field[i].place, load_u32(slot.base + field[i].place) + field[i].more);
        store_u32(slot.base + 4, crc32c(0, slot.base + 8, size - 8));
        int fd = open(path, O_RDWR);
        assert_int_equal(pwrite(fd, slot.base, slot.size, 0), slot.size);
        close(fd);
        assert_int_equal(open_code(&f, &err), LEAT_EFORMAT);
        assert_non_null(strstr(err.text, field[i].says));
        buffer_fini(&slot);
        tear_down(&f);
    }
}

/* LMDB would read behind its end, which ends the process. */
static void a_file_that_was_cut_is_reported(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct leat_error err = {0};
        struct fixture f;
        char path[128];
        struct stat st;

        make_two(&f);
        snprintf(path, sizeof(path), "%s/data.mdb", f.directory);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(truncate(path, way == 0 ? st.st_size - 1 : 3 * 4096), 0);
        assert_int_equal(open_code(&f, &err), LEAT_ECORRUPT);
        assert_non_null(strstr(err.text, "was cut"));
        assert_int_equal(open_code(&f, &err), LEAT_ECORRUPT);
        tear_down(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_mix_of_later_pages_is_restored),
        cmocka_unit_test(a_death_at_any_point_is_survived),
        cmocka_unit_test(a_checkpoint_in_steps),
        cmocka_unit_test(any_call_may_fail),
        cmocka_unit_test(a_checkpoint_that_cannot_begin),
        cmocka_unit_test(a_file_that_was_cut_is_reported),
        cmocka_unit_test(a_clean_close_keeps_everything),
        cmocka_unit_test(damaged_slots_are_reported),
        cmocka_unit_test(the_slot_before_is_never_taken),
        cmocka_unit_test(slots_of_another_version_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
