#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lines covered by file and by folder, from the .gcno and .gcda files below a build directory.

usage: coverage.py DIRECTORY
"""
import collections
import json
import os
import subprocess
import sys

FOLDERS = ('base', 'depots', 'pstates', 'topologies', 'engine', 'modules', 'cmd')


def reports(directory):
    """What gcov says of each object: one that no test ran has notes and no data."""
    for folder, _, files in os.walk(directory):
        notes = [os.path.join(folder, name) for name in files if name.endswith('.gcno')]
        if notes:
            out = subprocess.run(['gcov', '--json-format', '--stdout', *notes], capture_output=True, text=True, check=True)
            yield from (json.loads(line) for line in out.stdout.splitlines() if line.startswith('{'))


def lines_hit(directory):
    """file -> line -> was it run in any program?"""
    hits = collections.defaultdict(dict)
    root = os.getcwd()
    for report in reports(directory):
        for file in report['files']:
            name = os.path.relpath(os.path.join(report['current_working_directory'], file['file']), root)
            if name.split('/')[0] in FOLDERS:
                for line in file['lines']:
                    number = line['line_number']
                    hits[name][number] = hits[name].get(number, False) or line['count'] > 0
    return hits


def row(name, lines):
    print(f'{100 * sum(lines) / max(len(lines), 1):6.1f} %  {len(lines):6} lines  {name}')


def main():
    hits = lines_hit(sys.argv[1])
    for name in sorted(hits):
        row(name, hits[name].values())
    print()
    for folder in FOLDERS:
        row(folder + '/', [hit for name in hits if name.startswith(folder + '/') for hit in hits[name].values()])
    row('all', [hit for lines in hits.values() for hit in lines.values()])


main()
