/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/plan.h"

/* A module for each rule, with the sentence that refuses it. */

static void refuse_config(const struct plan_config *config, const char *sentence)
{
    struct leat_error err = {0};
    struct plan *p = NULL;
    int rv = plan_open(config, &p, &err);

    if (rv != LEAT_EMODULE || err.code != LEAT_EMODULE || strstr(err.text, sentence) == NULL)
        fail_msg("code %d\n  is:     %s\n  wanted: %s", rv, err.text, sentence);
    assert_null(p);
    assert_int_equal(plan_open(config, &p, NULL), LEAT_EMODULE);
}

static void refuse(const struct leat_module *m, const struct leat_option *options, const char *sentence)
{
    refuse_config(&(struct plan_config){.module = m, .options = options, .tasks = 8}, sentence);
}

static void refuse_stream(const struct leat_node *nodes, const char *sentence)
{
    const struct leat_topology t[] = {{"flow", LEAT_STREAM, .nodes = nodes}, {.name = NULL}};
    struct leat_module m = world(t);

    refuse(&m, NULL, sentence);
}

static void refuse_query(const char *takes, const struct leat_node *nodes, const char *sentence)
{
    const struct leat_topology t[] = {{"ask", LEAT_QUERY, .takes = takes, .nodes = nodes}, {.name = NULL}};
    struct leat_module m = world(t);

    refuse(&m, NULL, sentence);
}

/* ---- The module and its options ---- */

static void test_module_rules(void **state)
{
    struct leat_module m = world(NULL);

    (void)state;
    m.abi = LEAT_ABI + 1;
    refuse(&m, NULL, "module 'world': it was compiled for interface version 5, this library has 4");
    m.abi = LEAT_ABI;
    for (uint32_t tasks = 0; tasks < 8192; tasks = tasks * 2 + 3)
        refuse_config(&(struct plan_config){.module = &m, .tasks = tasks},
                      "the number of tasks is a power of two up to 4096");
    refuse_config(&(struct plan_config){.module = &m, .tasks = 8192}, "8192 tasks");
    const char *const names[] = {"", "Word", "1st", "a-b", "a_name_of_forty_nine_bytes_is_one_byte_over_limit"};
    for (size_t i = 0; i < LENGTH_OF(names); i++) {
        char sentence[128];

        m.name = names[i];
        snprintf(sentence, sizeof(sentence), "module '%s': a name is [a-z][a-z0-9_]*, at most 48 bytes", m.name);
        refuse(&m, NULL, sentence);
        struct leat_error err = {0};
        struct plan *p = NULL;
        plan_open(&(struct plan_config){.module = &m, .tasks = 8}, &p, &err);
        assert_string_equal(err.text, sentence); /* the name is said once */
    }
    m.name = NULL;
    refuse(&m, NULL, "the module: it has no name: .name is missing");
}

static void test_option_rules(void **state)
{
    struct leat_module m = world(NULL);
    char longer[LIMIT_OPTION + 2] = "";
    const struct {
        struct leat_option given;
        const char *sentence;
    } wrong[] = {
        {{"dim", "4"}, "module 'world': there is no option 'dim' (did you mean 'dims'?)"},
        {{"deep", "4"}, "there is no option 'deep' (there are dims, top, rate, mode)"}, /* half of 'dims' */
        {{"rite", "4"}, "there is no option 'rite' (did you mean 'rate'?)"},
        {{"elephants", "4"}, "there is no option 'elephants' (there are dims, top, rate, mode)"},
        {{"dims", "four"}, "option 'dims' is 'four', but a whole number is wanted, like its default 4"},
        {{"dims", "4.5"}, "option 'dims' is '4.5', but a whole number is wanted"},
        {{"dims", ""}, "option 'dims' is '', but a whole number is wanted"},
        {{"dims", "9223372036854775808"}, "option 'dims' is '9223372036854775808', but a whole number is wanted"},
        {{"rate", "half"}, "option 'rate' is 'half', but a number is wanted, like its default 0.5"},
        {{"mode", NULL}, "option 'mode': its value is missing"},
        {{"mode", " a"}, "option 'mode': its value has blanks at its ends"},
        {{"mode", "a "}, "option 'mode': its value has blanks at its ends"},
        {{"mode", ";"}, "option 'mode': character 1 of its value is a ';' at the start or behind a blank"},
        {{"mode", "a ;b"}, "option 'mode': character 3 of its value is a ';' at the start or behind a blank"},
        {{"mode", "a\tb"}, "option 'mode': character 2 of its value is a control character"},
        {{"mode", longer}, "option 'mode': its value has 1025 bytes, but at most 1024 are possible"},
        {{"dims", longer}, "option 'dims': its value has 1025 bytes, but at most 1024 are possible"},
        {{"dims", longer + 1}, "but a whole number is wanted, like its default 4"},
    };

    (void)state;
    memset(longer, 'x', LIMIT_OPTION + 1);
    for (size_t i = 0; i < LENGTH_OF(wrong); i++)
        refuse(&m, (const struct leat_option[]){wrong[i].given, {NULL, NULL}}, wrong[i].sentence);
    refuse(&m, (const struct leat_option[]){{"dims", "8"}, {"dims", "x"}, {NULL, NULL}}, "like its default 4");
    plan_close(must_open(&m, (const struct leat_option[]){{"rate", "2"}, {"rate", "0.7"}, {NULL, NULL}}));
    struct plan *p = must_open(&m, (const struct leat_option[]){
                                       {"rate", "2"}, {"mode", "any text"}, {"dims", "-1"}, {NULL, NULL}});
    assert_true(leat_option_f64(&p->values, "rate") == 2.0);
    assert_string_equal(leat_option_text(&p->values, "mode"), "any text");
    assert_int_equal(leat_option_i64(&p->values, "dims"), -1);
    plan_close(p);
    m.options = OPTIONS({"probed", "1"}, {"probes", "1"}, {"proba", "1"});
    /* The first of the nearest. */
    refuse(&m, (const struct leat_option[]){{"probe", "1"}, {NULL, NULL}}, "(did you mean 'probed'?)");
    m.options = NULL;
    refuse(&m, (const struct leat_option[]){{"dims", "1"}, {NULL, NULL}}, "there is no option 'dims' (there are none)");
    m.options = OPTIONS({"a", "1"}, {"a", "2"});
    refuse(&m, NULL, "option 'a' is there twice");
    m.options = OPTIONS({"a", NULL});
    refuse(&m, NULL, "option 'a' has no default");
    m.options = OPTIONS({"a", "b ; c"});
    refuse(&m, NULL, "option 'a': character 3 of its value is a ';'");
    m.options = OPTIONS({"Big", "1"});
    refuse(&m, NULL, "option 'Big': a name is");
}

/* ---- Depots and PStates ---- */

static void test_depot_rules(void **state)
{
    const struct {
        struct leat_depot_declaration depot;
        const char *sentence;
    } wrong[] = {
        {{"Depot", "a: str", .partitioner = LEAT_RANDOM}, "depot 'Depot': a name is"},
        {{"d", "a: strr", .partitioner = LEAT_RANDOM},
         "depot 'd': schema \"a: strr\", character 8: column 'a': 'strr' is no type"},
        {{"d", "a: f32[$dms]", .partitioner = LEAT_RANDOM}, "'$dms' is no option of the module"},
        {{"d", "", .partitioner = LEAT_RANDOM}, "depot 'd': its schema has no columns"},
        {{"d", NULL, .partitioner = LEAT_RANDOM}, "depot 'd': its schema has no columns"},
        {{"d", "a: str", .by = NULL}, "depot 'd': say by which column it is partitioned (.by)"},
        {{"d", "a: str", .by = "b"}, "depot 'd': .by = \"b\" is no column of {a: str}"},
        {{"d", "a: str?", .by = "a"},
         "depot 'd': column 'a' cannot partition: it is str?, but a scalar that is never null"},
        {{"d", "a: f32[4]", .by = "a"}, "it is f32[4]"},
        {{"d", "a: any", .by = "a"}, "it is any"},
        {{"d", "a: str", .by = "a", .partitioner = LEAT_RANDOM}, ".by = \"a\" goes only with partitioning by field"},
        {{"d", "a: str", .tick_ms = 5}, "depot 'd': a tick depot has no schema of its own"},
        {{"d", .by = "time", .tick_ms = 5}, ".by = \"time\" goes only with"},
        {{"dead_letters", "a: str", .by = "a"}, "depot 'dead_letters' is made by Leat"},
    };
    struct leat_module m = world(NULL);

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(wrong); i++) {
        m.depots = (const struct leat_depot_declaration[]){wrong[i].depot, {.name = NULL}};
        refuse(&m, NULL, wrong[i].sentence);
    }
    m.depots = DEPOTS({"d", "a: str", .by = "a"}, {"d", "a: str", .by = "a"});
    refuse(&m, NULL, "depot 'd' is there twice");
}

static void test_pstate_rules(void **state)
{
    struct leat_module m = world(NULL);

    (void)state;
    m.pstates = PSTATES({"p", "map<str>"});
    refuse(&m, NULL, "module 'world': PState 'p': ");
    m.pstates = PSTATES({"p", "map<str, f32[$none]>"});
    refuse(&m, NULL, "'$none' is no option of the module");
    m.pstates = PSTATES({"p", "i64"}, {"p", "i64"});
    refuse(&m, NULL, "PState 'p' is there twice");
    m.pstates = PSTATES({"P", "i64"});
    refuse(&m, NULL, "PState 'P': a name is");
}

static void test_limits(void **state)
{
    static char name[LIMIT_DEPOTS + 1][16];
    static struct leat_depot_declaration depots[LIMIT_DEPOTS + 2];
    static struct leat_node nodes[LIMIT_NODES + 2];
    struct leat_module m = world(NULL);

    (void)state;
    for (uint32_t i = 0; i <= LIMIT_DEPOTS; i++) {
        snprintf(name[i], sizeof(name[i]), "d%u", i);
        depots[i] = (struct leat_depot_declaration){name[i], "a: str", .by = "a"};
        nodes[i] = (struct leat_node){name[i], .from = "lines", .run = run};
    }
    m.depots = depots;
    refuse(&m, NULL, "more than 64 of kind depot");
    depots[LIMIT_DEPOTS].name = NULL;
    struct plan *p = must_open(&m, NULL);
    assert_int_equal(p->depots, LIMIT_DEPOTS + 1);
    plan_close(p);
    refuse_stream(nodes, "more than 64 of kind node");
}

/* ---- Topologies and nodes ---- */

static void test_topology_rules(void **state)
{
    const struct leat_node *node = LIST({"n", .from = "lines", .run = run});
    const struct {
        struct leat_topology topology;
        const char *sentence;
    } wrong[] = {
        {{"T", LEAT_STREAM, .nodes = node}, "topology 'T': a name is"},
        {{"t", 0, .nodes = node}, "topology 't' is neither LEAT_STREAM nor LEAT_QUERY"},
        {{"t", LEAT_STREAM, .nodes = NULL}, "topology 't' has no nodes"},
        {{"t", LEAT_STREAM, .nodes = LIST({.name = NULL})}, "topology 't' has no nodes"},
        {{"t", LEAT_STREAM, .takes = "a: str", .nodes = node}, "topology 't' is a stream: .takes is for queries"},
        {{"t", LEAT_QUERY, .takes = "a str", .nodes = node}, "topology 't', takes"},
    };
    struct leat_topology list[3] = {{.name = NULL}};
    struct leat_module m = world(list);

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(wrong); i++) {
        list[0] = wrong[i].topology;
        refuse(&m, NULL, wrong[i].sentence);
    }
    list[0] = list[1] = (struct leat_topology){"t", LEAT_STREAM, .nodes = node};
    refuse(&m, NULL, "topology 't' is there twice");
}

static void test_node_rules(void **state)
{
    const struct {
        struct leat_node node;
        const char *sentence;
    } wrong[] = {
        {{"N", .from = "lines", .run = run}, "node 'N': a name is"},
        {{"request", .from = "lines", .run = run}, "topology 'flow': node 'request' has a name that is taken"},
        {{"lines", .from = "lines", .run = run}, "node 'lines' has the name of a depot"},
        {{"n", .run = run}, "node 'n' has no source: .from is missing"},
        {{"n", .from = "", .run = run}, "node 'n': has no source: .from is empty"},
        {{"n", .from = "lines", .run = run, .fold = &leat_count}, "node 'n' has both .run and .fold"},
        {{"n", .from = "lines"}, "node 'n' does nothing: give it .run, .fold, or .into a depot"},
        {{"n", .from = "lines", .run = run, .args = "k=1"}, "node 'n' has .args, which only folds take"},
        {{"n", .from = "lines", .fold = &leat_count, .emits = "a: i64"}, "has .emits, but a fold knows what it emits"},
        {{"n", .from = "lines", .route = (enum leat_route)99, .run = run}, "has an unknown .route"},
        {{"n", .from = "lines", .route = LEAT_TO_ORIGIN, .run = run}, "routes to the origin, which only queries have"},
        {{"n", .from = "lines", .fold = &leat_count, .background = true},
         "topology 'flow': node 'n' is a background node, so it needs .run"},
        {{"n", .from = "lines", .into = "words", .background = true},
         "node 'n' is a background node, so it needs .run"},
        {{"n", .from = "lines", .run = run, .at_rest = true},
         "node 'n' has .at_rest, which only background nodes have"},
        {{"n", .from = "lines", .run = run, .emits = "a: str,, b"}, "topology 'flow', node 'n', emits"},
        {{"n", .from = "lines", .run = run, .emits = "a: str"}, "node 'n': nobody reads what it emits"},
        {{"n", .from = "line", .run = run},
         "node 'n': reads 'line', which is no depot or node of this topology (did you mean 'lines'?)"},
        {{"n", .from = "lines, xylophone", .run = run},
         "reads 'xylophone', which is no depot or node of this topology"},
        {{"n", .from = "lines, lines", .run = run}, "node 'n': reads 'lines' twice"},
        {{"n", .from = "request", .run = run}, "reads 'request', which is no depot or node"},
        {{"n", .from = "lines, points", .run = run},
         "its sources emit different columns: {text: str} and {id: str, n: i64, v: f64?} from 'points'"},
        {{"n", .from = "other/depot", .run = run},
         "reads 'other/depot', but there is no such module with that depot here: launch it first"},
        {{"n", .from = "lines", .run = run, .into = "counts"},
         "has .into, which is for folds; a run writes by leat_put"},
        {{"n", .from = "lines", .route = LEAT_DIRECT, .run = run},
         "routes to a task, so its first column must be u32; it reads {text: str}"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(wrong); i++)
        refuse_stream(LIST(wrong[i].node), wrong[i].sentence);
    refuse_stream(LIST({"n", .from = "lines", .run = run}, {"n", .from = "lines", .run = run}),
                  "node 'n' is there twice");
    refuse_stream(LIST({"a", .from = "b", .run = run, .emits = "x: i64"},
                       {"b", .from = "a", .run = run, .emits = "x: i64"}),
                  "node 'a': nothing leads to it from a depot");
    refuse_stream(LIST({"split", .from = "lines", .run = run, .emits = "w: f32"},
                       {"n", .from = "split", .route = LEAT_BY_KEY, .run = run}),
                  "routes by key, so its first column must be a scalar that is never null; it reads {w: f32}");
    refuse_stream(LIST({"split", .from = "lines", .run = run, .emits = "w: str?"},
                       {"n", .from = "split", .route = LEAT_BY_KEY, .run = run}),
                  "a scalar that is never null; it reads {w: str?}");
    refuse_stream(LIST({"split", .from = "lines", .run = run},
                       {"n", .from = "split", .route = LEAT_BY_KEY, .run = run}),
                  "node 'n': reads 'split', which emits nothing: its .emits is missing");
    refuse_stream(LIST({"first", .from = "lines", .run = run}, {"second", .from = "lines, first", .run = run}),
                  "node 'second': reads 'first', which emits nothing: its .emits is missing");
}

/* Their rows wait in a PState, which nobody can name. */
static void test_background(void **state)
{
    struct leat_topology list[] = {
        {"flow", LEAT_STREAM, .nodes = LIST({"n", .from = "lines", .run = run, .background = true, .at_rest = true})},
        {.name = NULL}};
    struct leat_topology query[] = {{"ask", LEAT_QUERY, .takes = "a: str",
                                     .nodes = LIST({"n", .from = "request", .route = LEAT_TO_ORIGIN, .run = run,
                                                    .emits = "a: str", .into = "reply", .background = true})},
                                                    {.name = NULL}};
    const struct leat_pstate_declaration taken[] = {{"background", "map<str, i64>"}, {NULL, NULL}};
    const struct leat_depot_declaration often[] = {
        {"lines", "text: str", .partitioner = LEAT_RANDOM}, {"beats", .tick_ms = 499}, {.name = NULL}};
    struct leat_module m = world(list);
    struct buffer text = {0};

    (void)state;
    struct plan *p = must_open(&m, NULL);
    assert_int_equal(p->background, p->pstates - 1);
    assert_int_equal(plan_pstate_find(p, "background"), p->background);
    plan_fingerprint(p, &text);
    plan_streams(p, &text);
    plan_draw_text(p, &text);
    buffer_u8(&text, 0);
    assert_non_null(strstr((char *)text.base,
                           "pstate background map<u64, struct{topology: str, node: str, task: u32, row: bytes}>\n"));
    assert_non_null(strstr((char *)text.base, "stream flow node n takes text: str background\n"));
    assert_non_null(strstr((char *)text.base, "run in the background, at rest"));
    buffer_fini(&text);
    plan_close(p);
    m.pstates = taken;
    refuse(&m, NULL, "PState 'background' is made by Leat, for the rows of background nodes: give yours another name");
    m = world(list);
    m.depots = often;
    refuse(&m, NULL, "node 'n' has .at_rest, but a depot ticks more than twice a second: there would be no rest");
    m = world(query);
    refuse(&m, NULL, "topology 'ask': node 'n' is a background node, which only streams have");
    refuse_stream(LIST({"n", .from = "lines", .run = run, .emits = "k: str", .background = true},
                       {"f", .from = "n", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "background"}),
                  "folds into 'background', which is no PState of the module");
}

static void test_depot_sinks(void **state)
{
    const struct {
        const char *from, *into, *sentence;
    } wrong[] = {
        {"lines", "wordz", "node 'n': appends to 'wordz', which is no depot of the module"},
        {"lines", "words", "appends {text: str} to depot 'words', which has {word: str}"},
        {"beats", "beats", "depot 'beats' cannot be appended to"},
        {"dead_letters", "dead_letters", "depot 'dead_letters' cannot be appended to"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(wrong); i++)
        refuse_stream(LIST({"n", .from = wrong[i].from, .into = wrong[i].into}), wrong[i].sentence);
    refuse_stream(LIST({"split", .from = "lines", .run = run, .emits = "word: str"},
                       {"n", .from = "split", .into = "words"}, {"m", .from = "n", .run = run}),
                  "node 'm': reads 'n', which only appends to a depot");
}

static void test_stream_folds(void **state)
{
    const struct {
        const struct leat_fold *fold;
        const char *args, *into;
        enum leat_route route;
        const char *sentence;
    } wrong[] = {
        {&leat_count, NULL, NULL, LEAT_BY_KEY, "a fold in a stream needs a PState: .into is missing"},
        {&leat_count, NULL, "nowhere", LEAT_BY_KEY, "folds into 'nowhere', which is no PState of the module"},
        {&leat_count, NULL, "counts", LEAT_LOCAL, "folds into a PState, so its route must be LEAT_BY_KEY"},
        {&leat_count, NULL, "flat", LEAT_BY_KEY, "PState 'flat' is set<str>, but a map by the first column {id: str"},
        {&leat_count, NULL, "means", LEAT_BY_KEY,
         "fold count keeps {count: i64} by key, which does not fit PState 'means', "},
        {&leat_average, "of=v", "counts", LEAT_BY_KEY, "fold average keeps {sum: f64, count: i64} by key"},
        {&leat_sum, "of=v", "counts", LEAT_BY_KEY, "fold sum keeps {sum: f64} by key"},
        {&leat_set, "of=n", "counts", LEAT_BY_KEY, "fold set keeps {n: i64} row by row by key"},
        {&leat_list, NULL, "seen", LEAT_BY_KEY, "fold list keeps {n: i64, v: f64?} row by row"},
        {&leat_map, NULL, "seen", LEAT_BY_KEY, "fold map keeps"},
        {&leat_limit, "k=2", "seen", LEAT_BY_KEY, "fold limit keeps"},
        {&leat_sum, "of=id", "counts", LEAT_BY_KEY, "node 'n': fold sum: of=id is no column"},
        {&leat_limit, NULL, "lists", LEAT_BY_KEY, "fold limit: k=: a number from 1 to"},
        {&leat_limit, "k=$tap", "lists", LEAT_BY_KEY, "its arguments name '$tap', which is no option of the module"},
        {&leat_limit, "k=$", "lists", LEAT_BY_KEY, "its arguments name '$'"},
        {&leat_top_k, "k=$mode by=n", "lists", LEAT_BY_KEY, "fold top_k: k=fast: a number from 1 to"},
        {&leat_top_k, "k=3 by=n oder=descending", "lists", LEAT_BY_KEY,
         "module 'world': topology 'flow': node 'n': fold top_k has no argument 'oder'; it takes order, id, k, by"},
        {&leat_sum, "of=n of=n", "counts", LEAT_BY_KEY, "node 'n': its argument 'of' is given twice"},
        {&leat_sum, "n", "counts", LEAT_BY_KEY, "node 'n': its argument 'n' has no value: NAME=VALUE is wanted"},
        {&leat_sum, "=n", "counts", LEAT_BY_KEY, "fold sum has no argument ''; it takes of"},
        {&leat_count, " of=n ", "counts", LEAT_BY_KEY, "node 'n': fold count has no argument 'of'; it takes none"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH_OF(wrong); i++)
        refuse_stream(LIST({"n", .from = "points", .route = wrong[i].route, .fold = wrong[i].fold,
                            .args = wrong[i].args, .into = wrong[i].into}),
                      wrong[i].sentence);
    refuse_stream(LIST({"n", .from = "beats", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "counts"}),
                  "PState 'counts' is map<str, i64>, but a map by the first column {time: i64} is wanted");
    refuse_stream(LIST({"a", .from = "points", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "counts"},
                       {"b", .from = "points", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "counts"}),
                  "node 'b': node 'a' of topology 'flow' folds into PState 'counts' already");
    refuse_stream(LIST({"a", .from = "points", .route = LEAT_BY_KEY, .fold = &leat_count, .into = "counts"},
                       {"b", .from = "a", .run = run}),
                  "node 'a': folds into a PState and emits nothing, but 'b' reads it");
}

static void test_query_rules(void **state)
{
#define REPLY {"reply_node", .from = "request", .route = LEAT_TO_ORIGIN, .fold = &leat_list, .into = "reply"}
    (void)state;
    refuse_query("a: i64", LIST({"n", .from = "request", .run = run}), "topology 'ask': no node has .into = \"reply\"");
    refuse_query("a: i64", LIST({"n", .from = "lines", .run = run}, REPLY),
                 "reads 'lines', which is no node of this query, nor \"request\"");
    refuse_query("a: i64", LIST({"n", .from = "requst", .run = run}, REPLY), "reads 'requst'");
    refuse_query("a: i64", LIST({"n", .from = "other/depot", .run = run}, REPLY), "which is no node of this query");
    refuse_query("a: i64", LIST({"n", .from = "request", .into = "words"}, REPLY), "a query cannot append to a depot");
    refuse_query("a: i64", LIST({"n", .from = "request", .run = run, .into = "counts"}, REPLY),
                 "a query writes only into \"reply\", not 'counts'");
    refuse_query("a: i64", LIST({"n", .from = "request", .fold = &leat_list, .into = "reply"}),
                 "node 'n': is the reply, so its route must be LEAT_TO_ORIGIN");
    refuse_query("a: i64",
                 LIST(REPLY, {"n", .from = "request", .route = LEAT_TO_ORIGIN, .fold = &leat_list, .into = "reply"}),
                 "node 'n': is a second reply beside 'reply_node'");
    refuse_query("a: i64", LIST({"n", .from = "request", .route = LEAT_GLOBAL, .fold = &leat_count}, REPLY),
                 "node 'n': nobody reads what it finishes with; is .into = \"reply\" missing?");
    refuse_query("a: i64",
                 LIST({"a", .from = "b", .run = run, .emits = "x: i64"},
                      {"b", .from = "a", .run = run, .emits = "x: i64"}, REPLY),
                 "node 'a': nothing leads to it from a request");
    refuse_query("a: i64",
                 LIST({"a", .from = "request, b", .fold = &leat_list},
                      {"b", .from = "a", .run = run, .emits = "a: i64"}, REPLY),
                 "node 'a': a fold in a loop never finishes");
    refuse_query("a: i64",
                 LIST({"a", .from = "request, b", .fold = &leat_list}, {"b", .from = "a", .fold = &leat_list}, REPLY),
                 "a fold in a loop never finishes");
    refuse_query("a: i64", LIST({"n", .from = "request", .run = run}, {"m", .from = "n", .run = run}, REPLY),
                 "node 'm': reads 'n', which emits nothing: its .emits is missing");
    refuse_query("", LIST({"n", .from = "request", .route = LEAT_BY_KEY, .fold = &leat_last}, REPLY), "it reads {}");
    refuse_query("a: i64", LIST({"n", .from = "request", .route = LEAT_TO_ORIGIN, .run = run, .into = "reply"}),
                 "module 'world': topology 'ask': node 'n': is the reply, so it must say what it emits: .emits is "
                 "missing");
    refuse_query("a: i64",
                 LIST({"n", .from = "request", .route = LEAT_TO_ORIGIN, .fold = &leat_list, .args = "k=3",
                       .into = "reply"}),
                 "module 'world': topology 'ask': node 'n': fold list has no argument 'k'; it takes none");
    refuse_query("a: i64", LIST({"reply", .from = "request", .run = run}), "node 'reply' has a name that is taken");
#undef REPLY
}

/* ---- Other modules, open() and close() ---- */

static int find_depot(void *context, const char *module, const char *depot, const struct row_schema **out)
{
    if (strcmp(module, "word_count") != 0 || strcmp(depot, "sentences") != 0)
        return LEAT_ENOTFOUND;
    *out = context;
    return 0;
}

static void test_foreign_depot(void **state)
{
    const struct leat_topology t[] = {
        {"flow", LEAT_STREAM, NODES({"a", .from = "lines, word_count/sentences", .run = run},
                                    {"b", .from = "word_count/sentences", .run = run})},
        {.name = NULL}};
    struct leat_module m = world(t);
    struct arena *arena = arena_open(1 << 20);
    struct row_schema schema;
    struct plan *p;

    (void)state;
    assert_int_equal(row_schema_parse(arena, "text: str", NULL, NULL, &schema, NULL), 0);
    struct plan_config config = {.module = &m, .tasks = 4, .find = find_depot, .context = &schema};
    assert_int_equal(plan_open(&config, &p, NULL), 0);
    assert_int_equal(p->foreigns, 1);
    assert_string_equal(p->foreign[0].module, "word_count");
    assert_string_equal(p->foreign[0].depot, "sentences");
    assert_int_equal(p->foreign[0].edges, 2);
    assert_int_equal(p->foreign[0].schema.columns, 1);
    plan_close(p);
    const struct leat_topology wrong[] = {
        {"flow", LEAT_STREAM, NODES({"a", .from = "word_count/sentence", .run = run})}, {.name = NULL}};
    m.topologies = wrong;
    refuse_config(&config, "topology 'flow': node 'a': reads 'word_count/sentence', but there is no such module");
    arena_close(arena);
}

static int closed;

static int open_counted(const struct leat_options *options, void **out, struct leat_error *err)
{
    if (leat_option_i64(options, "top") < 0)
        return leat_fail(err, LEAT_EINVAL, "top is below nothing");
    *out = &closed;
    return 0;
}

static void close_counted(void *state)
{
    assert_ptr_equal(state, &closed);
    closed++;
}

static void test_open_and_close(void **state)
{
    struct leat_module m = world(NULL);

    (void)state;
    m.open = open_counted;
    m.close = close_counted;
    closed = 0;
    struct plan *p = must_open(&m, NULL);
    assert_ptr_equal(p->state, &closed);
    plan_close(p);
    assert_int_equal(closed, 1);
    refuse(&m, (const struct leat_option[]){{"top", "-1"}, {NULL, NULL}},
           "module 'world': its open(): top is below nothing");
    assert_int_equal(closed, 1);
    plan_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_module_rules),
        cmocka_unit_test(test_option_rules),
        cmocka_unit_test(test_depot_rules),
        cmocka_unit_test(test_pstate_rules),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_topology_rules),
        cmocka_unit_test(test_node_rules),
        cmocka_unit_test(test_background),
        cmocka_unit_test(test_depot_sinks),
        cmocka_unit_test(test_stream_folds),
        cmocka_unit_test(test_query_rules),
        cmocka_unit_test(test_foreign_depot),
        cmocka_unit_test(test_open_and_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
