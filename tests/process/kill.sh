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
victim=
trap 'if [ -n "$victim" ]; then kill -9 "$victim" || true; fi; rm -rf "$directory"' EXIT

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

# A slow machine takes none in half a second.
another_checkpoint() {
    local before deadline=$((SECONDS + 60))
    before=$(checkpoints)
    until (($(checkpoints) > before)); do
        if ((SECONDS > deadline)); then echo "round $i: no checkpoint within 60 s" >&2; exit 1; fi
        sleep 0.05
    done
}

for ((i = 1; i <= kills; i++)); do
    "$program" append "$directory/data" &
    victim=$!
    if ((i % 4 == 0)); then another_checkpoint; fi
    if ((i % 50 == 0)); then sleep 12; fi # long enough for a checkpoint that is due by the clock
    sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
    kill -9 "$victim" || { echo "round $i: it ended by itself" >&2; exit 1; }
    wait "$victim" 2>/dev/null || true
    victim=
done
echo "$(checkpoints) checkpoints in $kills rounds"
"$program" finish "$directory/data"
"$program" finish "$directory/data"
