/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/intake.h"

#include "base/file.h"
#include "base/random.h"

/* An intake to which many threads append at once, on both logs, while another one reads and acknowledges. */

enum { THREADS = 6, APPENDS = 150 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool wanted, stop;
} reader;

static void wake_reader(void *context)
{
    (void)context;
    pthread_mutex_lock(&reader.lock);
    reader.wanted = true;
    pthread_cond_signal(&reader.cond);
    pthread_mutex_unlock(&reader.lock);
}

/* Every session's sequences stand in order, each once. */
static uint64_t read_on(uint32_t partition, uint64_t offset, uint64_t *last)
{
    struct log_slice slice;

    while (log_read(at.log, partition, offset, 64, 1 << 20, &slice, NULL) == 0) {
        for (uint32_t i = 0; i < slice.count; i++) {
            const struct log_entry *e = &slice.entry[i];

            leat_assert(e->offset == offset + i && e->sequence == last[e->session] + 1);
            leat_assert(load_u64(e->body.base) == (e->session << 32 | e->sequence));
            last[e->session] = e->sequence;
        }
        offset = slice.next;
        log_release(at.log, &slice);
    }
    return offset;
}

/* Stands for the group: reads what it is woken for and acknowledges it. */
static void *read_thread(void *unused)
{
    static uint64_t last[PARTITIONS][THREADS + 1];
    uint64_t offset[PARTITIONS] = {0};

    memset(last, 0, sizeof(last));
    pthread_mutex_lock(&reader.lock);
    while (!reader.stop) {
        while (!reader.wanted && !reader.stop)
            pthread_cond_wait(&reader.cond, &reader.lock);
        reader.wanted = false;
        pthread_mutex_unlock(&reader.lock);
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            offset[p] = read_on(p, offset[p], last[p]);
            acks_advance(at.acks, p, offset[p]);
        }
        pthread_mutex_lock(&reader.lock);
    }
    pthread_mutex_unlock(&reader.lock);
    return unused;
}

/* One session, in each partition; some appends are sent twice, and some without waiting for the one before. */
static void *append_thread(void *context)
{
    uint64_t session = (uint64_t)(uintptr_t)context, sequence[PARTITIONS] = {0};
    struct random r;

    random_seed(&r, session);
    for (uint32_t i = 0; i < APPENDS; i++) {
        uint32_t p = (uint32_t)random_below(&r, PARTITIONS), count = 1 + (uint32_t)random_below(&r, SHARE);
        enum leat_ack ack = random_below(&r, 2) == 0 ? LEAT_PROCESSED : LEAT_APPENDED;
        struct part *part = part_new(ack, p, session, sequence[p] + 1, count), *twice = NULL;

        if (random_below(&r, 3) == 0)
            twice = part_new(LEAT_PROCESSED, p, session, sequence[p] + 1, count);
        leat_assert(intake_submit(at.intake, &part->share, random_below(&r, 2) == 0) == 0);
        if (twice != NULL)
            leat_assert(intake_submit(at.intake, &twice->share, random_below(&r, 2) == 0) == 0);
        leat_assert(part_wait(part) == 0);
        if (ack == LEAT_PROCESSED)
            leat_assert(acks_frontier(at.acks, p) > part->offset[count - 1]);
        if (twice != NULL) {
            leat_assert(part_wait(twice) == 0);
            leat_assert(acks_frontier(at.acks, p) > part->offset[count - 1]);
            for (uint32_t j = 0; j < count; j++)
                leat_assert(twice->offset[j] == UINT64_MAX);
            part_free(twice);
        }
        for (uint32_t j = 1; j < count; j++)
            leat_assert(part->offset[j] == part->offset[0] + j);
        sequence[p] += count;
        part_free(part);
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        uint64_t high = 0;

        leat_assert(intake_session(at.intake, p, session, &high) == (sequence[p] > 0));
        leat_assert(high == sequence[p]);
    }
    return NULL;
}

static void crowd(void)
{
    pthread_t thread[THREADS], reads;

    pthread_mutex_init(&reader.lock, NULL);
    pthread_cond_init(&reader.cond, NULL);
    reader.stop = false;
    assert_int_equal(pthread_create(&reads, NULL, read_thread, NULL), 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, append_thread, (void *)(i + 1)), 0);
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    pthread_mutex_lock(&reader.lock);
    reader.stop = true;
    pthread_cond_signal(&reader.cond);
    pthread_mutex_unlock(&reader.lock);
    pthread_join(reads, NULL);
    uint64_t rows = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++)
        rows += log_end(p);
    assert_int_equal(intake_figures(at.intake)->rows, rows);
    bench_close();
}

static void many_threads_in_memory(void **unused)
{
    (void)unused;
    bench_open(&log_memory, &(struct log_config){.partitions = PARTITIONS}, wake_reader, NULL);
    crowd();
}

static void many_threads_on_segments(void **unused)
{
    char directory[] = "/tmp/leat-intake-XXXXXX";

    (void)unused;
    assert_non_null(mkdtemp(directory));
    struct log_config c = {.directory = directory, .partitions = PARTITIONS};
    bench_open(&log_segments, &c, wake_reader, NULL);
    crowd();
    assert_int_equal(file_remove_tree(directory, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_threads_in_memory),
        cmocka_unit_test(many_threads_on_segments),
    };

    return cmocka_run_group_tests_name("engine_intake_threads", tests, NULL, NULL);
}
