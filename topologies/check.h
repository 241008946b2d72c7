/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOPOLOGIES_CHECK_H
#define TOPOLOGIES_CHECK_H

/* The rules of modules, each with its sentence. plan.c asks them while it makes the plan. All return 0 or LEAT_EMODULE
 * with err filled. */

#include "topologies/plan.h"

int check_fail(const struct plan *p, struct leat_error *err, const char *format, ...) LEAT_PRINTF(3, 4);
int check_wrap(const struct plan *p, struct leat_error *err, const char *format, ...) LEAT_PRINTF(3, 4);
int check_node_fail(const struct plan *p, struct plan_edge at, struct leat_error *err, const char *format, ...)
    LEAT_PRINTF(4, 5);
int check_node_wrap(const struct plan *p, struct plan_edge at, struct leat_error *err, const char *format, ...)
    LEAT_PRINTF(4, 5);

int check_module(const struct plan *p, struct leat_error *err);
/* A name's form, and that there are not too many. */
int check_name(const struct plan *p, const char *what, const char *name, uint32_t count, uint32_t limit,
               struct leat_error *err);
int check_option(const struct plan *p, const struct plan_option *o, const char *value, struct leat_error *err);
int check_by(const struct plan *p, const struct leat_depot_declaration *d, struct plan_depot *to,
             struct leat_error *err);
int check_topology(const struct plan *p, const struct leat_topology *d, struct leat_error *err);
/* Once all are made; yardstick -1: there is none of this name. */
int check_yardstick(const struct plan *p, const struct leat_topology *d, uint32_t topology, int yardstick,
                    struct leat_error *err);
int check_node(const struct plan *p, const struct leat_topology *of, const struct plan_topology *t,
               const struct leat_node *d, struct leat_error *err);
/* That the columns it reads can be routed. */
int check_route(const struct plan *p, struct plan_edge at, struct leat_error *err);
/* Where its results go: sets keyed, pstate, depot, reply. */
int check_into(struct plan *p, struct plan_edge at, struct leat_error *err);
/* What can be said once its columns are known. */
int check_resolved(const struct plan *p, struct plan_edge at, struct leat_error *err);
/* That a fold's prepare() asked for each argument it is given, and each is given once. */
int check_arguments(const struct plan *p, struct plan_edge at, const struct fold_asked *asked, struct leat_error *err);
/* The declaration of what is derived, and each PState in its .from; pstate -1: there is none of this name. */
int check_derive(const struct plan *p, struct leat_error *err);
int check_derived_from(const struct plan *p, const char *name, int pstate, struct leat_error *err);
/* Reachability, loops, the one reply; sets ranks. */
int check_shape(struct plan *p, uint32_t topology, struct leat_error *err);

bool check_same_columns(const struct row_schema *a, const struct row_schema *b); /* types, not names */
/* " (did you mean 'x'?)", or which there are; of sources the former or "". */
const char *check_suggest_option(const struct plan *p, const char *name);
const char *check_suggest_source(const struct plan *p, struct plan_edge at, const char *name);

#endif
