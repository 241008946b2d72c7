#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Do the checks of the simulation bite? Each patch here is one deliberate bug: it is applied to a copy of the committed
files, the simulation is built, and must fail within so many seeds.

usage: run.py [--seeds N] [NAME...]     default: 200 seeds, all patches; exit 1 when one is not found
"""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SIM = 'tests/sim/leat-sim'


def run(command, where, **more):
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, **more)


def copy_of_head(tree):
    archive = subprocess.run(['git', '-C', ROOT, 'archive', 'HEAD'], capture_output=True, check=True).stdout
    subprocess.run(['tar', '-x', '-C', tree], input=archive, check=True)
    done = run(['meson', 'setup', 'build', '-Dwerror=false'], tree)
    if done.returncode:
        sys.exit(done.stdout)


def build(tree):
    return run(['ninja', '-C', 'build', SIM], tree)


def about(patch):
    with open(patch, encoding='utf-8') as text:
        return text.readline().strip()


def try_one(tree, name, seeds):
    """What the report says of one mutation, and whether it was found."""
    patch = os.path.join(HERE, name + '.patch')
    if run(['patch', '-p1', '--no-backup-if-mismatch', '-i', patch], tree).returncode:
        return 'the patch does not apply any more', False
    try:
        done = build(tree)
        if done.returncode:
            return 'does not build: ' + done.stdout[-500:], False
        done = run([os.path.join('build', SIM), '--seeds', str(seeds)], tree)
        found = re.search(r'seed (\d+) fails \(commit \w+\): (.*)', done.stdout)
        return (f'seed {found.group(1)}: {found.group(2)[:90]}', True) if found else (f'not found in {seeds} seeds', False)
    finally:
        run(['patch', '-p1', '-R', '--no-backup-if-mismatch', '-i', patch], tree)


def main():
    arguments = sys.argv[1:]
    seeds = 200
    if arguments[:1] == ['--seeds']:
        seeds, arguments = int(arguments[1]), arguments[2:]
    names = arguments or sorted(name[:-len('.patch')] for name in os.listdir(HERE) if name.endswith('.patch'))
    missed = 0
    with tempfile.TemporaryDirectory() as tree:
        copy_of_head(tree)
        done = build(tree)
        if done.returncode:
            sys.exit(done.stdout[-2000:])
        print('| Mutation | What is wrong | Found |\n|---|---|---|')
        for name in names:
            said, found = try_one(tree, name, seeds)
            missed += not found
            print(f'| `{name}` | {about(os.path.join(HERE, name + ".patch"))} | {said} |', flush=True)
    print(f'{len(names) - missed} of {len(names)} mutations found')
    sys.exit(missed > 0)


main()
