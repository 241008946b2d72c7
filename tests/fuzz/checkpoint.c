/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"
#include "pstates/pstate.h"
#include "tests/fuzz/memory.h"

#include <malloc.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* A view with two checkpoints, the first of which is not spent yet. What the input says is done to their slots and to
 * the meta pages of its data: each five bytes are {file, kind, position u16, value}. Then the view opens at one of the
 * checkpoints, with the state and the content that it had there; or empty, where no checkpoint was ever whole; or says
 * what is damaged. */

enum { SLOT_0, SLOT_1, METAS, FILES, MOST = 64 << 10, STEP = 5, KEYS = 30, FIRST = 10, SECOND = 20, HEADER = 48 };

enum { FLIP, SET, CLEAR, FORGE, CUT, REMOVE, KINDS };

static const char *const name[FILES] = {"checkpoint.0", "checkpoint.1", "data.mdb"};
static struct pstate_schema schema;
static struct pstate_config config = {
    .directory = MEMORY_DIRECTORY, .schema = &schema, .schemas = 1, .map_size = 1 << 20, .durability = LEAT_PROCESS};
static struct arena *schemas;

struct files {
    uint8_t bytes[FILES][MOST];
    size_t size[FILES];
    bool removed[FILES], forged;
};

static struct files whole;

static void clean_up(void)
{
    arena_close(schemas);
}

static int64_t number_at(uint64_t turn, uint32_t key)
{
    return (int64_t)(turn * 1000 + key);
}

static struct leat_span state_at(uint64_t turn)
{
    static char text[300];

    return span_of(text, (size_t)snprintf(text, sizeof(text), "%*sthe state at turn %d", turn == FIRST ? 200 : 1, "",
                                          (int)turn));
}

static void checkpoint(struct pstate_view *v, uint64_t turn)
{
    leat_assert(pstate_view_begin(v, NULL, NULL) == 0);
    for (uint32_t i = 0; i < KEYS; i++)
        leat_assert(pstate_put(v, i % 2, 0, LEAT_KEYS(leat_u32(i)), LEAT_ROW(leat_i64(number_at(turn, i))), NULL) == 0);
    leat_assert(pstate_view_commit(v, turn, NULL) == 0);
    leat_assert(pstate_checkpoint_start(v, state_at(turn), NULL) == 0);
    leat_assert(pstate_checkpoint_wait(v, NULL) == 0);
}

static void keep(int file)
{
    struct leat_span bytes = memory_bytes(name[file]);

    leat_assert(bytes.size <= MOST);
    memcpy(whole.bytes[file], bytes.base, bytes.size);
    whole.size[file] = bytes.size;
}

static void set_up(void)
{
    struct buffer state = {0};
    struct pstate_view *v;
    uint64_t turn;

    mallopt(M_MMAP_THRESHOLD, 1 << 20); /* LMDB's lists are large and little used: no need to clear them */
    schemas = arena_open(1 << 16);
    leat_assert(pstate_schema_parse(schemas, "p", "map<u32, i64>", NULL, NULL, &schema, NULL) == 0);
    atexit(clean_up);
    leat_assert(pstate_view_open(&config, &v, &turn, &state, NULL) == 0);
    checkpoint(v, FIRST);
    keep(SLOT_1); /* as it is while it is not spent */
    checkpoint(v, SECOND);
    pstate_view_close(v);
    keep(SLOT_0);
    keep(METAS);
}

static void copy_whole(struct files *out)
{
    for (int i = 0; i < FILES; i++)
        memcpy(out->bytes[i], whole.bytes[i], whole.size[i]);
    memcpy(out->size, whole.size, sizeof(whole.size));
    memset(out->removed, 0, sizeof(out->removed));
    out->forged = false;
}

/* A slot of which the size, the versions or the numbers are others, and the CRC is right. Its pages are LMDB's
 * still. */
static void forge(struct files *f, int file, uint32_t at, uint8_t value)
{
    static const uint8_t place[] = {8, 16, 24, 32, 35, 40, 41, 47};
    uint8_t *bytes = f->bytes[file];

    f->size[file] = whole.size[file];
    memcpy(bytes + 12, whole.bytes[file] + 12, 4);
    memcpy(bytes + HEADER, whole.bytes[file] + HEADER, whole.size[file] - HEADER);
    bytes[place[at % LENGTH_OF(place)]] = value;
    size_t size = HEADER + 2 * (size_t)load_u32(bytes + 12) + (load_u64(bytes + 40) & 0xffff);
    store_u32(bytes + 4, crc32c(0, bytes + 8, size < f->size[file] ? size - 8 : f->size[file] - 8));
    f->forged = true;
}

static void damage(struct files *f, const uint8_t *what)
{
    int file = what[0] % FILES;
    uint8_t *bytes = f->bytes[file];
    uint32_t most = file == METAS ? 8192 : (uint32_t)f->size[file], at = load_u16(what + 2);

    if (most < HEADER)
        return;
    at %= most;
    switch (what[1] % KINDS) {
    case FLIP:
        bytes[at] ^= (uint8_t)(1U << what[4] % 8);
        break;
    case SET:
        bytes[at] = what[4];
        break;
    case CLEAR:
        memset(bytes + at, 0, most - at < what[4] ? most - at : what[4]);
        break;
    case FORGE:
        if (file != METAS)
            forge(f, file, at, what[4]);
        break;
    case CUT:
        f->size[file] = file != METAS ? at : f->size[file];
        break;
    default:
        f->removed[file] = file != METAS;
        break;
    }
}

static void write_files(const struct files *f)
{
    for (int i = 0; i < FILES; i++)
        if (f->removed[i])
            memory_remove(name[i]);
        else
            memory_put(name[i], f->bytes[i], f->size[i]);
}

static bool is_whole(const struct files *f, int file)
{
    return !f->removed[file] && f->size[file] == whole.size[file] &&
           memcmp(f->bytes[file], whole.bytes[file], f->size[file]) == 0;
}

static void check_content(struct pstate_view *v, uint64_t turn)
{
    struct pstate_reader *r;

    leat_assert(pstate_snapshot_open(v, &r, NULL) == 0 && pstate_reader_turn(r) == turn);
    for (uint32_t i = 0; i < KEYS; i++) {
        struct leat_value out;
        int rv = pstate_get(r, i % 2, 0, LEAT_KEYS(leat_u32(i)), &out, 1, NULL);

        leat_assert(turn == 0 ? rv == LEAT_ENOTFOUND : rv == 0 && out.as.i == number_at(turn, i));
    }
    pstate_snapshot_close(r);
}

static void check_opened(const struct files *f, struct pstate_view *v, uint64_t turn, struct leat_span state)
{
    leat_assert(turn == FIRST || turn == SECOND || turn == 0);
    leat_assert(turn != 0 || f->forged || (f->removed[SLOT_0] && !is_whole(f, SLOT_1)));
    leat_assert(turn != FIRST || f->forged || !is_whole(f, SLOT_0)); /* which is the newer one */
    leat_assert(f->forged || span_equal(state, turn == 0 ? span_of(NULL, 0) : state_at(turn)));
    check_content(v, turn);
}

static void check_told(const struct files *f, const struct leat_error *err)
{
    leat_assert(f->forged || (!is_whole(f, SLOT_0) && !is_whole(f, SLOT_1)));
    leat_assert(err->code == LEAT_ECORRUPT || (err->code == LEAT_EFORMAT && f->forged));
    leat_assert(strstr(err->text, MEMORY_DIRECTORY) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct files f;
    struct leat_error err = {0};
    struct buffer state;
    struct pstate_view *v;
    uint64_t turn;

    if (schemas == NULL)
        set_up();
    copy_whole(&f);
    for (; size >= STEP; bytes += STEP, size -= STEP)
        damage(&f, bytes);
    write_files(&f);
    buffer_init(&state, MOST);
    if (pstate_view_open(&config, &v, &turn, &state, &err) == 0) {
        check_opened(&f, v, turn, buffer_bytes(&state));
        pstate_view_close(v);
    } else {
        check_told(&f, &err);
    }
    buffer_fini(&state);
    return 0;
}
