/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/plan.h"

/* Modules that hold, looked at as plans and as text. */

static struct plan *open_stream(const struct leat_node *nodes)
{
    const struct leat_topology t[] = {{"flow", LEAT_STREAM, .nodes = nodes}, {.name = NULL}};
    static struct leat_topology kept[2];
    static struct leat_module m;

    memcpy(kept, t, sizeof(t));
    m = world(kept);
    return must_open(&m, NULL);
}

/* ---- Modules that hold ---- */

static const struct leat_module word_count = {
    LEAT_ABI, .name = "word_count", .about = "words",
    .options = OPTIONS({"top", "10"}),
    .depots = DEPOTS({"sentences", "text: str", .partitioner = LEAT_RANDOM}),
    .pstates = PSTATES({"counts", "map<str, i64>"}),
    .topologies = TOPOLOGIES(
        {"count_words", LEAT_STREAM, NODES(
            {"split", .from = "sentences", .run = run, .emits = "word: str"},
            {"count", .from = "split", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "counts"})},
        {"top", LEAT_QUERY, .takes = "", NODES(
            {"scan", .from = "request", .route = LEAT_ALL, .run = run, .emits = "word: str, count: i64"},
            {"best", .from = "scan", .route = LEAT_TO_ORIGIN, .fold = &leat_top_k,
             .args = "k=$top by=count id=word order=descending", .into = "reply"})}),
};

static void test_word_count(void **state)
{
    struct plan *p = must_open(&word_count, NULL);
    const struct plan_topology *stream = &p->topology[0], *query = &p->topology[1];

    (void)state;
    assert_int_equal(p->depots, 2);
    assert_string_equal(p->depot[1].name, "dead_letters");
    assert_true(p->depot[1].dead_letters);
    assert_int_equal(p->depot[1].partitioner, LEAT_NO_CLIENT);
    assert_int_equal(p->depot[1].schema.columns, 7);
    assert_int_equal(p->depot[0].edges, 1);
    assert_string_equal(plan_node_at(p, p->depot[0].edge[0])->name, "split");
    assert_int_equal(stream->node[0].work, PLAN_RUN);
    assert_int_equal(stream->node[0].edges, 1);
    assert_int_equal(stream->node[0].rank, 0);
    assert_int_equal(stream->node[1].work, PLAN_FOLD);
    assert_int_equal(stream->node[1].pstate, plan_pstate_find(p, "counts"));
    assert_true(stream->node[1].keyed);
    assert_int_equal(stream->node[1].rank, 1);
    assert_int_equal(stream->node[1].use->columns.columns, 0);
    assert_int_equal(query->edges, 1);
    assert_true(query->node[0].from_request);
    assert_int_equal(query->reply, 1);
    assert_true(query->node[1].reply);
    assert_false(query->node[1].keyed);
    assert_string_equal(query->node[1].use->args, "k=10 by=count id=word order=descending");
    assert_string_equal(row_schema_text(p->arena, &query->node[1].emits), "word: str, count: i64");
    assert_int_equal(plan_topology_find(p, "top"), 1);
    assert_int_equal(plan_topology_find(p, "tip"), -1);
    assert_int_equal(plan_depot_find(p, "sentence"), -1);
    assert_int_equal(plan_pstate_find(p, "count"), -1);
    plan_close(p);
}

static const struct leat_module nearest = {
    LEAT_ABI, .name = "nearest", .options = OPTIONS({"dims", "384"}, {"tables", "4"}, {"top", "50"}),
    .depots = DEPOTS({"vectors", "id: str, vec: f32[$dims]?, body: any?", .by = "id"}),
    .pstates = PSTATES({"embeddings", "map<str, struct{row: u32, in: u32[$tables], body: any?}>"},
                       {"vectors", "rows<struct{vec: f32[$dims], norm: f32}>"},
                       {"buckets", "map<u32, set<u64>>"}),
    .topologies = TOPOLOGIES(
        {"index", LEAT_STREAM, NODES(
            {"store", .from = "vectors", .run = run, .emits = "bucket: u32, member: u64, add: bool"},
            {"bucket", .from = "store", .route = LEAT_BY_KEY, .run = run})},
        {"search", LEAT_QUERY, .takes = "vec: f32[$dims]", NODES(
            {"probe", .from = "request", .run = run, .emits = "bucket: u32"},
            {"members", .from = "probe", .route = LEAT_BY_KEY, .run = run, .emits = "task: u32, row: u32"},
            {"score", .from = "members", .route = LEAT_DIRECT, .run = run,
             .emits = "task: u32, row: u32, distance: f32"},
            {"hits", .from = "score", .route = LEAT_TO_ORIGIN, .fold = &leat_top_k, .args = "k=$top by=distance"},
            {"name", .from = "hits", .route = LEAT_DIRECT, .run = run, .emits = "id: str, distance: f32"},
            {"best", .from = "name", .route = LEAT_TO_ORIGIN, .fold = &leat_top_k, .args = "k=$top by=distance id=id",
             .into = "reply"})}),
};

static void test_nearest(void **state)
{
    const struct leat_option options[] = {{"dims", "8"}, {"top", "7"}, {NULL, NULL}};
    struct plan *p = must_open(&nearest, options);
    const struct plan_topology *search = &p->topology[1];

    (void)state;
    assert_string_equal(plan_option_value(p, "dims"), "8");
    assert_string_equal(plan_option_value(p, "tables"), "4");
    assert_null(plan_option_value(p, "dim"));
    assert_int_equal(leat_option_i64(&p->values, "top"), 7);
    assert_int_equal(p->depot[0].schema.column[1].count, 8);
    assert_int_equal(search->takes.column[0].count, 8);
    for (uint32_t i = 0; i < search->nodes; i++)
        assert_int_equal(search->node[i].rank, i);
    assert_string_equal(search->node[3].use->args, "k=7 by=distance");
    assert_string_equal(row_schema_text(p->arena, &search->node[4].in), "task: u32, row: u32, distance: f32");
    plan_close(p);
}

/* A fold is declared before what it reads; columns reach it all the same. Loops of runs are allowed. */
static void test_any_order_and_loops(void **state)
{
    struct plan *p = open_stream(LIST(
        {"count", .from = "tidy", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "counts"},
        {"tidy", .from = "walk, lines", .run = run, .emits = "text: str"},
        {"walk", .from = "tidy", .run = run, .emits = "text: str"}));
    const struct plan_node *n = p->topology[0].node;

    (void)state;
    assert_int_equal(n[1].rank, 0);
    assert_int_equal(n[0].rank, 1);
    assert_int_equal(n[2].rank, 1);
    assert_int_equal(n[1].edges, 2);
    plan_close(p);
}

static void test_longest_way_ranks(void **state)
{
    struct plan *p = open_stream(LIST(
        {"a", .from = "lines", .run = run, .emits = "text: str"},
        {"b", .from = "a", .run = run, .emits = "text: str"},
        {"end", .from = "a, lines, c", .run = run},
        {"c", .from = "b", .run = run, .emits = "text: str"}));

    (void)state;
    assert_int_equal(p->topology[0].node[2].rank, 3);
    plan_close(p);
}

static void test_folds_that_fit(void **state)
{
    struct plan *p = open_stream(LIST(
        {"mean", .from = "points", .route = LEAT_BY_KEY, .fold = &leat_average, .args = "of=v", .into = "means"},
        {"sum", .from = "points", .route = LEAT_BY_KEY, .fold = &leat_sum, .args = "of=n", .into = "counts"},
        {"set", .from = "points", .route = LEAT_BY_KEY, .fold = &leat_set, .into = "seen"},
        {"map", .from = "points", .route = LEAT_BY_KEY, .fold = &leat_map, .into = "pairs"},
        {"list", .from = "points", .route = LEAT_BY_KEY, .fold = &leat_top_k, .args = "k=3 by=n", .into = "lists"}));

    (void)state;
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(p->topology[0].node[i].pstate != UINT32_MAX);
        assert_true(p->topology[0].node[i].state_size > 0);
        assert_string_equal(p->topology[0].node[i].emits.column[0].name, "id");
    }
    plan_close(p);
}

static void test_append_to_depot(void **state)
{
    struct plan *p = open_stream(LIST(
        {"split", .from = "lines", .run = run, .emits = "word: str"}, {"store", .from = "split", .into = "words"},
        {"dead", .from = "dead_letters", .run = run}, {"beat", .from = "beats", .run = run}));
    const struct plan_node *n = p->topology[0].node;

    (void)state;
    assert_int_equal(n[1].work, PLAN_APPEND);
    assert_int_equal(n[1].depot, plan_depot_find(p, "words"));
    assert_int_equal(n[2].in.columns, 7);
    assert_string_equal(row_schema_text(p->arena, &n[3].in), "time: i64");
    plan_close(p);
}

/* In a query a fold by key emits the key in front of what it finishes with. */
static void test_keyed_query_fold(void **state)
{
    const struct leat_topology t[] = {
        {"ask", LEAT_QUERY, .takes = "x: i64", NODES(
            {"scan", .from = "request", .route = LEAT_ALL, .run = run, .emits = "word: str, n: u32"},
            {"sum", .from = "scan", .route = LEAT_BY_KEY, .fold = &leat_sum},
            {"all", .from = "sum", .route = LEAT_TO_ORIGIN, .fold = &leat_list, .into = "reply"})},
        {.name = NULL}};
    struct leat_module m = world(t);
    struct plan *p = must_open(&m, NULL);

    (void)state;
    assert_string_equal(row_schema_text(p->arena, &p->topology[0].node[2].emits), "word: str, sum: i64");
    plan_close(p);
}

/* ---- As text ---- */

static void assert_holds(const struct buffer *text, const char *part)
{
    if (memmem(text->base, text->size, part, strlen(part)) == NULL)
        fail_msg("'%s' is not in:\n%.*s", part, (int)text->size, (const char *)text->base);
}

static void test_fingerprint(void **state)
{
    const struct leat_option options[] = {{"dims", "8"}, {NULL, NULL}};
    struct plan *a = must_open(&nearest, options), *b = must_open(&nearest, options), *c = must_open(&nearest, NULL);
    struct buffer x = {0}, y = {0}, z = {0};

    (void)state;
    plan_fingerprint(a, &x);
    plan_fingerprint(b, &y);
    plan_fingerprint(c, &z);
    assert_true(span_equal(buffer_bytes(&x), buffer_bytes(&y)));
    assert_false(span_equal(buffer_bytes(&x), buffer_bytes(&z)));
    assert_holds(&x, "tasks 8\n");
    assert_holds(&x, "option dims 8\n");
    assert_holds(&x, "vec: f32[8]?, body: any? by id\n");
    assert_holds(&x, "pstate buckets map<u32, set<u64>>\n");
    buffer_fini(&x);
    buffer_fini(&y);
    buffer_fini(&z);
    plan_close(a);
    plan_close(b);
    plan_close(c);
}

static void test_draw(void **state)
{
    const char *const lines[] = {
        "module word_count, 8 tasks: words\n", "  option top = 10\n", "  depot sentences {text: str}, any partition\n",
        "  pstate counts map<str, i64>\n", "  stream count_words\n", "    count        <- split, by key\n",
        "fold count => PState counts\n", "  query top takes {}\n", "run -> {word: str, count: i64}\n",
        "fold top_k k=10 by=count id=word order=descending -> reply {word: str, count: i64}\n"};
    const char *const dot[] = {
        "digraph \"word_count\" {\n", "\"sentences\" -> \"count_words.split\" [label=\"local\"];",
        "\"count_words.split\" -> \"count_words.count\" [label=\"by key\"];",
        "\"count_words.count\" -> \"pstate counts\";", "\"top request\" -> \"top.scan\" [label=\"to all tasks\"];",
        "\"top.best\" -> \"top reply\";", "}\n"};
    struct plan *p = must_open(&word_count, NULL);
    struct buffer text = {0};

    (void)state;
    plan_draw_text(p, &text);
    for (size_t i = 0; i < LENGTH_OF(lines); i++)
        assert_holds(&text, lines[i]);
    buffer_clear(&text);
    plan_draw_dot(p, &text);
    for (size_t i = 0; i < LENGTH_OF(dot); i++)
        assert_holds(&text, dot[i]);
    buffer_fini(&text);
    plan_close(p);
}

/* A line longer than any the other tests draw is not cut. */
static void test_draw_long(void **state)
{
    char schema[LIMIT_COLUMNS * 60] = "";
    struct leat_module m = world(NULL);
    struct buffer text = {0};

    (void)state;
    for (int i = 0; i < LIMIT_COLUMNS; i++)
        snprintf(schema + strlen(schema), sizeof(schema) - strlen(schema),
                 "%sa_column_with_a_name_of_some_length_%02d: str", i > 0 ? ", " : "", i);
    m.depots = DEPOTS({"wide", schema, .partitioner = LEAT_RANDOM});
    struct plan *p = must_open(&m, NULL);
    plan_draw_text(p, &text);
    assert_holds(&text, "length_63: str}, any partition\n");
    buffer_fini(&text);
    plan_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_word_count),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_any_order_and_loops),
        cmocka_unit_test(test_longest_way_ranks),
        cmocka_unit_test(test_folds_that_fit),
        cmocka_unit_test(test_append_to_depot),
        cmocka_unit_test(test_keyed_query_fold),
        cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_draw),
        cmocka_unit_test(test_draw_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
