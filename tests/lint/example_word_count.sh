#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The program in the README counts what it says, 0 for a word that never came; run again it goes on where it stopped.
set -euo pipefail
program=$1
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
for expected in 2 4; do
    printed=$("$program" "$directory/data" stream nothing)
    if [ "$printed" != "stream: $expected"$'\n'"nothing: 0" ]; then
        echo "expected 'stream: $expected' and 'nothing: 0', got '$printed'" >&2
        exit 1
    fi
done
