# SPDX-License-Identifier: Apache-2.0
"""leat top: once, and on a terminal.
usage: command_top.py LEAT [TEST ...]"""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import command_run
from command_run import CommandTest

DEADLINE = 60


class Terminal:
    """A command on a terminal of 80 by 24."""

    def __init__(self, arguments, **more):
        self.main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.main)
        self.process = subprocess.Popen(command_run.command(arguments), stdin=other, stdout=other, stderr=subprocess.PIPE, **more)
        os.close(other)
        self.seen = b''

    def wait_for(self, what):
        end = time.monotonic() + DEADLINE
        while what not in self.seen:
            if time.monotonic() > end or not select.select([self.main], [], [], 1)[0] and self.process.poll() is not None:
                raise AssertionError(f'{what} is not in {self.seen}')
            try:
                self.seen += os.read(self.main, 65536)
            except OSError:
                break

    def end(self):
        code = self.process.wait(timeout=DEADLINE)
        error = self.process.stderr.read().decode()
        self.process.stderr.close()
        return code, error


class Top(CommandTest):
    def setUp(self):
        super().setUp()
        self.append(*[{'text': f'word{i % 37} a'} for i in range(300)], more=('--ack', 'processed', '--groups', '2'))

    def test_once(self):
        text = self.run_leat('top', '--data', self.data, '--once', '--format', 'table')
        for what in ('leat top ', 'disk: ', 'word_count', 'group 1', 'sentences', '300'):
            self.assertIn(what, text)
        self.assertNotIn('\x1b', text)
        self.assertLessEqual(max(len(line) for line in text.splitlines()), 80)
        rows = self.rows('top', '--data', self.data)
        self.assertEqual([r['rows'] for r in rows if r['object'] == 'depot sentences'], [300])

    def test_many_figures(self):
        """stats and top read the same, and as much."""
        path = os.path.join(self.data, 'stats.jsonl')
        with open(path) as f:
            first, *rest = f.read().splitlines(keepends=True)
        more = ''.join(rest)
        with open(path, 'a') as f:
            f.write(more * ((20 << 20) // len(more)))
        self.assertGreater(len(self.rows('stats', '--data', self.data)), len(rest) * 100)
        os.truncate(path, (64 << 20) + 1)
        for call in ['stats'], ['top', '--once']:
            self.run_leat(*call, '--data', self.data, code=3, says='stats.jsonl. has 67108865 bytes')

    def test_mistakes(self):
        self.run_leat('top', code=2, says='say where')
        self.run_leat('top', '--data', self.path('nothing'), code=3, says='no figures')

    def test_rates_while_it_runs(self):
        """Imports one after another, however fast they are, until one was seen at work."""
        lines = ''.join(json.dumps({'text': f'w{i % 1000} x{i % 77} ' * 20}) + '\n' for i in range(200000))
        process, most, number, deadline = None, 0, 0, time.monotonic() + 100
        while most == 0 and time.monotonic() < deadline:
            if process is None or process.poll() is not None:
                number += 1
                big = self.write('big.jsonl', json.dumps({'text': f'file {number}'}) + '\n' + lines)
                process = subprocess.Popen(command_run.command(
                    ['import', big, '--module', 'word_count', '--depot', 'sentences', '--data', self.data]), stderr=subprocess.DEVNULL)
            rows = self.rows('top', '--data', self.data, '--once')
            most = max([r['appended_per_s'] or 0 for r in rows if 'appended_per_s' in r])
        process.kill()
        process.wait()
        self.assertGreater(most, 0)

    def on_terminal(self, end, **more):
        t = Terminal(['top', '--data', self.data], **more)
        self.addCleanup(os.close, t.main)
        t.wait_for(b'count_words') if self.ran_nodes() else t.wait_for(b'sentences')
        self.assertIn(b'\x1b[?1049h', t.seen)
        end(t)
        self.assertEqual(t.end(), (0, ''))
        t.wait_for(b'\x1b[?1049l')
        self.assertEqual(termios.tcgetattr(t.main), t.before)

    def ran_nodes(self):
        return any('run_p50_s' in r for r in self.rows('top', '--data', self.data, '--once'))

    def test_q_ends_it(self):
        self.on_terminal(lambda t: os.write(t.main, b'q'))

    def test_a_signal_ends_it(self):
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            self.on_terminal(lambda t: t.process.send_signal(number))

    def test_an_ignored_signal_does_not(self):
        def end(t):
            for number in (signal.SIGHUP, signal.SIGINT):
                t.process.send_signal(number)
                for _ in range(3):  # frames, of which the first may be an earlier one
                    t.seen = b''
                    t.wait_for(b'sentences')
                self.assertIsNone(t.process.poll())
            os.write(t.main, b'q')
        self.on_terminal(end, preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)])


if __name__ == '__main__':
    command_run.main()
