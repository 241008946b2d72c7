#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 at random moments under load, again and again, also while a start replays; then the program compares what is
# there with what must be. usage: kill.sh PROGRAM
set -euo pipefail
program=$1
kills=20
if [ "${LEAT_LONG:-0}" = 1 ]; then kills=1000; fi
RANDOM=${LEAT_SEED:-$$}
echo "seed ${LEAT_SEED:-$$}"
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

for ((i = 1; i <= kills; i++)); do
    "$program" append "$directory/data" &
    victim=$!
    if ((i % 50 == 0)); then sleep 12; fi # long enough for a checkpoint
    sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
    kill -9 "$victim" || { echo "round $i: it ended by itself" >&2; exit 1; }
    wait "$victim" 2>/dev/null || true
done
"$program" finish "$directory/data"
"$program" finish "$directory/data"
