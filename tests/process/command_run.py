# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command share: running it, and files to import. A sanitizer's report is a failure everywhere."""
import glob
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

LEAT = None
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SEED = int(os.environ.get('LEAT_SEED', random.SystemRandom().randrange(1 << 32)))


def main():
    global LEAT
    LEAT = os.path.abspath(sys.argv.pop(1))
    print(f'seed {SEED}', flush=True)
    unittest.main(module='__main__')


def command(arguments):
    return [LEAT] + [str(a) for a in arguments]


class CommandTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='leat-command-')
        self.addCleanup(shutil.rmtree, self.folder)
        self.data = self.path('data')
        self.random = random.Random(SEED)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content):
        path = self.path(name)
        with open(path, 'wb') as f:
            f.write(content.encode() if isinstance(content, str) else content)
        return path

    def run_leat(self, *arguments, code=0, says=None, stdin=b'', stdout=subprocess.PIPE):
        """Standard output. says: a pattern that standard error matches."""
        done = subprocess.run(command(arguments), input=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=120)
        error = done.stderr.decode()
        self.assertEqual(done.returncode, code, f'{arguments}: {error}')
        self.check_error(error, code)
        if says is not None:
            self.assertRegex(error, says)
        return done.stdout.decode() if done.stdout is not None else ''

    def wait_for_file(self, process, *pattern):
        path, end = os.path.join(self.folder, *pattern), time.monotonic() + 60
        while not glob.glob(path) and process.poll() is None and time.monotonic() < end:
            pass
        self.assertTrue(glob.glob(path), process.poll())

    def end_while_there(self, name, number, *arguments, meanwhile=None, **more):
        """Signal it as soon as it has made a directory with such a name, which it removes. It ends by the signal."""
        with subprocess.Popen(command(arguments), cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more) as process:
            self.wait_for_file(process, name + '*', '*')
            process.send_signal(number)
            if meanwhile is not None:
                meanwhile(process)
            out, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, -number, (out, error))
        self.assertEqual(glob.glob(os.path.join(self.folder, name + '*')), [])
        self.check_error(error.decode(), 0)

    def check_error(self, error, code):
        for word in ('Sanitizer', 'runtime error:', 'assert'):
            self.assertNotIn(word, error)
        if code != 0:
            self.assertRegex(error, r'(?m)^(leat: |stopped)')

    def rows(self, *arguments, **more):
        """Standard output as JSON lines, strictly."""
        def refuse(word):
            raise ValueError(word)
        return [json.loads(line, parse_constant=refuse) for line in self.run_leat(*arguments, **more).splitlines()]

    def append(self, *rows, depot='sentences', module='word_count', more=()):
        lines = ''.join(json.dumps(row) + '\n' for row in rows)
        self.run_leat('depot', 'append', module, depot, '--data', self.data, '--quiet', *more, stdin=lines.encode())

    def counts(self):
        return {r['key']: r['value'] for r in self.rows('pstate', 'scan', 'word_count', 'counts', '--data', self.data)}

    def text(self, name):
        """A file of the sources."""
        with open(os.path.join(ROOT, name)) as f:
            return f.read()

    def shell(self, line, place):
        """Lines of standard output of a command from a text, run in the root folder of the sources. place: its data directory."""
        line = line.replace('build/leat', LEAT).replace(place, self.data)
        done = subprocess.run(['bash', '-euo', 'pipefail', '-c', line], cwd=ROOT, capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 0, f'{line}: {done.stderr.decode()}')
        self.check_error(done.stderr.decode(), 0)
        return done.stdout.decode().splitlines()

    def check_shown(self, name, heading, place, least):
        """The commands of a section, each with its answers behind it, as they stand there."""
        section = self.text(name).split(f'## {heading}\n')[1].split('\n## ')[0]
        lines = re.findall(r'^    (.+)$', section, re.MULTILINE)
        answers = []
        for line in lines:
            if line.startswith('build/leat'):
                self.assertEqual(answers, [])
                answers = self.shell(line, place)
                continue
            shown, got = json.loads(line), json.loads(answers.pop(0))
            if 'distance' in shown:  # a sum of floats
                self.assertAlmostEqual(shown.pop('distance'), got.pop('distance'), delta=1e-5)
            self.assertEqual(shown, got)
        self.assertEqual(answers, [])
        self.assertGreater(len(lines), least)


def crc32c(data):
    """As logs have it."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def npy(rows, half=False, version=1, header=None, type=None):
    """type: <f4, <f2 (half), |u1 or |i1."""
    type = type or ('<f2' if half else '<f4')
    text = header or "{'descr': '%s', 'fortran_order': False, 'shape': (%d, %d), }" % (type, len(rows), len(rows[0]))
    head = 10 if version == 1 else 12
    text += ' ' * (-(head + len(text) + 1) % 64) + '\n'
    size = struct.pack('<H' if version == 1 else '<I', len(text))
    body = b''.join(struct.pack('<%d%s' % (len(r), {'<f4': 'f', '<f2': 'e', '|u1': 'B', '|i1': 'b'}[type]), *r) for r in rows)
    return b'\x93NUMPY' + bytes([version, 0]) + size + text.encode() + body


def fvecs(rows):
    return b''.join(struct.pack('<i%df' % len(r), len(r), *r) for r in rows)


def bvecs(rows):
    return b''.join(struct.pack('<i%dB' % len(r), len(r), *r) for r in rows)


def idx(rows):
    return struct.pack('>BBBBII', 0, 0, 8, 2, len(rows), len(rows[0])) + bytes(x for row in rows for x in row)
