/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/files.h"

#include "tests/sim/fiber.h"

/* What a loss of power leaves. Changes are undone from the newest on; where one stays, what is below it stays too. */

enum { SECTOR = 512, PAGE = 4096 };

/* How unlucky one crash is with one file. */
struct luck {
    uint32_t lost_of_16; /* sectors, sizes, names that go back by one change */
    uint64_t from;       /* all changes from this number on are lost */
    uint32_t grain;      /* a sector or a page is lost whole */
};

static struct luck draw_luck(const struct file *f)
{
    static const uint32_t odds[] = {0, 1, 8, 15, 16, 16};
    struct random *r = &fiber_world.random;
    struct luck luck = {.from = UINT64_MAX, .grain = random_below(r, 2) == 0 ? SECTOR : PAGE};

    if (f->changes > 0 && random_below(r, 4) == 0)
        luck.from = f->change[random_below(r, f->changes)].number;
    else
        luck.lost_of_16 = odds[random_below(r, LENGTH_OF(odds))];
    return luck;
}

static bool is_lost(const struct luck *luck, const struct files_change *c)
{
    return c->number >= luck->from ||
           (luck->lost_of_16 > 0 && random_below(&fiber_world.random, 16) < luck->lost_of_16);
}

/* Both halves of an exchange have the same luck. */
static bool pair_lost(const struct files_change *c)
{
    return (c->pair * UINT64_C(0x9e3779b97f4a7c15) ^ files.crash) >> 62 & 1;
}

/* One write: each of its grains that no newer write has settled. */
static void lose_write(uint32_t file, const struct luck *luck, struct files_change *c, uint8_t *settled)
{
    uint8_t *bytes = files_bytes(file);
    uint32_t lost = 0, kept = 0;

    for (uint64_t at = c->offset / luck->grain; at * luck->grain < c->offset + c->size; at++) {
        uint64_t from = at * luck->grain > c->offset ? at * luck->grain : c->offset;
        uint64_t end = (at + 1) * luck->grain < c->offset + c->size ? (at + 1) * luck->grain : c->offset + c->size;

        if ((settled[at / 8] & 1 << at % 8) != 0)
            continue;
        if (c->lost || is_lost(luck, c)) {
            memcpy(bytes + from, c->old + (from - c->offset), end - from);
            lost++;
        } else {
            settled[at / 8] |= (uint8_t)(1 << at % 8);
            kept++;
        }
    }
    files.count[FILES_SECTORS_LOST] += lost;
    files.count[FILES_SECTORS_KEPT] += kept;
    files.count[FILES_WRITES_TORN] += lost > 0 && kept > 0;
}

static void lose_in_file(uint32_t file)
{
    struct file *f = &files.file[file];
    struct luck luck = draw_luck(f);
    uint64_t size = f->size;
    bool size_settled = false;

    for (uint32_t i = 0; i < f->changes; i++)
        if (f->change[i].offset + f->change[i].size > f->written)
            f->written = f->change[i].offset + f->change[i].size;
    uint8_t *settled = base_alloc(f->written / SECTOR / 8 + 2);
    for (uint32_t i = f->changes; i > 0; i--) {
        struct files_change *c = &f->change[i - 1];

        if (c->size > 0)
            lose_write(file, &luck, c, settled);
        else if (!size_settled && is_lost(&luck, c))
            size = c->old_size;
        else
            size_settled = true;
        free(c->old);
    }
    files.count[FILES_SIZES_LOST] += size != f->size;
    f->changes = 0;
    free(settled);
    if (size < f->written) {
        memset(files_bytes(file) + size, 0, f->written - size);
        f->written = size;
    }
    files.used_bytes += size - f->size;
    f->size = size;
}

/* The entry as it was before a change, without a change of its own. */
static void set_entry(struct file *d, const char *name, uint32_t child)
{
    uint32_t i = 0;

    while (i < d->entries && strcmp(d->entry[i].name, name) != 0)
        i++;
    if (i == d->entries) {
        d->entry = base_realloc(d->entry, (d->entries + 1) * sizeof(*d->entry));
        d->entry[d->entries++] = (struct files_entry){base_strdup(name), 0};
    }
    if (d->entry[i].child != 0)
        files.file[d->entry[i].child].names--;
    d->entry[i].child = child;
    if (child != 0) {
        files.file[child].names++;
        return;
    }
    free(d->entry[i].name);
    d->entry[i] = d->entry[--d->entries];
}

/* Has a change before place i, seen from the newest on, settled this name? */
static bool name_settled(const struct file *d, uint32_t place, const bool *stays)
{
    for (uint32_t i = place + 1; i < d->changes; i++)
        if (stays[i] && strcmp(d->change[i].name, d->change[place].name) == 0)
            return true;
    return false;
}

static void lose_in_directory(struct file *d)
{
    struct luck luck = draw_luck(d);
    bool *stays = base_alloc(d->changes + 1);

    for (uint32_t i = d->changes; i > 0; i--) {
        struct files_change *c = &d->change[i - 1];

        stays[i - 1] = name_settled(d, i - 1, stays) || !(c->pair != 0 ? pair_lost(c) : is_lost(&luck, c));
        if (!stays[i - 1]) {
            set_entry(d, c->name, c->old_child);
            files.count[c->pair != 0 ? FILES_EXCHANGED_LOST : FILES_NAMES_LOST]++;
        }
    }
    for (uint32_t i = 0; i < d->changes; i++) {
        if (d->change[i].old_child != 0)
            files.file[d->change[i].old_child].names--;
        free(d->change[i].name);
    }
    d->changes = 0;
    free(stays);
}

/* A directory that nobody names takes what is in it along. */
static void release_all(void)
{
    for (bool found = true; found;) {
        found = false;
        for (uint32_t i = 2; i < FILES_MOST; i++) {
            struct file *f = &files.file[i];

            if (!f->used || f->names > 0)
                continue;
            for (uint32_t j = 0; j < f->entries; j++)
                files.file[f->entry[j].child].names--;
            for (uint32_t j = 0; j < f->changes; j++)
                if (f->change[j].name != NULL && f->change[j].old_child != 0)
                    files.file[f->change[j].old_child].names--;
            files_release(i);
            found = true;
        }
    }
}

void files_exit(void)
{
    memset(files.open, 0, sizeof(files.open));
    for (uint32_t i = 1; i < FILES_MOST; i++)
        files.file[i].opens = files.file[i].maps = 0;
    release_all();
}

static bool any_pair(void)
{
    for (uint32_t i = 1; i < FILES_MOST; i++)
        for (uint32_t j = 0; files.file[i].directory && j < files.file[i].changes; j++)
            if (files.file[i].change[j].pair != 0)
                return true;
    return false;
}

void files_crash(bool power)
{
    files.count[power ? FILES_POWER_LOSSES : FILES_KILLS]++;
    if (any_pair())
        files.crash = random_u64(&fiber_world.random);
    for (uint32_t i = 1; i < FILES_MOST && power; i++)
        if (files.file[i].used && files.file[i].directory)
            lose_in_directory(&files.file[i]);
    for (uint32_t i = 1; i < FILES_MOST && power; i++)
        if (files.file[i].used && !files.file[i].directory)
            lose_in_file(i);
    files_exit();
}
