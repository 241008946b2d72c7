# SPDX-License-Identifier: Apache-2.0
"""leat trace: what a record caused, against what is known to have happened.
usage: command_trace.py LEAT [TEST ...]"""
import datetime
import json
import os
import shutil
import struct
import time

import command_run
from command_run import CommandTest, crc32c


class Trace(CommandTest):
    def transfer(self, *rows, depot='transfers'):
        self.append(*rows, depot=depot, module='bank_transfer', more=('--ack', 'processed', '--groups', '2'))

    def trace(self, module, depot, partition, offset, *more, **how):
        events = self.rows('trace', module, depot, partition, offset, '--data', self.data, *more, **how)
        for e in events:
            self.assertEqual(list(e), ['kind', 'depth', 'group', 'turn', 'time_us', 'shared', 'what', 'value'])
        return events

    def kinds(self, events, kind):
        return [e for e in events if e['kind'] == kind]

    def records(self, depot, module='bank_transfer'):
        return self.rows('depot', 'tail', module, depot, '--data', self.data, '-n', '1000')

    def two_groups(self):
        """Accounts of which the first pays and the others live in the other group, by their tasks."""
        tasks = {}
        for i in range(20):
            self.transfer({'account': f'a{i}', 'amount': 100}, depot='deposits')
        for r in self.records('deposits'):
            tasks[r['row']['account']] = r['partition']
        return 'a0', [a for a in tasks if tasks[a] % 2 != tasks['a0'] % 2]

    def test_one_record_through_two_groups(self):
        payer, others = self.two_groups()
        self.transfer({'from': payer, 'to': others[0], 'amount': 7, 'id': 'x'})
        record = self.records('transfers')[0]
        events = self.trace('bank_transfer', 'transfers', record['partition'], record['offset'])
        turns, rows, operations = (self.kinds(events, k) for k in ('turn', 'row', 'operation'))
        self.assertEqual((len(turns), len(rows), len(events)), (2, 1, 4 + len(operations)))
        self.assertNotIn(True, [e['shared'] for e in events])
        self.assertEqual(events[0]['value'], {'from': payer, 'to': others[0], 'amount': 7, 'id': 'x'})
        done = [e for e in operations if isinstance(e['value'], dict) and 'done' in e['value']]
        self.assertEqual(done[0]['value']['done'], True)
        self.assertRegex(done[0]['what'], 'put task \\d+, PState transfers.*, key "x"')
        self.assertEqual([e['value'] for e in operations if 'PState balances' in e['what']], [93, 107])
        self.assertEqual(rows[0]['value'], {'account': others[0], 'amount': 7})
        self.assertIn('to move.credit on task', rows[0]['what'])
        self.assertEqual([e['depth'] for e in turns + operations[-1:]], [0, 1, 2])
        self.assertNotEqual(turns[0]['group'], turns[1]['group'])
        text = self.run_leat('trace', 'bank_transfer', 'transfers', record['partition'], record['offset'], '--data', self.data,
                             '--format', 'table')
        self.assertEqual(len(text.splitlines()), len(events))
        at = [datetime.datetime.fromtimestamp(e['time_us'] // 1000 / 1000, datetime.timezone.utc) for e in (events[0], turns[1])]
        at = [t.strftime('%Y-%m-%d %H:%M:%S.%f')[:-3] + 'Z' for t in at]
        self.assertIn(f'  record at {at[0]}: depot transfers, partition ', text)
        self.assertIn(f'group {turns[1]["group"]}, turn {turns[1]["turn"]} at {at[1]}: read 0 records', text)
        self.assertEqual({e['time_us'] for e in operations + rows}, {e['time_us'] for e in turns})
        self.assertEqual(events[0]['time_us'], round(record['time'] * 1e6))
        self.assertLess(abs(events[0]['time_us'] / 1e6 - time.time()), 600)
        self.assertLessEqual(events[0]['time_us'], turns[0]['time_us'])

    def test_one_of_many(self):
        payer, others = self.two_groups()
        sent = [{'from': payer, 'to': self.random.choice(others), 'amount': 1 + i % 3, 'id': f'i{i}'} for i in range(60)]
        self.transfer(*sent)
        for r in self.records('transfers'):
            if r['row']['amount'] > 1:
                continue
            events = self.trace('bank_transfer', 'transfers', r['partition'], r['offset'], '--limit', 1000)
            done = [e for e in self.kinds(events, 'operation') if f'"{r["row"]["id"]}"' in e['what']][0]['value']['done']
            rows = [e['value'] for e in self.kinds(events, 'row')]
            self.assertEqual(rows, [{'account': r['row']['to'], 'amount': 1}] if done else [])

    def test_background(self):
        """Vectors one by one, until a posting is split in the background: from the row that waits to the postings it becomes."""
        options = ('--set', 'dims=1', '--set', 'metric=l2', '--set', 'target=8', '--set', 'split=16', '--set', 'merge=4', '--groups', '2')
        begun = []
        for i in range(20):
            file = self.write(f'{i}.jsonl', json.dumps({'id': f'v{i}', 'vec': [i % 2 * 100 + i]}) + '\n')
            self.run_leat('import', file, '--module', 'ivf', '--depot', 'vectors', '--data', self.data, '--quiet', '--ack', 'idle', *options)
        for r in self.records('vectors', 'ivf'):
            events = self.trace('ivf', 'vectors', r['partition'], r['offset'], '--limit', 1000)
            self.assertEqual(self.kinds(events, 'waits'), [])
            if [e for e in self.kinds(events, 'operation') if 'PState background' in e['what']]:
                begun.append(events)
        self.assertGreater(len(begun), 0)
        for events in begun:
            operations = self.kinds(events, 'operation')
            def key_of(e):
                return e['group'], int(e['what'].split('key ')[1])
            put, deleted = (sorted((e for e in operations if e['what'].startswith(what) and 'PState background' in e['what']), key=key_of)
                            for what in ('put', 'delete'))
            self.assertEqual([key_of(e) for e in put], [key_of(e) for e in deleted])
            self.assertLessEqual({e['value']['node'] for e in put}, {'upkeep', 'tidy'})
            for asked, taken in zip(put, deleted):
                self.assertLess(asked['turn'], taken['turn'])
            self.assertEqual(put[0]['depth'] + 1, deleted[0]['depth'])
        made = [e for events in begun for e in self.kinds(events, 'operation') if 'PState postings' in e['what'] and e['depth'] > 2]
        self.assertGreater(len({e['what'].split('key ')[1] for e in made}), 1)

    def test_limit(self):
        self.transfer(*[{'account': f'a{i}', 'amount': 1} for i in range(200)], depot='deposits')
        r = self.records('deposits')[0]
        few = self.trace('bank_transfer', 'deposits', r['partition'], r['offset'], '--limit', 3)
        all_ = self.trace('bank_transfer', 'deposits', r['partition'], r['offset'], '--limit', 10000)
        self.assertEqual(len(self.kinds(few, 'operation')), 3)
        self.assertEqual(len(self.kinds(all_, 'left out')), 0)
        left = int(self.kinds(few, 'left out')[0]['what'].split()[0])
        self.assertEqual(left + 3, len(self.kinds(all_, 'operation')))

    def test_dead_letters(self):
        self.transfer({'from': 'a', 'to': 'b', 'amount': -1, 'id': 'x'})
        for _ in range(50): # no acknowledgement waits for dead letters: one that the process left goes in when the next one starts
            if not self.records('dead_letters'):
                self.transfer({'account': 'c', 'amount': 1}, depot='deposits')
        r = self.records('transfers')[0]
        letters = self.kinds(self.trace('bank_transfer', 'transfers', r['partition'], r['offset']), 'dead letter')
        self.assertEqual(len(letters), 2)
        self.assertIn('moves at least 1', letters[0]['value']['reason'])
        stored = self.records('dead_letters')[0]
        self.assertEqual(letters[1]['what'], f'became dead_letters, partition {stored["partition"]}, offset {stored["offset"]}')
        back = self.trace('bank_transfer', 'dead_letters', stored['partition'], stored['offset'])
        self.assertIn('appended by turn 1 of group', back[0]['what'])

    def test_words(self):
        self.append({'text': 'x y'}, more=('--ack', 'processed', '--groups', '1'))
        r = self.records('sentences', 'word_count')[0]
        events = self.trace('word_count', 'sentences', r['partition'], r['offset'])
        self.assertEqual(sorted(e['what'].split('key ')[1] + str(e['value']) for e in self.kinds(events, 'operation')), ['"x"1', '"y"1'])

    def test_what_is_not_there(self):
        self.transfer({'account': 'a', 'amount': 1}, depot='deposits')
        name = ['trace', 'bank_transfer', 'deposits']
        self.run_leat(*name, 0, 9, '--data', self.data, code=1, says="no record at offset 9; 'leat depot tail' shows")
        self.run_leat(*name, 64, 0, '--data', self.data, code=1, says='the last one is 63')
        self.run_leat('trace', 'bank_transfer', 'nothing', 0, 0, '--data', self.data, code=1, says="no depot 'nothing'")
        self.run_leat('trace', 'lsh', 'vectors', 0, 0, '--data', self.data, code=1, says="no data of module 'lsh'")
        self.run_leat(*name, 'x', 0, '--data', self.data, code=2, says="'x' is no whole number")
        self.run_leat(*name, 0, 0, code=2, says='say where')

    def test_a_journal_that_was_trimmed(self):
        """As a trim leaves it: the first segment is gone, the next one goes on where it ended."""
        self.transfer({'account': 'a', 'amount': 1}, depot='deposits')
        r = self.records('deposits')[0]
        group = r['partition'] % 2
        journal = os.path.join(self.data, 'bank_transfer', f'group-00{group}', 'journal')
        turns = self.trace('bank_transfer', 'deposits', r['partition'], r['offset'])[1]['turn']
        first = os.path.join(journal, '0' * 16 + '.seg')
        with open(first, 'rb') as f:
            content = f.read()
        groups, at = 0, 4096
        while content[at:at + 4] == b'LGRP':
            groups, at = groups + 1, at + struct.unpack('<Q', content[at + 8:at + 16])[0]
        self.assertGreaterEqual(groups, turns)
        body = struct.pack('<IIQQQ', 1, 1, 1, groups, groups)
        self.write(os.path.join(journal, '0' * 15 + '1.seg'),
                   struct.pack('<II', 0x4745534c, crc32c(body)) + body + bytes(1 << 16))
        os.remove(first)
        events = self.trace('bank_transfer', 'deposits', r['partition'], r['offset'])
        self.assertEqual([e['kind'] for e in events], ['record', 'trimmed'])
        self.assertIn(f'begins at offset {groups} now', events[1]['what'])
        self.run_leat('doctor', '--data', self.data)

    def test_damage(self):
        """What cannot be read is no end: neither of the record's log, nor of a journal, nor of what it became."""
        for i in range(3):
            self.transfer({'from': 'a', 'to': 'b', 'amount': -i, 'id': f'x{i}'})
        for _ in range(50):
            if len(self.records('dead_letters')) < 3:
                self.transfer({'account': 'c', 'amount': 1}, depot='deposits')
        r = self.records('transfers')[0]
        for log in ('depots', 'journal'):
            path = os.path.join(self.data, 'bank_transfer', f'group-00{r["partition"] % 2}', log, '0' * 16 + '.seg')
            with open(path, 'r+b') as f:
                was = os.pread(f.fileno(), 1, 4096 + 9)
                os.pwrite(f.fileno(), bytes([was[0] ^ 1]), 4096 + 9)
                self.run_leat('trace', 'bank_transfer', 'transfers', r['partition'], r['offset'], '--data', self.data, code=5,
                              says='damaged at byte 4096')
                os.pwrite(f.fileno(), was, 4096 + 9)
        became = self.kinds(self.trace('bank_transfer', 'transfers', r['partition'], r['offset']), 'dead letter')[-1]['what']
        group = int(became.split('partition ')[1].split(',')[0]) % 2
        path = os.path.join(self.data, 'bank_transfer', f'group-00{group}', 'depots', '0' * 16 + '.seg')
        with open(path, 'r+b') as f:
            at = f.read().index(b'moves at least 1')
            os.pwrite(f.fileno(), b'M', at)
        self.run_leat('trace', 'bank_transfer', 'transfers', r['partition'], r['offset'], '--data', self.data, code=5, says='is damaged')

    def test_a_record_that_nobody_read(self):
        self.transfer({'account': 'a', 'amount': 1}, depot='deposits')
        r = self.records('deposits')[0]
        shutil.rmtree(os.path.join(self.data, 'bank_transfer', f'group-00{r["partition"] % 2}', 'journal'))
        os.mkdir(os.path.join(self.data, 'bank_transfer', f'group-00{r["partition"] % 2}', 'journal'))
        events = self.trace('bank_transfer', 'deposits', r['partition'], r['offset'])
        self.assertEqual([e['kind'] for e in events], ['record', 'waits'])


if __name__ == '__main__':
    command_run.main()
