/* SPDX-License-Identifier: Apache-2.0 */
/* A victim of kill.sh. It appends numbers 0.. to a depot by key. `chain` has h(n+1) = H(h(n), number) for each key,
 * which shows losses, repeats and changes of order; `hops` counts by another key, on other tasks and mostly in another
 * group; `hops_again` does so by way of a background node. */

#include "tests/process/chain.h"
#include "tests/process/victim.h"

static int add(struct leat_rows *batch, int64_t n, struct leat_error *err)
{
    return leat_rows_add(batch, LEAT_ROW(leat_i64(key_of(n)), leat_i64(n)), err);
}

/* What is derived is at every moment what the PStates say: 1 when it is not. */
static int check_derived(struct leat *l, struct leat_error *err)
{
    int64_t differs = chain_ask(l, err);

    if (differs != 0)
        fprintf(stderr, "what is derived differs for %lld keys: %s\n", (long long)differs, err->text);
    return differs != 0;
}

static int compare(struct leat_view *v, uint32_t pstate, int64_t key, uint64_t want)
{
    struct leat_value k = leat_i64(key), got = leat_u64(0);
    int rv = leat_get(leat_view_owner(v, &k), pstate, LEAT_KEYS(k), &got, 1);

    if ((rv == 0 || rv == LEAT_ENOTFOUND) && got.as.u == want)
        return 0;
    fprintf(stderr, "%s: key %lld has %llu instead of %llu (%s)\n", module_chain.pstates[pstate].name, (long long)key,
            (unsigned long long)got.as.u, (unsigned long long)want, leat_code_name(rv));
    return 1;
}

static int check(struct leat *l, int64_t rows, struct leat_error *err)
{
    uint64_t h[KEYS] = {0}, hops[HOPS] = {0};
    struct leat_view *v;
    int wrong = 0;

    for (int64_t i = 0; i < rows; i++) {
        h[key_of(i)] = mix(h[key_of(i)], i);
        hops[hop_of(i)]++;
    }
    must(leat_view_open(l, module_chain.name, &v, err), err);
    for (int64_t i = 0; i < KEYS; i++)
        wrong += compare(v, 0, i, h[i]);
    for (int64_t i = 0; i < HOPS; i++)
        wrong += compare(v, 1, i, hops[i]) + compare(v, 2, i, hops[i]);
    leat_view_close(v);
    return wrong + check_derived(l, err);
}

int main(int count, char **argument)
{
    static const struct victim victim = {
        .module = &module_chain, .depot = "numbers", .add = add, .look = check_derived, .check = check};

    return victim_main(&victim, count, argument);
}
