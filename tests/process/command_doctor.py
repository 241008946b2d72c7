# SPDX-License-Identifier: Apache-2.0
"""leat doctor: whole directories, those of killed processes, and each kind of damage.
usage: command_doctor.py LEAT [TEST ...]"""
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import time

import command_run
from command_run import CommandTest, crc32c


CHUNK = 1 << 16


def chunks(file):
    """What a file has that is not zero. Logs allocate their files: most of one was never written, and takes long to read."""
    at, size = 0, os.fstat(file.fileno()).st_size
    while at < size:
        try:
            at = os.lseek(file.fileno(), at, os.SEEK_DATA) // CHUNK * CHUNK
        except OSError:  # nothing from here on
            return
        chunk = os.pread(file.fileno(), CHUNK, at)
        if chunk.strip(b'\0'):
            yield at, chunk
        at += CHUNK


def bytes_of(folder):
    """Every file with its size and its content."""
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(path, name), 'rb') as f:
                digest = hashlib.md5(str(os.fstat(f.fileno()).st_size).encode())
                for at, chunk in chunks(f):
                    digest.update(b'%d ' % at + chunk)
                found[os.path.relpath(os.path.join(path, name), folder)] = digest.hexdigest()
    return found


class Doctor(CommandTest):
    def setUp(self):
        super().setUp()
        self.append(*[{'text': f'word{i % 37} a leat b{i % 11}'} for i in range(300)], more=('--ack', 'processed', '--groups', '2'))

    def doctor(self, *arguments, code=0, says=None):
        before, beside = bytes_of(self.data), os.listdir(self.folder)
        rows = self.rows('doctor', *arguments, '--data', self.data, code=code, says=says)
        self.assertEqual(bytes_of(self.data), before)
        self.assertEqual(os.listdir(self.folder), beside)
        for row in rows:
            self.assertEqual(list(row), ['weight', 'where', 'what', 'advice'])
        return rows

    def file(self, *parts):
        return os.path.join(self.data, 'word_count', *parts)

    def segment(self, name, group=0):
        return self.file(f'group-00{group}', name, '0' * 16 + '.seg')

    def change(self, path, at, content):
        with open(path, 'r+b') as f:
            f.seek(at)
            f.write(content)

    def weights(self, rows):
        return [row['weight'] for row in rows]

    def expect(self, where, what, arguments=(), weight='damage'):
        rows = self.doctor(*arguments, code=5 if weight == 'damage' else 1, says=f'worst is.*{weight}')
        self.assertTrue([r for r in rows if r['weight'] == weight and where in r['where'] and what in r['what']], rows)
        return rows

    def test_a_whole_directory(self):
        rows = self.doctor()
        self.assertEqual(self.weights(rows), ['checked'])
        self.assertIn('2 groups, 4 segments', rows[0]['what'])
        self.assertIn('300 records', rows[0]['what'])
        self.assertEqual(self.doctor('word_count'), rows)
        self.assertEqual(self.run_leat('doctor', '--data', self.data, '--format', 'table')[:7], 'checked')

    def test_what_is_not_there(self):
        self.run_leat('doctor', code=2, says='say where')
        self.run_leat('doctor', '--data', self.path('nothing'), code=3, says='no directory')
        self.run_leat('doctor', 'lsh', '--data', self.data, code=1, says="no data of module 'lsh'")
        os.mkdir(self.path('empty'))
        self.run_leat('doctor', '--data', self.path('empty'), code=1, says='worst is a warning')
        self.run_leat('doctor', '--data', self.data, '--scratch', self.path('nothing'), code=5, says='--scratch')

    def test_while_it_is_open(self):
        with open(os.path.join(self.data, 'leat.lock'), 'rb') as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            rows = self.doctor()
        self.assertEqual(self.weights(rows), ['note', 'checked'])
        self.assertIn('a process has it open', rows[0]['what'])
        self.assertIn('300 records', rows[1]['what'])

    def test_after_a_kill(self):
        big = self.write('big.jsonl', ''.join(json.dumps({'text': f'w{i % 1000} x{i % 77}'}) + '\n' for i in range(100000)))
        process = subprocess.Popen(command_run.command(
            ['import', big, '--module', 'word_count', '--depot', 'sentences', '--data', self.data]), stderr=subprocess.DEVNULL)
        with open(self.segment('journal'), 'rb') as f:
            while process.poll() is None and f.read(1) in (b'', b'\0'):
                f.seek(1 << 18)
        process.kill()
        process.wait()
        rows = self.doctor()
        self.assertNotIn('damage', self.weights(rows))
        self.assertNotIn('warning', self.weights(rows))

    def signal_reader(self, number, says='', **more):
        """A doctor whose process that reads the views is signalled while it does: not each is caught. says: on its standard error."""
        process = subprocess.Popen(command_run.command(['doctor', '--data', self.data, '--format', 'jsonl']), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, **more)
        readers = ''
        while not readers and process.poll() is None:
            with open(f'/proc/{process.pid}/task/{process.pid}/children') as f:
                readers = f.read()
        for reader in readers.split():
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                while os.readlink(f'/proc/{reader}/fd/2') == os.readlink(f'/proc/{process.pid}/fd/2'):
                    pass
                os.kill(int(reader), signal.SIGSTOP)
                with open(f'/proc/{reader}/fd/2', 'w') as f:
                    f.write(says)
                os.kill(int(reader), number)
                os.kill(int(reader), signal.SIGCONT if number != signal.SIGSTOP else 0)
        return process

    def unread(self, number, says=''):
        """What is said of a view whose reader was caught."""
        what, end = '', time.monotonic() + 60
        while 'reading it ended' not in what and 'not checked' not in what:
            self.assertLess(time.monotonic(), end)
            what = self.signal_reader(number, says).communicate(timeout=60)[0].decode()
        return json.loads(what.splitlines()[0])

    def test_a_reader_that_is_killed(self):
        """By somebody, or for want of memory: that says nothing of the view."""
        for number in (signal.SIGKILL, signal.SIGABRT):
            row = self.unread(number)
            self.assertEqual(row['weight'], 'warning', row)
            self.assertIn(f'not checked: the process that read it was ended by signal {number:d}', row['what'])

    def test_a_reader_that_ends_itself(self):
        """An invariant of ours that is broken is no damage, nor is want of memory; what LMDB cannot read is."""
        row = self.unread(signal.SIGABRT, 'leat: ../a.c:7: broken invariant: x > 0\n')
        self.assertEqual(row['weight'], 'warning', row)
        self.assertRegex(row['what'], '^not checked: .*bug.*: ../a.c:7: broken invariant: x > 0$')
        self.assertIn('report it', row['advice'])
        row = self.unread(signal.SIGABRT, 'a line before\nleat: out of memory (64 bytes for a control structure)\n')
        self.assertEqual(row['weight'], 'warning', row)
        self.assertRegex(row['what'], r'^not checked: .*signal 6 \(Aborted\): out of memory \(64 bytes')
        self.assertIn('memory enough', row['advice'])
        row = self.unread(signal.SIGABRT, "mdb.c:5870: Assertion 'IS_LEAF(mp)' failed in mdb_page_search()\n")
        self.assertEqual(row['weight'], 'damage', row)
        self.assertIn('pages of data.mdb are damaged', row['what'])
        self.assertEqual(self.unread(signal.SIGSEGV)['weight'], 'damage')

    def test_stopped(self):
        """At once, however long the view in hand takes."""
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            error, end = '', time.monotonic() + 60
            while 'stopped' not in error and time.monotonic() < end:
                process = self.signal_reader(signal.SIGSTOP)
                process.send_signal(number)
                error = process.communicate(timeout=60)[1].decode()
            self.assertEqual((process.returncode, error), (5, 'stopped: not everything was looked at\n'))
            self.assertEqual(os.listdir(self.folder), ['data'])

    def test_ignored_signals_stay_ignored(self):
        """Also by the process that reads the views."""
        ignored, end = (signal.SIGHUP, signal.SIGINT), time.monotonic() + 60
        caught = False
        while not caught:
            self.assertLess(time.monotonic(), end)
            process = self.signal_reader(signal.SIGSTOP, start_new_session=True,
                                         preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in ignored])
            caught = process.poll() is None
            for number in (*ignored, signal.SIGCONT) if caught else ():
                os.killpg(process.pid, number)
            out, error = process.communicate(timeout=60)
            self.assertEqual((process.returncode, error), (0, b''), out)
            self.assertEqual(json.loads(out)['weight'], 'checked')

    def test_records(self):
        self.change(self.segment('depots'), 4200, b'X')
        self.expect('depots', 'records were lost')

    def test_a_record_before_others(self):
        self.append(*[{'text': 'more'}] * 300)
        self.change(self.segment('depots'), 4096 + 32 + 32 + 8, b'XX')
        self.expect('depots', 'later ones exist')

    def test_the_journal(self):
        self.change(self.segment('journal', 1), 4096 + 80, b'XXXX')
        self.expect('group-001/journal', '')

    def test_a_segment_is_missing(self):
        os.remove(self.segment('journal'))
        self.expect('journal', 'but the checkpoint')

    def test_a_group_is_missing(self):
        shutil.rmtree(self.file('group-001'))
        self.expect('group-001', '')

    def test_one_group_of_another_time(self):
        kept = self.path('kept')
        shutil.copytree(self.file('group-001'), kept)
        self.append(*[{'text': f'later{i}'} for i in range(200)], more=('--ack', 'processed'))
        shutil.rmtree(self.file('group-001'))
        shutil.move(kept, self.file('group-001'))
        self.expect('group-001/journal', 'has taken its outputs')

    def test_checkpoints(self):
        for name in os.listdir(self.file('group-000', 'view')):
            if name.startswith('checkpoint'):
                self.change(self.file('group-000', 'view', name), 60, b'XXXX')
        rows = self.doctor(code=5 if os.path.exists(self.file('group-000', 'view', 'checkpoint.0')) else 0)
        self.assertIn('checked', self.weights(rows))

    def test_newest_checkpoint(self):
        self.append({'text': 'again'})  # the second slot; the first is spent
        self.change(self.file('group-000', 'view', 'checkpoint.0'), 60, b'XXXX')
        rows = self.doctor(code=5)
        self.assertIn("no checkpoint is whole", rows[0]['what'])
        self.assertIn("checkpoint.0' does not check out", rows[0]['what'])

    def test_spent_checkpoint(self):
        self.append({'text': 'again'})
        self.change(self.file('group-000', 'view', 'checkpoint.1'), 0, b'XXXX')
        rows = self.doctor(code=1, says='a warning')
        self.assertIn("checkpoint.1' does not check out", rows[0]['what'])

    def test_pages_of_a_view(self):
        with open(self.file('group-000', 'view', 'data.mdb'), 'r+b') as f:
            f.seek(2 * 4096)
            f.write(bytes(self.random.randrange(256) for _ in range(os.path.getsize(f.name) - 2 * 4096)))
        self.expect('group-000/view', '')

    def test_a_value(self):
        path = self.file('group-000', 'view', 'data.mdb')
        with open(path, 'rb') as f:
            content = f.read()
        self.assertGreater(content.count(b'word1'), 0)
        at = content.find(b'word1')
        while at >= 0:  # a key of another task
            self.change(path, at - 3, b'\x0f\xff')
            at = content.find(b'word1', at + 1)
        self.expect('group-000/view', 'none of this group')

    def test_the_files_of_the_module(self):
        for name, content, what in (('module.ini', '[module]\ntasks = 63\ngroups = 2\n', 'does not check out'),
                                    ('module.fingerprint', 'tasks 64\nnonsense\n', "begins with 'nonsense'"),
                                    ('module.fingerprint', 'tasks 32\n', 'tasks here'),
                                    ('module.streams', 'stream a b\n', 'not that of a node')):
            with open(self.file(name)) as f:
                kept = f.read()
            self.write(self.file(name), content)
            self.expect('word_count', what)
            self.write(self.file(name), kept)

    def expect_missing(self, name):
        self.expect('word_count', f"{name}' is missing")
        for call in (['pstate', 'scan', 'word_count', 'counts'], ['depot', 'append', 'word_count', 'sentences', '{"text": "a"}'],
                     ['depot', 'append', 'word_count', 'sentences', '{"text": "a"}', '--groups', '4'],
                     ['trace', 'word_count', 'sentences', 0, 0], ['rebuild', 'word_count'], ['backup', self.path('to')]):
            self.run_leat(*call, '--data', self.data, code=5, says=f'{name}. is missing')
        self.assertFalse(os.path.exists(self.file(name)))

    def test_a_file_of_the_module_is_missing(self):
        for name in 'module.streams', 'module.fingerprint', 'module.ini':
            os.rename(self.file(name), self.path(name))
            self.expect_missing(name)
            os.rename(self.path(name), self.file(name))
        for name in 'module.fingerprint', 'module.ini':
            os.remove(self.file(name))
            self.expect_missing(name)

    def test_streams_and_a_group_are_missing(self):
        """No group is made anew beside others that have records."""
        os.remove(self.file('module.streams'))
        shutil.rmtree(self.file('group-000'))
        self.expect_missing('module.streams')
        self.assertFalse(os.path.exists(self.file('group-000')))

    def test_streams_of_a_first_launch_that_ended_early(self):
        """There is nothing yet that could be lost: the next launch writes them."""
        shutil.rmtree(self.data)
        nothing = self.write('nothing.jsonl', '')
        self.run_leat('import', nothing, '--module', 'word_count', '--depot', 'sentences', '--data', self.data)
        os.remove(self.file('module.streams'))
        self.assertEqual(self.weights(self.doctor()), ['checked'])
        self.append({'text': 'a'})
        self.assertTrue(os.path.exists(self.file('module.streams')))
        self.assertEqual(self.counts(), {'a': 1})

    def test_consumers(self):
        self.run_leat('depot', 'consumer', 'add', 'word_count', 'sentences', 'reader', '--data', self.data)
        self.run_leat('export', 'word_count', '--depot', 'sentences', '--consumer', 'reader', '--data', self.data)
        self.assertEqual(self.weights(self.doctor()), ['checked'])
        shutil.rmtree(self.file('group-000'))  # as if it were another directory's
        os.makedirs(self.file('group-000'))
        for name in ('depots', 'journal', 'view'):
            os.makedirs(self.file('group-000', name))
        rows = self.doctor(code=5, says='damage')
        self.assertTrue([r for r in rows if r['where'].endswith('consumers/sentences/reader') and 'but that ends at 0' in r['what']], rows)
        self.write(self.file('consumers', 'sentences', 'reader'), 'nonsense')
        self.expect('consumers/sentences/reader', '')

    def test_made_again(self):
        rows = self.doctor('--rebuild')
        self.assertEqual(self.weights(rows), ['checked'])
        self.assertIn('; 50 elements were made again and compared', rows[0]['what'])

    def test_made_again_with_another_value(self):
        """A value that fits its schema is wrong all the same."""
        path = self.file('group-000', 'view', 'data.mdb')
        with open(path, 'rb') as f:
            content = f.read()
        keys = [k for k in self.counts() if k.startswith('word') and len(k) == 6 and k.encode() in content]
        key = keys[0].encode()
        at = content.find(key)
        while at >= 0:
            self.change(path, at + len(key), b'\x63')  # the lowest byte of the count
            at = content.find(key, at + 1)
        self.assertEqual(self.weights(self.doctor()), ['checked'])
        rows = self.expect('PState counts', '1 of 50 elements differ', arguments=['--rebuild'], weight='warning')
        self.assertRegex(rows[0]['what'], f'task \\d+, key "{keys[0]}": 99, made again [89]$')

    def test_made_again_where_order_matters(self):
        account = {'depot': 'deposits', 'module': 'bank_transfer', 'more': ('--ack', 'processed', '--groups', '2')}
        self.append({'account': 'payer', 'amount': 77}, **account)
        self.append({'from': 'payer', 'to': 'other', 'amount': 70, 'id': 'x'}, **dict(account, depot='transfers'))
        self.assertEqual(self.weights(self.doctor('bank_transfer', '--rebuild')), ['checked'])
        for group in ('group-000', 'group-001'):
            path = os.path.join(self.data, 'bank_transfer', group, 'view', 'data.mdb')
            with open(path, 'rb') as f:
                content = f.read()
            at = content.find(b'payer')
            while at >= 0:
                if content[at + 5] == 7:
                    self.change(path, at + 5, b'\x08')
                at = content.find(b'payer', at + 1)
        rows = self.doctor('bank_transfer', '--rebuild')
        self.assertEqual(self.weights(rows), ['note', 'checked'])
        self.assertIn('PState balances', rows[0]['where'])
        self.assertIn('not the same each time', rows[0]['what'])

    def test_what_cannot_be_made_again(self):
        for group in (0, 1):
            for name in ('journal', 'view'):
                shutil.rmtree(self.file(f'group-00{group}', name))
                os.mkdir(self.file(f'group-00{group}', name))
        rows = self.doctor('--rebuild')
        self.assertIn('not all that was appended is processed', rows[0]['what'])

    def test_trimmed_depots(self):
        """As a trim leaves a log: the first segment is gone, the next one says how far it went."""
        path = self.segment('depots')
        with open(path, 'rb') as f:
            content = f.read(1 << 20)
        partitions, = struct.unpack('<I', content[12:16])
        offsets, groups, at = [0] * partitions, 0, (32 + 8 * partitions + 4095) // 4096 * 4096
        while content[at:at + 4] == b'LGRP':
            length, _, runs = struct.unpack('<QQI', content[at + 8:at + 28])
            run = at + 32
            for _ in range(runs):
                partition, records, first, size = struct.unpack('<IIQI', content[run:run + 20])
                offsets[partition] = first + records
                run += 32 + size
            groups, at = groups + 1, at + length
        body = struct.pack('<IIQQ', 1, partitions, 1, groups) + struct.pack(f'<{partitions}Q', *offsets)
        self.write(path.replace('0.seg', '1.seg'), struct.pack('<II', 0x4745534c, crc32c(body)) + body + bytes(1 << 16))
        os.remove(path)
        rows = self.doctor('--rebuild')
        self.assertEqual(self.weights(rows), ['note', 'checked'])
        self.assertIn('what came before was trimmed', rows[0]['what'])


if __name__ == '__main__':
    command_run.main()
