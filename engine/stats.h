/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_STATS_H
#define ENGINE_STATS_H

/* Figures that anybody may read while they are written: counters are atomic, histograms lock-free. */

#include "base/histogram.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct stats_node {
    _Atomic uint64_t rows, rejected;
    struct histogram batch_rows, run_ns;
};

struct stats_group {
    _Atomic uint64_t turns, rows, aborts, dead_letters, journal_bytes, gap_reads, repeats;
    _Atomic uint64_t open_turns, open_rows;
    _Atomic uint64_t background_waiting, background_runs, background_rows;
    _Atomic bool waits_for_space;
    struct histogram turn_rows, turn_ns, commit_ns, apply_ns, derive_ns, checkpoint_ns, background_ns;
};

#endif
