# SPDX-License-Identifier: Apache-2.0
"""The command leat on a disk that fails, is full, is repaired, and without memory: each call fails once, or from then on.
It ends with an answer or a sentence, never by a crash; what it said was appended is there; the same import run again
brings everything, once. LEAT_LONG=1: every call of a run, else some. usage: faults.py LEAT SHIM [TEST ...]"""
import collections
import errno
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import time

import command_run
from command_run import CommandTest, command

OPEN, WRITE, SYNC, TRUNCATE, ALLOCATE, MMAP, MALLOC = (1 << i for i in range(7))
FILES = {'open': OPEN, 'write': WRITE, 'sync': SYNC, 'truncate': TRUNCATE, 'allocate': ALLOCATE, 'mmap': MMAP}
SHORT = 0
LAYOUT = struct.Struct('=IIIiII232s')
ROWS = 20
PATIENCE_S = 60
SHIM = None
LONG = os.environ.get('LEAT_LONG') == '1'


class Shim:
    """The control file of a program under test (tests/lib/shim.h)."""

    def __init__(self, path):
        with open(path, 'wb') as f:
            f.write(bytes(LAYOUT.size))
        with open(path, 'r+b') as f:
            self.map = mmap.mmap(f.fileno(), LAYOUT.size)
        self.environment = dict(os.environ, LD_PRELOAD=SHIM, LEAT_SHIM=path)

    def set(self, calls, at=0, every=0, number=0, under=''):
        LAYOUT.pack_into(self.map, 0, calls, at, every, number, 0, 0, under.encode())

    def seen(self):
        return LAYOUT.unpack_from(self.map)[4]

    def failed(self):
        return LAYOUT.unpack_from(self.map)[5]


class Faults(CommandTest):
    def setUp(self):
        super().setUp()
        self.shim = Shim(self.path('control'))
        self.files = 0
        self.expected = collections.Counter()

    # ---- Imports ----

    def make_file(self, rows=ROWS):
        """A file that no run has seen."""
        self.files += 1
        lines = [json.dumps({'text': f'file{self.files} all w{i % 7}'}) for i in range(rows)]
        return self.write(f'{self.files}.jsonl', '\n'.join(lines) + '\n'), rows

    def count(self, rows):
        self.expected[f'file{self.files}'] += rows
        self.expected['all'] += rows
        for i in range(rows):
            self.expected[f'w{i % 7}'] += 1

    def arguments(self, path, ack):
        return ['import', path, '--module', 'word_count', '--depot', 'sentences', '--data', self.data, '--ack', ack,
                '--tasks', 4, '--groups', 1]

    def run_shimmed(self, *arguments):
        done = subprocess.run(command(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S,
                              env=self.shim.environment)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def check_counts(self):
        out = self.run_leat('pstate', 'scan', 'word_count', 'counts', '--data', self.data)
        found = {}
        for line in out.splitlines():
            row = json.loads(line)
            values = [v for k, v in row.items() if k not in ('task',)]
            found[values[0]] = values[1]
        self.assertEqual(found, dict(self.expected))

    def check_end(self, code, error, what):
        """An answer, or a sentence and an exit code; without memory maybe the sentence alone."""
        if code == -signal.SIGABRT and self.memory:
            self.assertIn('leat: out of memory', error, what)
        else:
            self.assertIn(code, (0, 1, 3, 4, 5), f'{what}: {error}')
            if code != 0:
                self.assertRegex(error, r'(?m)^leat: .', what)
        for word in ('Sanitizer', 'runtime error:', 'broken invariant'):
            self.assertNotIn(word, error, what)

    memory = False

    def life(self, what, calls, at, every, number):
        """One import with a fault; then, if it did not succeed, the same without."""
        path, rows = self.make_file()
        self.shim.set(calls, at, every, number)
        code, _, error = self.run_shimmed(*self.arguments(path, 'appended' if every else 'processed'))
        what = f'{what}, call {at}, every {every}, errno {number}'
        hits, seen = self.shim.failed(), self.shim.seen()
        self.check_end(code, error, what)
        if code != 0:
            self.run_leat(*self.arguments(path, 'processed'))
        self.count(rows)
        self.check_counts()
        return hits, seen

    def sweep(self, name, calls, number, every, points, fresh):
        """Points of a run; with a new directory each, or all in one."""
        self.new_directory()
        if not fresh:
            self.life(name, calls, 0, 0, 0)
        _, seen = self.life(name, calls, 0, 0, 0)
        points = seen if LONG else min(points, seen)
        hits = 0
        for i in range(points):
            if fresh:
                self.new_directory()
            hits += self.life(name, calls, 1 + i * seen // points, every, number)[0] > 0
        print(f'{name}: {seen} calls in a run, {points} lives, {hits} of them hit (errno {number}, every {every}'
              f'{", new directories" if fresh else ""})', flush=True)
        self.assertGreater(hits, 0)

    def skip(self, why):
        print(f'{self.id()} is skipped: {why}', flush=True)
        self.skipTest(why)

    def new_directory(self):
        """Segments are preallocated: a campaign that kept all its directories would fill the disk."""
        if os.path.exists(self.data):
            shutil.rmtree(self.data)
        self.data = self.path(f'data{self.files}')
        self.expected.clear()

    def all_files(self, names, number, every, points=5):
        for name in names:
            for fresh in (False, True):
                self.sweep(name, FILES[name], number, every, points, fresh and name != 'truncate')

    def test_full_disk(self):
        for every in (0, 1):
            self.all_files(('open', 'write', 'truncate', 'allocate'), errno.ENOSPC, every)

    def test_broken_disk(self):
        for every in (0, 1):
            self.all_files(('open', 'write', 'sync', 'allocate'), errno.EIO, every)

    def test_failing_map(self):
        for every in (0, 1):
            self.all_files(('mmap',), errno.ENOMEM, every)

    def test_interrupted(self):
        self.all_files(('open', 'write', 'sync', 'allocate'), errno.EINTR, 0)
        self.all_files(('write',), errno.EINTR, 2)

    def test_short_writes(self):
        self.all_files(('write',), SHORT, 0)

    # ---- Reading ----

    def test_reading(self):
        """Whatever fails while a directory is opened and read, the answer is right or there is none."""
        self.life('first', WRITE, 0, 0, 0)
        scan = ['pstate', 'scan', 'word_count', 'counts', '--data', self.data]
        right = sorted(self.run_leat(*scan).splitlines())
        for name, calls in FILES.items():
            self.shim.set(calls)
            code, out, error = self.run_shimmed(*scan)
            self.assertEqual((code, sorted(out.splitlines())), (0, right), error)
            seen = self.shim.seen()
            points = seen if LONG else min(10, seen)
            for i in range(points):
                at = 1 + i * seen // points
                self.shim.set(calls, at, 0, errno.EIO)
                code, out, error = self.run_shimmed(*scan)
                self.check_end(code, error, f'{name}, call {at}')
                if code == 0:
                    self.assertEqual(sorted(out.splitlines()), right, f'{name}, call {at}')
            print(f'reading, {name}: {seen} calls in a run, {points} lives', flush=True)
        self.check_counts()

    # ---- Repaired while it runs ----

    def wait_until(self, process, path, text):
        """Until standard error has a text. False: the process ended before."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            ended = process.poll() is not None
            with open(path, encoding='utf-8') as f:
                if text in f.read():
                    return True
            if ended:
                return False
            self.assertLess(time.monotonic(), deadline, f'no "{text}"')
            time.sleep(0.01)

    def start(self, *arguments, env=None):
        log = self.path('stderr')
        with open(log, 'wb') as f:
            return subprocess.Popen(command(arguments), stdout=subprocess.DEVNULL, stderr=f, env=env), log

    def repaired(self, under, calls, at):
        """True: the process waited for space, and went on when there was some."""
        path, rows = self.make_file(30000)
        self.shim.set(calls, at, 1, errno.ENOSPC, under)
        process, log = self.start(*self.arguments(path, 'processed'), env=self.shim.environment)
        waited = self.wait_until(process, log, 'waits for space')
        self.shim.set(0)
        code = process.wait(timeout=PATIENCE_S)
        with open(log, encoding='utf-8') as f:
            error = f.read()
        self.check_end(code, error, under)
        if code == 0 and waited:
            self.assertIn('has space again', error)
        if code != 0:
            self.assertIn('MDB_PANIC', error)
            self.run_leat(*self.arguments(path, 'processed'))
        self.count(rows)
        self.check_counts()
        return waited and code == 0

    def test_repaired_while_it_runs(self):
        """A view whose very meta page found no space cannot wait; among some runs there are others."""
        for under, calls in (('/view/data.mdb', WRITE), ('/journal/', WRITE)):
            self.new_directory()
            self.life('first', WRITE, 0, 0, 0)
            waited = [self.repaired(under, calls, at) for at in range(5, 11)]
            print(f'{under}: {sum(waited)} of {len(waited)} runs waited', flush=True)
            self.assertIn(True, waited)

    # ---- A disk that is full indeed ----

    def mount(self, mib):
        """A small disk of its own; None: not allowed here."""
        disk = self.path('disk')
        os.mkdir(disk)
        if os.geteuid() != 0:
            return None
        done = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={mib}m', 'tmpfs', disk], stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            return None
        self.addCleanup(subprocess.run, ['umount', disk], check=True)
        return disk

    def fill(self, path):
        """Take all space that is left."""
        with open(path, 'wb', buffering=0) as f:
            for size in (1 << 20, 4096):
                try:
                    while f.write(b'x' * size) > 0:
                        pass
                except OSError as e:
                    self.assertEqual(e.errno, errno.ENOSPC)

    def test_small_disk(self):
        """Journal and depots each take a segment of 64 MiB; the rest is for the view."""
        disk = self.mount(160)
        if disk is None:
            print('no small disk can be mounted here: the shim refuses space instead', flush=True)
            self.small_disk(self.path('data'), lambda: self.shim.set(WRITE | ALLOCATE, 1, 1, errno.ENOSPC, '/word_count/'),
                            lambda: self.shim.set(0))
            return
        ballast = os.path.join(disk, 'ballast')
        self.small_disk(os.path.join(disk, 'data'), lambda: self.fill(ballast), lambda: os.remove(ballast))

    def small_disk(self, data, fill, empty):
        self.data = data
        self.life('room', WRITE, 0, 0, 0)
        self.life('room', WRITE, 0, 0, 0)
        path, rows = self.make_file(30000)
        self.shim.set(0)
        fill()
        code, _, error = self.run_shimmed(*self.arguments(path, 'processed'))
        self.assertIn(code, (3, 5), error)
        self.assertRegex(error, r'(?m)^leat: .*(No space left on device|disk is full|free space)')
        empty()
        self.check_counts()
        self.run_leat(*self.arguments(path, 'processed'))
        self.count(rows)
        self.check_counts()

    def test_mark(self):
        """Less free space than wished: nothing is appended, and what is there can be read."""
        self.life('first', WRITE, 0, 0, 0)
        path, rows = self.make_file()
        self.run_leat(*self.arguments(path, 'appended'), '--disk-full', 1 << 40, code=5, says='free space is too little(.|\n)*the disk is full')
        row = json.dumps({'text': 'refused'})
        self.run_leat('depot', 'append', 'word_count', 'sentences', row, '--data', self.data, '--disk-full', 1 << 40, code=5, says='disk_full')
        self.check_counts()
        self.run_leat(*self.arguments(path, 'processed'), '--disk-full', 1)
        self.count(rows)
        self.check_counts()

    def test_a_full_disk_can_be_read(self):
        disk = self.mount(160)
        if disk is None:
            self.skip('no small disk can be mounted here')
        self.data = os.path.join(disk, 'data')
        for _ in range(2):
            self.life('room', WRITE, 0, 0, 0)
        self.fill(os.path.join(disk, 'ballast'))
        self.check_counts()
        self.run_leat('depot', 'tail', 'word_count', 'sentences', '--data', self.data)


class Memory(Faults):
    """No memory for the n-th call, in opening, loading and appending."""
    memory = True

    def setUp(self):
        super().setUp()
        with open(command([])[0], 'rb') as f:
            if b'__gcov_exit' in f.read():
                self.skip('what gcov allocates at the end of a run it does not check')

    def test_memory(self):
        self.shim.set(MALLOC)
        self.run_shimmed('version')
        if self.shim.seen() == 0:
            self.skip('a sanitizer has its own malloc here')
        for fresh in (False, True):
            for every in (0, 1):
                self.sweep('malloc', MALLOC, errno.ENOMEM, every, 25, fresh)

    def test_memory_for_reading(self):
        self.life('first', WRITE, 0, 0, 0)
        scan = ['pstate', 'scan', 'word_count', 'counts', '--data', self.data]
        right = sorted(self.run_leat(*scan).splitlines())
        self.shim.set(MALLOC)
        self.run_shimmed(*scan)
        seen = self.shim.seen()
        if seen == 0:
            self.skip('a sanitizer has its own malloc here')
        points = seen if LONG else min(25, seen)
        for i in range(points):
            self.shim.set(MALLOC, 1 + i * seen // points, 0, errno.ENOMEM)
            code, out, error = self.run_shimmed(*scan)
            self.check_end(code, error, f'call {1 + i * seen // points}')
            if code == 0:
                self.assertEqual(sorted(out.splitlines()), right)
        self.check_counts()


for name in [n for n in vars(Faults) if n.startswith('test_')]:
    setattr(Memory, name, None)

if __name__ == '__main__':
    SHIM = os.path.abspath(sys.argv.pop(2))
    command_run.main()
