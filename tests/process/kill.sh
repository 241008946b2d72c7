#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 at random moments under load, again and again, also while a start replays or a checkpoint is taken; then the
# program compares what is there with what must be. usage: kill.sh PROGRAM
set -euo pipefail
program=$1
kills=20
if [ "${LEAT_LONG:-0}" = 1 ]; then kills=1000; fi
RANDOM=${LEAT_SEED:-$$}
echo "seed ${LEAT_SEED:-$$}"
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

# Of all groups: the newest slot of each says how many there were.
checkpoints() {
    local sum=0 newest
    for group in "$directory"/data/*/group-*; do
        newest=$(for slot in $(find "$group" -name 'checkpoint.[01]' -size +0); do
            od -An -t u8 -j 16 -N 8 "$slot"
        done | sort -n | tail -n 1)
        sum=$((sum + ${newest:-0}))
    done
    echo "$sum"
}

for ((i = 1; i <= kills; i++)); do
    "$program" append "$directory/data" &
    victim=$!
    if ((i % 50 == 0)); then sleep 12; fi # long enough for a checkpoint that is due by the clock
    sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
    kill -9 "$victim" || { echo "round $i: it ended by itself" >&2; exit 1; }
    wait "$victim" 2>/dev/null || true
done
taken=$(checkpoints)
echo "$taken checkpoints in $kills rounds"
if ((taken * 4 < kills)); then echo "too few checkpoints: $taken" >&2; exit 1; fi
"$program" finish "$directory/data"
"$program" finish "$directory/data"
