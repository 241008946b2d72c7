#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The program in the README counts what it says; run again it goes on counting where it stopped.
set -euo pipefail
program=$1
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
for expected in 2 4; do
    printed=$("$program" "$directory/data")
    if [ "$printed" != "stream: $expected" ]; then
        echo "expected 'stream: $expected', got '$printed'" >&2
        exit 1
    fi
done
