/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/client_rows.h"

/* Rows to append: encoded one after another in one buffer, each with its partition. */

int leat_rows_new(struct leat_depot *d, struct leat_rows **out)
{
    struct leat_rows *r = base_alloc(sizeof(*r));

    r->depot = d;
    buffer_init(&r->bytes, LIMIT_BATCH);
    *out = r;
    return 0;
}

void leat_rows_free(struct leat_rows *rows)
{
    if (rows == NULL)
        return;
    buffer_fini(&rows->bytes);
    free(rows->row);
    free(rows);
}

void leat_rows_clear(struct leat_rows *rows)
{
    buffer_clear(&rows->bytes);
    rows->count = 0;
}

uint32_t leat_rows_count(const struct leat_rows *rows)
{
    return rows->count;
}

/* The partition of an encoded row: the hash of its column as it is encoded, not as it was given. */
static uint32_t partition_by_field(const struct leat_depot *d, struct leat_span row)
{
    struct leat_value value[LIMIT_COLUMNS];
    int rv = row_decode(&d->plan->schema, row, value);

    leat_assert(rv == 0);
    return leat_task_of(d->module->plan->tasks, &value[d->plan->by]);
}

int leat_rows_add(struct leat_rows *rows, struct leat_row row, struct leat_error *err)
{
    struct leat_depot *d = rows->depot;
    size_t before = rows->bytes.size;

    if (rows->count == LIMIT_RECORDS)
        return leat_fail(err, LEAT_ELIMIT, "depot '%s': one append has at most %d rows", d->plan->name, LIMIT_RECORDS);
    int rv = row_encode(&d->plan->schema, row, &rows->bytes, err);

    if (rv != 0) {
        rows->bytes.error = 0;
        return base_wrap(err, rv, "depot '%s'", d->plan->name);
    }
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity == 0 ? 64 : rows->capacity * 2;
        rows->row = base_realloc(rows->row, rows->capacity * sizeof(*rows->row));
    }
    struct row_place *p = &rows->row[rows->count++];
    *p = (struct row_place){.at = before, .size = rows->bytes.size - before};
    if (d->plan->partitioner == LEAT_BY_FIELD)
        p->partition = partition_by_field(d, span_of(rows->bytes.base + before, p->size));
    return base_result(err, 0);
}
