# SPDX-License-Identifier: Apache-2.0
"""leat backup and restore: at rest, beside an import that goes on, and when told wrongly.
usage: command_backup.py LEAT [TEST ...]"""
import json
import os
import re
import shutil
import subprocess
import time

import command_run
from command_run import CommandTest, command


class Backup(CommandTest):
    def setUp(self):
        super().setUp()
        self.to, self.back, self.bytes = self.path('backups'), self.path('back'), {}

    def backup(self, *more):
        (row,) = self.rows('backup', self.to, '--data', self.data, *more)
        self.assertEqual(list(row), ['backup', 'bytes', 'seconds'])
        self.assertRegex(row['backup'], r'^\d{8}T\d{6}Z(-\d{3})?$')
        self.bytes[row['backup']] = row['bytes']
        return row['backup']

    def restored(self, *more):
        self.run_leat('restore', self.to, '--data', self.back, *more, says='restored and checked')
        there, self.data = self.data, self.back
        counts = self.counts()
        self.data = there
        subprocess.run(['rm', '-r', self.back], check=True)
        return counts

    def test_backups_are_listed_kept_and_restored(self):
        names = []
        for i in range(4):
            self.append({'text': f'a b{i}'})
            names.append(self.backup('--most', '3'))
        listed = self.rows('backup', self.to, '--list')
        self.assertEqual([row['backup'] for row in listed], names[1:])
        for row in listed:
            self.assertEqual(list(row), ['backup', 'time', 'bytes'])
            self.assertEqual(time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(row['time'])), row['backup'][:16])
            self.assertEqual(row['bytes'], self.bytes[row['backup']])
        shown = self.run_leat('backup', self.to, '--list', '--format', 'table').splitlines()
        date = time.strftime('%Y-%m-%d %H:%M:%S.000Z', time.gmtime(listed[0]['time']))
        self.assertEqual(re.split(' {2,}', shown[1]), [names[1], date, str(listed[0]['bytes'])])
        names.append(self.backup('--most', '0', '--rate', '0'))
        self.assertEqual([row['backup'] for row in self.rows('backup', self.to, '--list')], names[1:])
        manifest = os.path.join(self.to, names.pop(), 'MANIFEST')
        os.truncate(manifest, os.path.getsize(manifest) // 2)
        self.assertEqual(self.rows('backup', self.to, '--list')[-1]['bytes'], None)
        self.assertIn('damaged', self.run_leat('backup', self.to, '--list', '--format', 'table').splitlines()[-1])
        shutil.rmtree(os.path.dirname(manifest))
        self.assertEqual(self.restored(), {'a': 4, 'b0': 1, 'b1': 1, 'b2': 1, 'b3': 1})
        self.assertEqual(self.restored('--name', names[1]), {'a': 2, 'b0': 1, 'b1': 1})
        self.run_leat('restore', self.to, '--data', self.back, '--name', names[0], code=1, says='no backup')

    def test_an_import_goes_on_meanwhile(self):
        """What is restored is the beginning of the file, each row once, and the import can be taken up from there."""
        rows, file = 200000, self.path('words.jsonl')
        with open(file, 'w') as f:
            f.writelines('{"text": "all w%d"}\n' % (i % 1000) for i in range(rows))
        arguments = ['import', file, '--module', 'word_count', '--depot', 'sentences', '--groups', '2']
        running = subprocess.Popen(command(arguments + ['--data', self.data, '--quiet']), stdout=subprocess.DEVNULL)
        while not os.path.exists(os.path.join(self.data, 'word_count', 'module.streams')):
            self.assertIsNone(running.poll())
        names = []
        while running.poll() is None:
            names.append(self.backup())
        self.assertEqual(running.returncode, 0)
        for name in names[:3] + names[-1:]:
            self.run_leat('restore', self.to, '--data', self.back, '--name', name)
            self.run_leat(*arguments, '--data', self.back, '--ack', 'processed', '--quiet')
            there, self.data = self.data, self.back
            self.assertEqual(self.counts(), {'all': rows} | {f'w{i}': rows // 1000 for i in range(1000)})
            self.data = there
            subprocess.run(['rm', '-r', self.back], check=True)

    def test_damage_is_not_copied(self):
        """It would take the place of what is whole, as the oldest go."""
        # Processed, so that the journal has a group of each: damage to its last one is a torn end.
        for texts in [f'a{i}' for i in range(200)], ['b']:
            self.append(*[{'text': t} for t in texts], more=('--groups', '1', '--ack', 'processed'))
        name, group = self.backup('--most', '1'), os.path.join(self.data, 'word_count', 'group-000')
        for log in ('depots', 'journal'):
            with open(os.path.join(group, log, '0' * 16 + '.seg'), 'r+b') as f:
                was = os.pread(f.fileno(), 1, 4096 + 9)
                os.pwrite(f.fileno(), bytes([was[0] ^ 1]), 4096 + 9)
                self.run_leat('backup', self.to, '--data', self.data, '--most', '1', code=5, says="damaged at byte 4096.*leat doctor")
                os.pwrite(f.fileno(), was, 4096 + 9)
                end = 4096
                while os.pread(f.fileno(), 4, end) == b'LGRP':
                    end += int.from_bytes(os.pread(f.fileno(), 8, end + 8), 'little')
                all_ = os.pread(f.fileno(), end, 0)
                os.pwrite(f.fileno(), bytes(end - 4096), 4096)
                self.run_leat('backup', self.to, '--data', self.data, '--most', '1', code=5, says='leat doctor')
                if log == 'depots':
                    self.run_leat('rebuild', 'word_count', '--data', self.data, code=5, says='the end of its depots is lost')
                os.pwrite(f.fileno(), bytes(4096 - 8), 8)
                os.pwrite(f.fileno(), all_[4096:], 4096)
                self.run_leat('backup', self.to, '--data', self.data, '--most', '1', code=5, says='damaged at byte 0')
                if log == 'depots':
                    self.run_leat('rebuild', 'word_count', '--data', self.data, code=5, says='damaged at byte 0')
                os.pwrite(f.fileno(), all_, 0)
        self.assertEqual([row['backup'] for row in self.rows('backup', self.to, '--list')], [name])
        self.run_leat('backup', self.to, '--data', self.data)

    def test_what_is_wrong_is_said(self):
        self.run_leat('backup', self.to, '--data', self.data, code=3, says='no directory')
        self.run_leat('rebuild', 'word_count', '--data', self.data, code=3, says='no directory')
        self.run_leat('depot', 'consumer', 'list', 'word_count', 'sentences', '--data', self.data, code=3, says='no directory')
        self.append({'text': 'a'})
        files = sorted(os.listdir(os.path.join(self.data, 'word_count')))
        self.run_leat('backup', self.to, code=2, says='--data DIR')
        self.run_leat('restore', self.to, '--data', self.back, code=1, says='no whole backup')
        for within in ('', 'word_count', 'word_count/to/be/made', '../' + os.path.basename(self.data)):
            self.run_leat('backup', os.path.join(self.data, within), '--data', self.data, code=4, says='in the data directory itself')
        self.assertEqual(sorted(os.listdir(os.path.join(self.data, 'word_count'))), files)
        name = self.backup()
        self.run_leat('restore', self.to, '--data', self.data, code=4, says='not empty')
        self.run_leat('backup', self.to, '--verify', '--rate', '100', says='every byte is as it was copied')
        self.run_leat('backup', self.to, '--verify', '--name', '20000101T000000Z', code=1, says='no backup')
        self.run_leat('backup', self.to, '--data', self.data, '--name', 'mine', code=2, says='named by its time')
        manifest = os.path.join(self.to, name, 'MANIFEST')
        with open(manifest, 'r+') as f:
            text = f.read()
            f.seek(0)
            f.write(re.sub('module.ini', 'modulf.ini', text))
        self.run_leat('restore', self.to, '--data', self.back, code=5, says='does not check out')
        self.run_leat('backup', self.to, '--verify', code=5, says='does not check out')
        self.assertFalse(os.path.exists(self.back))


class Rebuild(CommandTest):
    def tree(self):
        return sorted(os.path.join(p, n) for p, _, names in os.walk(self.data) for n in names if n != 'hold')

    def test_views_come_again_with_other_options_and_groups(self):
        rows = [{'id': f'v{i}', 'vec': [i % 7 + 1, i % 5, i % 3, 1], 'body': {'n': i}} for i in range(60)]
        options = ('--set', 'dims=4', '--set', 'bits=4', '--set', 'tables=2', '--ack', 'processed', '--groups', '2')
        self.append(*rows, depot='vectors', module='lsh', more=options)
        ask = ('query', 'invoke', 'lsh', 'exact', json.dumps({'vec': [1, 2, 3, 4]}), '--data', self.data)
        before = self.rows(*ask)
        self.run_leat('rebuild', 'lsh', '--data', self.data, '--set', 'bits=6', '--set', 'tables=3', '--groups', '4',
                      says='rebuilt from 60 records in')
        self.assertEqual(self.rows(*ask), before)
        with open(os.path.join(self.data, 'lsh', 'module.ini')) as f:
            text = f.read()
        for line in ('bits = 6', 'tables = 3', 'dims = 4', 'groups = 4', 'tasks = 64'):
            self.assertIn(line, text)
        self.append({'id': 'v0', 'vec': None, 'body': None}, depot='vectors', module='lsh', more=('--ack', 'processed'))
        self.assertNotIn('v0', [r['id'] for r in self.rows(*ask)])

    def test_an_error_leaves_all_as_it_was(self):
        self.append({'id': 'a', 'vec': [1, 2], 'body': None}, depot='vectors', module='lsh', more=('--set', 'dims=2'))
        before = self.tree()
        self.run_leat('rebuild', 'lsh', '--data', self.data, '--set', 'dims=3', code=4, says='rows of another form')
        self.run_leat('rebuild', 'lsh', '--data', self.data, '--set', 'bits=99', code=4, says='bits')
        self.run_leat('rebuild', 'lsh', '--data', self.data, '--groups', '3', code=4, says='power of two')
        self.run_leat('rebuild', 'word_count', '--data', self.data, code=1, says='no data of module')
        self.run_leat('rebuild', 'nothing', '--data', self.data, code=1, says='no module')
        self.assertEqual(self.tree(), before)


if __name__ == '__main__':
    command_run.main()
