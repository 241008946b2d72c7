#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lines covered by file, from the .gcda files below a build directory.

usage: coverage.py DIRECTORY
"""
import collections
import json
import os
import subprocess
import sys

FOLDERS = ('base', 'depots', 'pstates', 'topologies', 'engine', 'modules', 'cmd', 'include')


def reports(directory):
    for folder, _, files in os.walk(directory):
        data = [os.path.join(folder, name) for name in files if name.endswith('.gcda')]
        if data:
            out = subprocess.run(['gcov', '--json-format', '--stdout', *data], capture_output=True, text=True, check=True)
            yield from (json.loads(line) for line in out.stdout.splitlines() if line.startswith('{'))


def main():
    hits = collections.defaultdict(dict)  # file -> line -> covered
    root = os.getcwd()
    for report in reports(sys.argv[1]):
        for file in report['files']:
            name = os.path.relpath(os.path.join(report['current_working_directory'], file['file']), root)
            if name.split('/')[0] in FOLDERS:
                for line in file['lines']:
                    number = line['line_number']
                    hits[name][number] = hits[name].get(number, False) or line['count'] > 0
    total = covered = 0
    for name in sorted(hits):
        lines = hits[name].values()
        total, covered = total + len(lines), covered + sum(lines)
        print(f'{100 * sum(lines) / len(lines):6.1f} %  {len(lines):6} lines  {name}')
    print(f'{100 * covered / max(total, 1):6.1f} %  {total:6} lines  all')


main()
