#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Add up test results over meson's logs: cmocka cases where a test prints them, else one a test.

usage: count_tests.py BROKEN LOG...     BROKEN: 1 when a run of meson failed
The last line is 'N passed, N failed[, N skipped]'; exit 1 when something failed or nothing ran.
"""
import json
import os
import re
import sys

CASE = re.compile(r'^\[ +(OK|FAILED|SKIPPED) +\] (.*)$', re.M)
GOOD, SKIPPED = ('OK', 'EXPECTEDFAIL'), ('SKIP',)


def cases(test):
    """Names of cmocka cases by result. Its summary repeats failures, and has lines with counts."""
    found = {'OK': set(), 'FAILED': set(), 'SKIPPED': set()}
    for result, name in CASE.findall((test.get('stdout') or '') + '\n' + (test.get('stderr') or '')):
        if 'test(s)' not in name:
            found[result].add(name.split(':')[-1].strip())
    return found


def count(test):
    """(passed, failed, skipped) of one test of meson."""
    found = cases(test)
    passed, failed, skipped = (len(found[result]) for result in ('OK', 'FAILED', 'SKIPPED'))
    if test['result'] in SKIPPED:
        return passed, failed, max(skipped, 1)
    if test['result'] not in GOOD:
        return passed, max(failed, 1), skipped  # it may have crashed, or a sanitizer spoke, between cases
    return (passed, failed, skipped) if passed + failed + skipped else (1, 0, 0)


def main():
    total = [0, 0, 0]
    broken = sys.argv[1] != '0'
    for log in sys.argv[2:]:
        if not os.path.exists(log):
            print(f'{log}: no results')
            broken = True
            continue
        with open(log, encoding='utf-8') as lines:
            for test in map(json.loads, lines):
                total = [a + b for a, b in zip(total, count(test))]
                if test['result'] not in GOOD + SKIPPED:
                    print(f"{os.path.dirname(os.path.dirname(log))}: {test['name']}: {test['result']}")
    passed, failed, skipped = total
    if broken and failed == 0:
        failed = 1
    print(f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else ''))
    sys.exit(1 if failed or passed == 0 else 0)


main()
