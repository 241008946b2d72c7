# SPDX-License-Identifier: Apache-2.0
"""A small share of the figures of size: all works, within the memory that is stated.
usage: bench_sizes.py LEAT"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

leat = sys.argv[1]


def figures(*arguments):
    """{name: (value, wanted or None)} of what a benchmark printed."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run([leat, 'bench', *arguments], capture_output=True, text=True, env={**os.environ, 'TMPDIR': directory})
    if done.returncode != 0:
        raise AssertionError(f'{arguments} ended with {done.returncode}: {done.stderr}')
    lines = [re.match(r'(.{1,60}?) {2,}(-?[\d.e+]+) +\S+ +(.*)', line) for line in done.stdout.splitlines()]
    return {m[1]: (float(m[2]), re.search(r'wanted: (\d+)', m[3])) for m in lines if m}


class Sizes(unittest.TestCase):
    def test_each_part_works_within_its_memory(self):
        found = figures('scale', '--share=0.01')
        memory = {name[len('memory of '):]: row for name, row in found.items() if name.startswith('memory of ')}
        self.assertEqual(list(memory), ['keys', 'elements', 'values', 'tasks', 'backlog', 'stopped'])
        with open(leat, 'rb') as program:
            sanitized = b'__asan_init' in program.read() # it keeps freed memory
        for part, (megabytes, wanted) in memory.items():
            self.assertGreater(megabytes, 1, part)
            if not sanitized:
                self.assertLessEqual(megabytes, float(wanted[1]), part)

    def test_backups_restores_and_rebuilds_are_measured(self):
        found = figures('backup', '--share=0.01')
        for name in 'bare copy', 'backup, nothing beside', 'restore', 'rebuild':
            self.assertGreater(found[name][0], 0, name)
        self.assertIn('cost of a backup', found)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
