/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cluster/cluster.h"

#include <unistd.h>

/* Background nodes: each row has its effect once, whatever crashes; who fails is a
 * dead letter; nobody waits for them. */

enum { SEEN, TOTALS };

/* What a row of this number makes happen instead. */
enum { FAILS = -1, FAILS_LATER = -2, WRITES = -3, FLOODS = -4, REJECTS = -5, LOSES_ITS_WAY = -6, ODDITIES = 6 };

static int store(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value key = leat_at(in, i, 0), seen = leat_i64(0);

        leat_get(t, SEEN, LEAT_KEYS(key), &seen, 1);
        leat_put(t, SEEN, LEAT_KEYS(key), LEAT_ROW(leat_i64(seen.as.i + 1)));
        leat_emit(t, i, LEAT_ROW(key, leat_at(in, i, 1)));
        leat_ack_return(t, i, leat_i64(seen.as.i + 1));
    }
    return 0;
}

static void flood(struct leat_task *t, struct leat_value key)
{
    size_t size = 1 << 20;
    void *bytes = leat_alloc(t, size);

    memset(bytes, 0, size);
    for (int i = 0; i < 17; i++)
        leat_emit(t, 0, LEAT_ROW(key, leat_i64(1), leat_u32(0), leat_bytes(bytes, size)));
}

/* Reads what the turn that sent the row, or an earlier one, has written. */
static int look(struct leat_task *t, const struct leat_batch *in)
{
    struct leat_value key = leat_at(in, 0, 0), number = leat_at(in, 0, 1), seen;

    assert_int_equal(in->rows, 1);
    if (leat_get(t, SEEN, LEAT_KEYS(key), &seen, 1) != 0 || seen.as.i < 1)
        return leat_task_fail(t, LEAT_EINTERNAL, "the state is older than the row");
    if (number.as.i == FAILS)
        return leat_task_fail(t, LEAT_EINVAL, "this one fails");
    if (number.as.i == WRITES)
        leat_put(t, SEEN, LEAT_KEYS(key), LEAT_ROW(leat_i64(0)));
    if (number.as.i == REJECTS)
        leat_reject(t, 0, "this one is rejected");
    if (number.as.i == FLOODS)
        flood(t, key);
    leat_emit(t, 0,
              LEAT_ROW(key, number,
                       leat_u32(number.as.i == LOSES_ITS_WAY ? 9999 : (uint32_t)(leat_random(t) % leat_task_count(t))),
                       leat_bytes("", 0)));
    return 0;
}

/* By way of some task, so that what is emitted leaves the group. */
static int pass(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 1), leat_at(in, i, 2)));
    return 0;
}

static int direct(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_at(in, i, 2), leat_at(in, i, 0), leat_at(in, i, 1)));
    return 0;
}

/* Adds the number, and asks for one less: n + (n - 1) + ... + 1. */
static int apply(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++) {
        struct leat_value key = leat_at(in, i, 0), total = leat_i64(0);
        int64_t number = leat_at(in, i, 1).as.i;

        if (number == FAILS_LATER)
            return leat_task_fail(t, LEAT_EINVAL, "this one fails later");
        leat_get(t, TOTALS, LEAT_KEYS(key), &total, 1);
        leat_put(t, TOTALS, LEAT_KEYS(key), LEAT_ROW(leat_i64(total.as.i + number)));
        if (number > 1)
            leat_emit(t, i, LEAT_ROW(key, leat_i64(number - 1)));
    }
    return 0;
}

static const struct leat_module upkeep = {
    LEAT_ABI, .name = "upkeep",
    .depots = DEPOTS({"numbers", "key: u32, number: i64", .by = "key"}),
    .pstates = PSTATES([SEEN] = {"seen", "map<u32, i64>"}, [TOTALS] = {"totals", "map<u32, i64>"}),
    .topologies = TOPOLOGIES({"keep", LEAT_STREAM, NODES(
        {"store", .from = "numbers", .run = store, .emits = "key: u32, number: i64"},
        {"look", .from = "store, apply", .run = look, .emits = "key: u32, number: i64, task: u32, more: bytes",
         .background = true},
        {"direct", .from = "look", .run = direct, .emits = "task: u32, key: u32, number: i64"},
        {"pass", .from = "direct", .route = LEAT_DIRECT, .run = pass, .emits = "key: u32, number: i64"},
        {"apply", .from = "pass", .route = LEAT_BY_KEY, .run = apply, .emits = "key: u32, number: i64"})})};

enum { KEYS = 7, ROWS = 90 };

static void check(struct leat_test *t, const int64_t *total, const int64_t *seen)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        assert_int_equal(value_of(t, "upkeep", "totals", leat_u32(k), 0), total[k]);
        assert_int_equal(value_of(t, "upkeep", "seen", leat_u32(k), 0), seen[k]);
    }
}

/* Rows that wait, by the view. */
static uint64_t waiting(struct leat_test *t)
{
    struct leat_error err = {0, ""};
    struct leat_view *v;
    uint32_t pstate;
    uint64_t sum = 0;

    must(leat_view_open(leat_test_leat(t), "upkeep", &v, &err));
    must(leat_view_pstate(v, "background", &pstate));
    for (uint32_t task = 0; task < leat_view_tasks(v); task++) {
        uint64_t size = 0;

        assert_int_equal(leat_size(leat_view_task(v, task), pstate, LEAT_KEYS(), &size), 0);
        sum += size;
    }
    leat_view_close(v);
    return sum;
}

static void in_all_ways(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_way(&upkeep, &ways[w], NULL);
        struct leat_error err = {0, ""};
        int64_t total[KEYS] = {0}, seen[KEYS] = {0};
        uint64_t seed = ways[w].seed;

        for (int i = 0; i < ROWS; i++) {
            uint32_t key = (uint32_t)next_random(&seed) % KEYS;
            int64_t number = (int64_t)(next_random(&seed) % (i % 10 == 0 ? 100 : 4)) + 1;

            must(leat_test_append(t, "numbers", LEAT_ROW(leat_u32(key), leat_i64(number)), &err));
            total[key] += number * (number + 1) / 2;
            seen[key]++;
            for (int s = 0; s < 3; s++)
                assert_true(leat_test_step(t, &err) >= 0);
        }
        must(leat_test_run(t, &err));
        check(t, total, seen);
        assert_int_equal(waiting(t), 0);
        leat_test_close(t);
    }
}

/* ---- Crashes ---- */

static int run_through(struct leat_test *t, uint64_t *seed, struct leat_error *err)
{
    int crashes = 0, rv;

    while ((rv = leat_test_run(t, err)) == LEAT_ECANCELED)
        crashes += 1 + come_back(t, next_random(seed), err);
    must_with(rv, err);
    return crashes;
}

static int survives(const char *point, uint64_t seed)
{
    enum { FEW = 25 };
    struct way way = {
        .seed = seed, .groups = 1U << seed % 4, .cut_rows = seed % 3 == 0 ? 3 : 0, .force_hops = seed % 2 == 0};
    struct leat_test *t = open_way(&upkeep, &way, NULL);
    struct leat_error err = {0, ""};
    int64_t total[KEYS] = {0}, seen[KEYS] = {0};
    int crashes = 0;

    for (int i = 0; i < FEW; i++) {
        uint32_t key = (uint32_t)next_random(&seed) % KEYS;
        int64_t number = (int64_t)(next_random(&seed) % 4) + 1;

        must(leat_test_append(t, "numbers", LEAT_ROW(leat_u32(key), leat_i64(number)), &err));
        total[key] += number * (number + 1) / 2;
        seen[key]++;
        if (i % 5 == 0)
            leat_test_crash_at(t, point, 1 + (uint32_t)next_random(&seed) % 4);
        for (int s = 0; s < 3; s++)
            if (leat_test_step(t, &err) == LEAT_ECANCELED)
                crashes += 1 + come_back(t, next_random(&seed), &err);
        if (i % 20 == 10)
            crashes += come_back(t, 1, &err);
    }
    crashes += run_through(t, &seed, &err);
    check(t, total, seen);
    leat_test_crash_at(t, NULL, 0);
    crashes += come_back(t, 1, &err);
    crashes += run_through(t, &seed, &err);
    check(t, total, seen);
    assert_int_equal(waiting(t), 0);
    leat_test_close(t);
    return crashes;
}

static void through_crashes(void **state)
{
    (void)state;
    for (const char *const *point = leat_test_points(); *point != NULL; point++) {
        int crashes = 0;

        if (strncmp(*point, "turn.", 5) != 0 && strncmp(*point, "background.", 11) != 0)
            continue; /* those of views know nothing of this: crashes.c */
        for (uint64_t seed = 1; seed <= 3; seed++)
            crashes += survives(*point, seed + (uint64_t)(point - leat_test_points()) * 16);
        print_message("%s: %d crashes\n", *point, crashes);
        assert_true(crashes > 0);
    }
}

/* What waits is there after a restart, and no run has happened twice as far as anybody can see. */
static void what_waits_survives(void **state)
{
    struct way way = {.seed = 11, .groups = 2};
    struct leat_test *t = open_way(&upkeep, &way, NULL);
    struct leat_error err = {0, ""};
    int64_t total[KEYS] = {0}, seen[KEYS] = {0};
    uint64_t most = 0;

    (void)state;
    for (uint32_t i = 0; i < 30; i++) {
        must(leat_test_append(t, "numbers", LEAT_ROW(leat_u32(i % KEYS), leat_i64(3)), &err));
        total[i % KEYS] += 6;
        seen[i % KEYS]++;
    }
    for (int i = 0; i < 30; i++) {
        assert_true(leat_test_step(t, &err) >= 0);
        must(leat_test_restart(t, &err));
        most = waiting(t) > most ? waiting(t) : most;
    }
    assert_true(most > 0);
    must(leat_test_run(t, &err));
    check(t, total, seen);
    leat_test_close(t);
}

/* ---- Rows that fail ---- */

struct letters {
    int of[ODDITIES + 1], elsewhere, all;
};

static int see_letter(void *context, const struct leat_record *record, const struct leat_batch *row)
{
    static const char *const wanted[] = {NULL, "this one fails",
                                         "what it emitted fails at node 'apply': this one fails later",
                                         "it writes, but background nodes only read",
                                         "it emits more than 16 MiB for one row", "this one is rejected",
                                         "what it emitted fails at node 'direct': a row for node 'pass' names task "
                                         "9999"};
    struct leat_span reason = leat_at(row, 0, 3).as.bytes, node = leat_at(row, 0, 1).as.bytes,
                     bytes = leat_at(row, 0, 5).as.bytes;
    struct letters *l = context;
    char text[1300];

    (void)record;
    snprintf(text, sizeof(text), "%.*s", (int)reason.size, (const char *)reason.base);
    /* What fails behind a hop fails there, as any row. */
    bool here = node.size == 4 && memcmp(node.base, "look", 4) == 0;
    l->elsewhere += !here;
    if (here)
        assert_int_equal(bytes.size, 12); /* {key, number}: it can be sent again */
    for (int what = 1; what <= ODDITIES; what++)
        l->of[what] += here && strncmp(text, wanted[what], strlen(wanted[what])) == 0;
    l->all++;
    return 0;
}

static void who_fails_is_a_dead_letter(void **state)
{
    (void)state;
    for (int w = 0; w < WAYS; w++) {
        struct leat_test *t = open_way(&upkeep, &ways[w], NULL);
        struct leat_error err = {0, ""};
        int64_t total[KEYS] = {0}, seen[KEYS] = {0};
        struct letters letters = {{0}, 0, 0};
        struct leat_depot *d;

        for (int i = 0; i < 60; i++) {
            int64_t number = i % 5 == 0 ? -1 - i / 5 % ODDITIES : i % 3 + 1;
            uint32_t key = (uint32_t)i % KEYS;

            must(leat_test_append(t, "numbers", LEAT_ROW(leat_u32(key), leat_i64(number)), &err));
            total[key] += number > 0 ? number * (number + 1) / 2 : 0;
            seen[key]++;
            if (i % 7 == 0)
                must(leat_test_run(t, &err));
        }
        must(leat_test_run(t, &err));
        check(t, total, seen);
        assert_int_equal(waiting(t), 0);
        must(leat_depot_find(leat_test_leat(t), "upkeep", "dead_letters", &d, &err));
        for (uint32_t p = 0; p < leat_depot_partitions(d); p++)
            must(leat_depot_read(d, p, 0, 1000, see_letter, &letters, NULL, &err));
        assert_int_equal(letters.all, 12);
        assert_int_equal(letters.elsewhere, 4 - letters.of[-FAILS_LATER] - letters.of[-LOSES_ITS_WAY]);
        assert_true(ways[w].groups > 1 || letters.elsewhere == 0);
        for (int what = 1; what <= ODDITIES; what++)
            if (what != -FAILS_LATER && what != -LOSES_ITS_WAY)
                assert_int_equal(letters.of[what], 2);
        leat_test_close(t);
    }
}

/* ---- A turn that has as many sources as there may be ---- */

enum { ARRIVED, WANTS = 1, RESULT };

static int begin(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_u32(leat_task_number(t) == 0 ? WANTS : 0)));
    return 0;
}

static int think(struct leat_task *t, const struct leat_batch *in)
{
    if (leat_at(in, 0, 0).as.u == WANTS)
        leat_emit(t, 0, LEAT_ROW(leat_u32(RESULT)));
    return 0;
}

static int send_across(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        if (leat_at(in, i, 0).as.u != WANTS)
            leat_emit(t, i, LEAT_ROW(leat_u32(1 - leat_task_number(t))));
    return 0;
}

static int send_back(struct leat_task *t, const struct leat_batch *in)
{
    for (uint32_t i = 0; i < in->rows; i++)
        leat_emit(t, i, LEAT_ROW(leat_u32(1 - leat_task_number(t))));
    return 0;
}

static int arrive(struct leat_task *t, const struct leat_batch *in)
{
    return count_into(t, in, ARRIVED);
}

static const struct leat_module relay = {
    LEAT_ABI, .name = "relay",
    .depots = DEPOTS({"numbers", "key: u32", .partitioner = LEAT_EXPLICIT}),
    .pstates = PSTATES([ARRIVED] = {"arrived", "map<u32, i64>"}),
    .topologies = TOPOLOGIES({"run", LEAT_STREAM, NODES(
        {"begin", .from = "numbers", .run = begin, .emits = "what: u32"},
        {"think", .from = "begin", .run = think, .emits = "what: u32", .background = true},
        {"across", .from = "begin, think", .run = send_across, .emits = "task: u32"},
        {"back", .from = "across", .route = LEAT_DIRECT, .run = send_back, .emits = "task: u32"},
        {"arrive", .from = "back", .route = LEAT_DIRECT, .run = arrive})})};

/* While a group is away, another one takes many turns with rows for it. When it is back, its first turns have rows of
 * as many turns as one may, and results of its own besides: what it sends must not be of more than the other one, whose
 * own turn counts, too, has room for. */
static void outputs_of_many_turns_can_be_taken(void **state)
{
    enum { RESULTS = 40, MANY = 300 };
    struct leat_test_config config = {.module = &relay, .tasks = 2, .groups = 2, .seed = 3};
    struct leat_append how = {.ack = LEAT_APPENDED, .partition = 0};
    struct leat_error err = {0, ""};
    struct leat_test *t;
    int64_t arrived = 0;

    (void)state;
    must(leat_test_open(&config, &t, &err));
    for (uint32_t i = 0; i < RESULTS; i++)
        must(leat_test_append_as(t, "numbers", LEAT_ROW(leat_u32(i)), &how, NULL, &err));
    leat_test_crash_at(t, "background.ran", 1);
    assert_int_equal(leat_test_run(t, &err), LEAT_ECANCELED);
    how.partition = 1;
    for (uint32_t i = 0; i < MANY; i++) {
        must(leat_test_append_as(t, "numbers", LEAT_ROW(leat_u32(i)), &how, NULL, &err));
        for (int s = 0; s < 8; s++)
            assert_true(leat_test_step(t, &err) >= 0);
    }
    must(leat_test_restart_group(t, &err));
    must(leat_test_run(t, &err));
    struct leat_view *v;
    must(leat_view_open(leat_test_leat(t), "relay", &v, &err));
    for (uint32_t task = 0; task < 2; task++) {
        struct leat_value count;

        must(leat_get(leat_view_task(v, task), ARRIVED, LEAT_KEYS(leat_u32(task)), &count, 1));
        arrived += count.as.i;
    }
    leat_view_close(v);
    assert_int_equal(arrived, RESULTS + MANY);
    leat_test_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_all_ways),
        cmocka_unit_test(through_crashes),
        cmocka_unit_test(what_waits_survives),
        cmocka_unit_test(who_fails_is_a_dead_letter),
        cmocka_unit_test(outputs_of_many_turns_can_be_taken),
    };

    return cmocka_run_group_tests_name("cluster_background", tests, NULL, NULL);
}
