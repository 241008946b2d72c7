# SPDX-License-Identifier: Apache-2.0
"""The command leat, as a person or a script meets it: exit codes, sentences, JSON lines and tables.
usage: command.py LEAT [TEST ...]"""
import fcntl
import glob
import json
import math
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import command_run
from command_run import CommandTest

COMMANDS = ['demo', 'import', 'depot append', 'depot tail', 'depot info', 'depot consumer', 'pstate get', 'pstate scan', 'pstate info',
            'query invoke', 'export', 'module list', 'module show', 'module check', 'stats', 'top', 'doctor', 'backup', 'restore', 'rebuild', 'trace', 'bench recall', 'bench', 'version', 'completion', 'help']
WORDS = [{'text': 'a leat a b'}, {'text': 'b c'}]


class Help(CommandTest):
    def test_every_command_is_listed(self):
        listed = re.findall(r'(?m)^  (\w+(?: \w+)?)  +\w', self.run_leat('help'))
        self.assertEqual(listed, COMMANDS)
        self.assertEqual(self.run_leat('--help'), self.run_leat('help'))
        self.assertEqual(self.run_leat('-h'), self.run_leat('help'))

    def test_every_command_has_a_page(self):
        for name in COMMANDS:
            page = self.run_leat(*name.split(), '--help')
            self.assertEqual(page, self.run_leat('help', *name.split()))
            self.assertTrue(page.startswith('leat ' + name), page)
            self.assertRegex(page, r'examples:\n  leat ' + name)
            self.assertEqual(name == 'bench', '--format FORM' not in page)

    def test_every_option_of_a_page_is_taken(self):
        """An option that is known and lacks its value says so; one that is not known is refused otherwise."""
        count = 0
        for name in COMMANDS:
            page = self.run_leat('help', *name.split())
            for option, value in re.findall(r'(?m)^  (--?[a-z-]+)( [A-Z=]+)?  ', page):
                count += 1
                if value:
                    self.run_leat(*name.split(), option, code=2, says=f"option '{option}' wants a value")
                else:
                    self.run_leat(*name.split(), option + '=1', code=2, says='takes no value')
        self.assertGreater(count, 60)

    def test_examples_use_options_that_exist(self):
        for name in COMMANDS:
            page = self.run_leat('help', *name.split())
            example = page.split('examples:')[1].split('options:')[0]
            for option in re.findall(r' (--?[a-z-]+)', example):
                self.assertIn('\n  ' + option, page)

    def test_groups(self):
        for group, commands in (('depot', 4), ('pstate', 3), ('module', 3), ('query', 1)):
            for page in (self.run_leat(group, '--help'), self.run_leat('help', group)):
                self.assertEqual(len(page.splitlines()), commands)
        self.run_leat('depot', code=2, says='leat depot append')
        self.run_leat('depot', 'remove', code=2, says=r"(?s)no command 'depot remove'.*leat depot tail")

    def test_exit_codes_are_told(self):
        self.assertEqual([line[0] for line in self.run_leat('help', 'exit-codes').splitlines()], list('012345'))

    def test_version(self):
        self.assertRegex(self.run_leat('version'), r'^leat \d+\.\d+\.\d+\n$')
        self.assertEqual(self.run_leat('version'), self.run_leat('--version'))


class Usage(CommandTest):
    """Exit code 2, and nothing is made."""

    def test_mistakes(self):
        append = ['depot', 'append', 'word_count', 'sentences', '{"text": "a"}']
        for arguments, says in (
                (['nothing'], "there is no command 'nothing'"), (['help', 'nothing'], "there is no command 'nothing'"),
                (['bench', 'nothing'], "no benchmark 'nothing'"),
                (['bench', 'query', '--nope=1'], "'query' has no option '--nope=1'"), (['bench', 'all', '--nope=1'], "no option '--nope=1'"),
                (['bench', 'ivf', '--vector=9'], "no option '--vector=9'"), (['bench', 'ivf', '--vectors'], "no option '--vectors'"),
                (['bench', 'ivf', 'vectors=9'], "no option 'vectors=9'"), (['bench', 'ivf', '--=9'], "no option '--=9'"),
                (['bench', 'ivf', '--dims type=9'], "no option '--dims type=9'"),
                (append, 'say where the data is'), (append + ['--data'], "wants a value"),
                (append + ['--dat', 'x'], "has no option '--dat'"), (append + ['--data', 'x', '--set', 'top'], 'name=value'),
                (append + ['--data', 'x', '--ack', 'all'], "none, appended or processed, not 'all'"),
                (append + ['--data', 'x', '--format', 'xml'], "table or jsonl, not 'xml'"),
                (append + ['--data', 'x', '--tasks', '-4'], "'-4'"), (append + ['--data', 'x', '--tasks', '4097'], 'up to 4096'),
                (append + ['--data', 'x', '--groups', '1x'], "'1x'"), (append + ['--data', 'x', '--groups', '257'], 'up to 256'),
                (append + ['--data', 'x', '--data', 'y'], "option '--data' is there twice"),
                (append + ['--data', 'x', '--ack=none', '--ack=none'], "option '--ack' is there twice"),
                (append + ['--quiet', '--quiet'], "option '--quiet' is there twice"),
                (['depot', 'tail', 'word_count', 'sentences', '-n', '1', '-n', '2', '--data', 'x'], "option '-n' is there twice"),
                (append + ['--quiet=1'], 'takes no value'), (append + ['x'] * 60, 'wants fewer'),
                (['depot', 'append', 'word_count'], 'wants more'), (['depot', 'tail', 'word_count'], 'wants more'),
                (['depot', 'tail', 'a', 'b', 'c'], 'wants fewer'), (['depot', 'tail', 'word_count', 'sentences'], 'say where'),
                (['depot', 'tail', 'word_count', 'sentences', '--data', 'x', '-n', 'many'], "option '-n' is 'many'"),
                (['depot', 'tail', 'word_count', 'sentences', '--data', 'x', '--partition', '9' * 30], "999'"),
                (['depot', 'tail', 'word_count', 'sentences', '--data', 'x', '--offset', ''], "whole number"),
                (['depot', 'info'], 'wants more'), (['depot', 'info', 'word_count'], 'say where'),
                (['pstate', 'get', 'word_count', 'counts'], 'wants more'), (['pstate', 'scan', 'word_count'], 'wants more'),
                (['pstate', 'get', 'word_count', 'counts', 'a'], 'say where'), (['pstate', 'info'], 'wants more'),
                (['pstate', 'scan', 'word_count', 'counts', '--data', 'x', '--limit', '1.5'], "'1.5'"),
                (['pstate', 'scan', 'word_count', 'counts', '--data', 'x', '--task', '4096'], 'up to 4095'),
                (['query', 'invoke', 'word_count'], 'wants more'), (['query', 'invoke', 'word_count', 'top'], 'say where'),
                (['query', 'invoke', 'word_count', 'top', '--data', 'x', '--timeout', 'soon'], "'soon'"),
                (['export', 'word_count', '--data', 'x'], 'say what to export'),
                (['export', 'word_count', '--data', 'x', '--depot', 'a', '--pstate', 'b'], 'say what to export'),
                (['export', 'word_count', '--depot', 'sentences'], 'say where'),
                (['import', 'x.jsonl', '--data', 'x'], 'say where to'),
                (['import', 'x.jsonl', '--module', 'word_count', '--data', 'x'], 'say where to'),
                (['import', 'x.jsonl', '--module', 'word_count', '--depot', 'sentences'], 'say where the data is'),
                (['import', 'x', '--module', 'word_count', '--depot', 'sentences', '--data', 'x', '--ack', 'none'], "not 'none'"),
                (['import', '--data', 'x'], 'wants more'), (['module', 'show'], 'wants more'), (['module', 'list', 'x'], 'fewer'),
                (['module', 'check', 'lsh', '--set', 'dims'], 'name=value'), (['module', 'check', 'lsh', '--dot'], 'no option'),
                (['stats'], 'say where'), (['stats', 'x'], 'wants fewer'), (['version', '--data', 'x'], "has no option '--data'")):
            arguments = [self.data if a == 'x' and arguments[i - 1] == '--data' else a for i, a in enumerate(arguments)]
            self.run_leat(*arguments, code=2, says=re.escape(says))
        self.assertFalse(os.path.exists(self.data))

    def test_nothing_is_wrong_usage(self):
        done = subprocess.run([command_run.LEAT], capture_output=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b'leat demo', done.stderr)
        self.assertEqual(done.stdout, b'')

    def test_too_many_of_all(self):
        self.run_leat('depot', 'append', *['x'] * 65, code=2, says='too many arguments')
        self.run_leat('module', 'check', 'lsh', *['--set', 'dims=4'] * 65, code=2, says='too many options')


class Negative(CommandTest):
    """Exit code 1: what is asked for is not there."""

    def test_nothing_is_made(self):
        there = ['--data', self.data]
        for arguments, says in (
                (['depot', 'append', 'nothing', 'sentences', '{}'], "no module 'nothing'; 'leat module list'"),
                (['depot', 'append', 'word_count', 'nothing', '{}'], "no depot 'nothing'; 'leat module show word_count'"),
                (['depot', 'tail', 'nothing', 'sentences'], 'no module'), (['depot', 'info', 'nothing'], 'no module'),
                (['pstate', 'get', 'nothing', 'p', 'k'], 'no module'), (['pstate', 'scan', 'nothing', 'p'], 'no module'),
                (['pstate', 'info', 'nothing'], 'no module'), (['query', 'invoke', 'nothing', 'q'], 'no module'),
                (['export', 'nothing', '--depot', 'd'], 'no module'), (['export', 'nothing', '--pstate', 'd'], 'no module'),
                (['import', 'x.jsonl', '--module', 'nothing', '--depot', 'd'], 'no module'),
                (['import', 'x.jsonl', '--module', 'word_count', '--depot', 'nothing'], 'no depot'),
                (['import', self.path('x.jsonl'), '--module', 'word_count', '--depot', 'sentences'], 'x.jsonl.*No such file')):
            self.run_leat(*arguments, *there, code=1, says=says)
        self.run_leat('module', 'show', 'nothing', code=1, says='no module')
        self.run_leat('module', 'check', 'nothing', code=1, says='no module')
        self.assertFalse(os.path.exists(self.data))

    def test_in_data_that_is_there(self):
        self.append(*WORDS)
        for arguments, says in (
                (['pstate', 'get', 'word_count', 'counts', 'nothing'], 'nothing under these keys'),
                (['pstate', 'get', 'word_count', 'nothing', 'a'], "no PState 'nothing'; 'leat module show"),
                (['pstate', 'scan', 'word_count', 'nothing'], 'no PState'), (['export', 'word_count', '--pstate', 'x'], 'no PState'),
                (['pstate', 'scan', 'word_count', 'counts', '--task', 64], 'no task 64; they are 0 to 63'),
                (['depot', 'tail', 'word_count', 'nothing'], "no depot 'nothing'; 'leat module show"),
                (['depot', 'tail', 'word_count', 'sentences', '--partition', 64], 'no partition 64; they are 0 to 63'),
                (['depot', 'info', 'word_count', 'nothing'], 'no depot'), (['export', 'word_count', '--depot', 'x'], 'no depot'),
                (['query', 'invoke', 'word_count', 'nothing'], "no query 'nothing'"),
                (['query', 'invoke', 'word_count', 'count_words'], 'no query')):  # a stream is no query
            self.assertEqual(self.run_leat(*arguments, '--data', self.data, code=1, says=says), '')


class Opening(CommandTest):
    """Exit code 3: the directory cannot be opened."""

    READERS = (['depot', 'tail', 'word_count', 'sentences'], ['depot', 'info', 'word_count'], ['pstate', 'scan', 'word_count', 'counts'],
               ['pstate', 'get', 'word_count', 'counts', 'a'], ['pstate', 'info', 'word_count'], ['query', 'invoke', 'word_count', 'top'],
               ['export', 'word_count', '--depot', 'sentences'], ['export', 'word_count', '--pstate', 'counts'])
    LOOKERS = (['doctor', 'word_count'], ['rebuild', 'word_count'], ['trace', 'word_count', 'sentences', 0, 0],
               ['depot', 'consumer', 'list', 'word_count', 'sentences'])  # at files

    def test_not_there(self):
        for reader in (*self.READERS, *self.LOOKERS):
            self.run_leat(*reader, '--data', self.data, code=3, says='no directory')
        self.run_leat('stats', '--data', self.data, code=3, says='no figures')
        self.assertFalse(os.path.exists(self.data))

    def test_a_file(self):
        path = self.write('file', 'text')
        for reader in (*self.READERS, *self.LOOKERS):
            self.run_leat(*reader, '--data', path, code=3, says='not a directory')
        self.run_leat('depot', 'append', 'word_count', 'sentences', '{"text": "a"}', '--data', path, code=3)

    def test_another_module(self):
        """A negative answer, of each command that asks for one."""
        self.append({'account': 'a', 'amount': 1}, depot='deposits', module='bank_transfer')
        for reader in (*self.READERS, *self.LOOKERS):
            self.run_leat(*reader, '--data', self.data, code=1, says="no data of module 'word_count'.*leat import")

    def test_files_of_others(self):
        self.write('letter', 'dear')
        row = self.write('w.jsonl', '{"text": "a"}')
        for writer in (['depot', 'append', 'word_count', 'sentences', '{"text": "a"}'], ['demo'],
                       ['import', row, '--module', 'word_count', '--depot', 'sentences']):
            self.run_leat(*writer, '--data', self.folder, code=3, says='holds other files')
        self.assertEqual(sorted(os.listdir(self.folder)), ['letter', 'w.jsonl'])

    def test_files_that_may_not_grow(self):
        """Of a shell's limit one hears, too."""
        call = command_run.command(['depot', 'append', 'word_count', 'sentences', '{"text": "a"}', '--data', self.data])
        done = subprocess.run(['sh', '-c', 'ulimit -f 1000; exec "$@"', 'sh', *call], stderr=subprocess.PIPE, timeout=120)
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertRegex(done.stderr.decode(), '(?m)^leat: .*File too large$')

    def test_cannot_be_opened(self):
        """Why not is said, and nothing that is only a guess."""
        self.append(*WORDS)
        for path in (os.path.join(self.data, 'word_count', 'module.ini'), os.path.join(self.data, 'stats.jsonl'), self.path('loop')):
            if os.path.exists(path):
                os.remove(path)
            os.symlink(path, path)  # not to be opened by root either
        for call in (*self.READERS, *self.LOOKERS, ['stats'], ['top', '--once']):
            self.run_leat(*call, '--data', self.data, code=3, says='Too many levels of symbolic links')
            self.run_leat(*call, '--data', self.path('loop'), code=3, says='Too many levels of symbolic links')
        lock = os.path.join(self.data, 'leat.lock')
        os.remove(lock)
        os.symlink(lock, lock)
        for writer in (['demo'], ['depot', 'append', 'word_count', 'sentences', '{"text": "a"}']):
            self.run_leat(*writer, '--data', self.data, code=3, says='leat.lock.*Too many levels of symbolic links')

    def test_held_by_another(self):
        self.append(*WORDS)
        row = self.write('w.jsonl', '{"text": "a"}')
        with open(os.path.join(self.data, 'leat.lock')) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for call in (*self.READERS, ['depot', 'append', 'word_count', 'sentences', '{"text": "a"}'],
                         ['import', row, '--module', 'word_count', '--depot', 'sentences']):
                self.run_leat(*call, '--data', self.data, code=3)
            self.assertTrue(self.rows('stats', '--data', self.data))
        self.assertEqual(self.counts(), {'a': 2, 'leat': 1, 'b': 2, 'c': 1})


class Refused(CommandTest):
    """Exit code 4: what is given does not fit."""

    def test_rows(self):
        for row, says in (('{"text": 3}', "column 'text'"), ('{}', "text"), ('{"word": "a"}', "no column 'word'"), ('{"text": "a"', 'row 1'),
                          ('[]', 'row 1'), ('{"text": null}', 'text'), ('{"text": "a", "text": "b"}', "'text' is there twice"),
                          ('{"text": "\udcff"}', 'UTF-8')):
            row = row.encode('utf-8', 'surrogateescape')
            self.run_leat('depot', 'append', 'word_count', 'sentences', '--data', self.data, stdin=row, code=4, says=says)
        self.assertFalse(os.path.exists(self.data))

    def test_all_or_none(self):
        """The third row is wrong: neither before the directory is there nor after is anything appended."""
        rows = b'{"text": "a"}\n\n{"text": "b"}\n{"text": 3}\n'
        call = ['depot', 'append', 'word_count', 'sentences', '--data', self.data]
        self.run_leat(*call, stdin=rows, code=4, says='row 4; nothing was appended')
        self.assertFalse(os.path.exists(self.data))
        self.append({'text': 'x'})
        self.run_leat(*call, stdin=rows, code=4, says='row 4; nothing was appended')
        self.assertEqual(self.counts(), {'x': 1})

    def test_more_than_one_append_holds(self):
        line = b'{"text": "' + b'x' * 1000 + b'"}\n'
        call = ['depot', 'append', 'word_count', 'sentences', '--data', self.data]
        self.run_leat(*call, stdin=line * ((64 << 20) // 1000), code=4, says='leat import')
        self.run_leat(*call, stdin=b'x' * (17 << 20), code=4, says='16 MiB')
        self.assertFalse(os.path.exists(self.data))

    def test_options_of_modules(self):
        for setting, says in (('tip=3', "no option 'tip' .did you mean 'top'"), ('foo=1', "no option 'foo' .there are top.$"), ('top=x', 'whole number'), ('top=0x10', 'whole number')):
            self.run_leat('module', 'check', 'word_count', '--set', setting, code=4, says=says)
            self.run_leat('module', 'show', 'word_count', '--set', setting, code=4, says=says)
            self.run_leat('depot', 'append', 'word_count', 'sentences', '{"text": "a"}', '--data', self.data, '--set', setting, code=4, says=says)
        for tasks in (0, 3, 63):
            self.run_leat('depot', 'append', 'word_count', 'sentences', '{"text": "a"}', '--data', self.data, '--tasks', tasks, code=4,
                          says='power of two')
        self.assertFalse(os.path.exists(self.data))

    def test_launched_otherwise(self):
        self.append(*WORDS, more=['--tasks', 4, '--set', 'top=1', '--groups', 2])
        self.assertEqual(len(self.rows('query', 'invoke', 'word_count', 'top', '--data', self.data)), 1)
        for more, says in ((['--tasks', 8], "'tasks 4' then, 'tasks 8' now"), (['--set', 'top=2'], "'option top 1' then, 'option top 2' now"),
                           (['--groups', 1], '2 groups, not 1')):
            self.run_leat('depot', 'append', 'word_count', 'sentences', '{"text": "z"}', '--data', self.data, *more, code=4, says=says)
        self.append({'text': 'c'}, more=['--tasks', 4, '--set', 'top=1', '--groups', 2])
        self.assertEqual(self.counts(), {'a': 2, 'leat': 1, 'b': 2, 'c': 2})

    def test_keys(self):
        self.append({'id': 'a', 'vec': [1, 2, 3, 4]}, depot='vectors', module='lsh', more=['--set', 'dims=4'])
        for key in ('', 'x', '1x', '-1', '4294967296', '99999999999999999999', ' 1', '+1'):
            self.run_leat('pstate', 'get', 'lsh', 'ids', '--data', self.data, '--', key, code=4, says='whole number')
        self.run_leat('pstate', 'get', 'lsh', 'ids', '4294967295', '--data', self.data, code=1)
        self.run_leat('pstate', 'get', 'lsh', 'ids', '1', '2', '--data', self.data, code=4, says='fewer levels')
        self.run_leat('pstate', 'scan', 'lsh', 'ids', '1', '--data', self.data, code=4, says='pstate get')
        self.run_leat('pstate', 'scan', 'lsh', 'ids', '--from', 'x', '--data', self.data, code=4, says='whole number')
        self.run_leat('pstate', 'scan', 'lsh', 'ids', '--to', 'x', '--data', self.data, code=4, says='whole number')

    def test_queries(self):
        self.append(*WORDS)
        for request in ('{"w": 1}', '{', '{"word": 1}', '{}', '[]', ''):
            self.run_leat('query', 'invoke', 'word_count', 'count', request, '--data', self.data, code=4, says=r"query 'count' takes \{word: str\}")


class Failed(CommandTest):
    """Exit code 5."""

    def test_output_that_cannot_be_written(self):
        self.append(*WORDS)
        for call in (['query', 'invoke', 'word_count', 'top'], ['export', 'word_count', '--depot', 'sentences'], ['stats'],
                     ['depot', 'tail', 'word_count', 'sentences'], ['pstate', 'scan', 'word_count', 'counts']):
            with open('/dev/full', 'wb') as full:
                self.run_leat(*call, '--data', self.data, stdout=full, code=5, says='could not be written: No space left')

    def test_damage(self):
        self.append(*WORDS, more=['--tasks', 1, '--groups', 1])
        segments = [os.path.join(d, f) for d, _, files in os.walk(self.data) for f in files if f.endswith('.log') or f.endswith('.seg')]
        self.assertTrue(segments, [files for _, _, files in os.walk(self.data)])
        for path in segments:
            with open(path, 'r+b') as f:
                content = bytearray(f.read())
                for i in range(0, min(len(content), 4096), 7):
                    content[i] ^= 0xff
                f.seek(0)
                f.write(content)
        self.run_leat('export', 'word_count', '--depot', 'sentences', '--data', self.data, code=5, says='leat: ')


class Data(CommandTest):
    """What is appended is what is read, in each form."""

    def test_append_from_arguments(self):
        call = ['depot', 'append', 'word_count', 'sentences', '--data', self.data]
        self.run_leat(*call, '{"text": "a"}', '{"text": "b a"}', says='^2 rows appended\n$')
        self.run_leat(*call, '{"text": "c"}', '--ack', 'processed', says='^1 row appended\n$')
        self.run_leat(*call, '{"text": "d"}', '--ack', 'none')
        self.run_leat(*call, '{"text": "e"}', '--ack=appended', '--quiet', says='^$')
        self.run_leat(*call, stdin=b'\n \r\n', says='^0 rows appended\n$')
        self.run_leat(*call, '--', '{"text": "f"}')
        self.assertEqual(self.counts(), {'a': 2, 'b': 1, 'c': 1, 'd': 1, 'e': 1, 'f': 1})

    def test_tail_and_info(self):
        rows = [{'account': 'a', 'amount': i + 1} for i in range(25)]
        self.append(*rows, depot='deposits', module='bank_transfer', more=['--tasks', 4])
        tail = ['depot', 'tail', 'bank_transfer', 'deposits', '--data', self.data]
        last = self.rows(*tail)
        partition = last[0]['partition']
        self.assertEqual([r['row'] for r in last], rows[15:])
        self.assertEqual([r['offset'] for r in last], list(range(15, 25)))
        self.assertTrue(all(r['time'] > 1e9 and r['partition'] == partition for r in last))
        self.assertEqual([r['offset'] for r in self.rows(*tail, '-n', 3)], [22, 23, 24])
        self.assertEqual([r['offset'] for r in self.rows(*tail, '-n', 2, '--offset', 7)], [7, 8])
        self.assertEqual([r['offset'] for r in self.rows(*tail, '--offset', 0, '-n', 1000)], list(range(25)))
        self.assertEqual(self.rows(*tail, '-n', 0), [])
        self.assertEqual(len(self.rows(*tail, '--partition', partition)), 10)
        self.assertEqual(self.rows(*tail, '--partition', (partition + 1) % 4), [])
        want = {'depot': 'deposits', 'partition': partition, 'first': 0, 'next': 25, 'processed': 25}
        self.assertEqual(self.rows('depot', 'info', 'bank_transfer', '--data', self.data), [want])
        self.assertEqual(self.rows('depot', 'info', 'bank_transfer', 'deposits', '--data', self.data), [want])
        self.assertEqual(self.rows('depot', 'info', 'bank_transfer', 'transfers', '--data', self.data), [])

    def test_pstate(self):
        words = {f'w{i:03}': i % 7 + 1 for i in range(300)}
        self.append(*[{'text': f'{w} ' * n} for w, n in words.items()], more=['--tasks', 8])
        here = ['word_count', 'counts', '--data', self.data]
        everything = self.rows('pstate', 'scan', *here)
        self.assertEqual({r['key']: r['value'] for r in everything}, words)
        self.assertEqual(len(everything), 300)
        self.assertEqual(self.rows('pstate', 'get', *here, 'w010'), [{'value': words['w010']}])
        self.assertEqual(len(self.rows('pstate', 'scan', *here, '--limit', 7)), 7)
        self.assertEqual(self.rows('pstate', 'scan', *here, '--limit', 0), [])
        some = {r['key'] for r in self.rows('pstate', 'scan', *here, '--from', 'w100', '--to', 'w200')}
        self.assertEqual(some, {w for w in words if 'w100' <= w < 'w200'})
        by_task = [self.rows('pstate', 'scan', *here, '--task', t) for t in range(8)]
        self.assertEqual(sum(by_task, []), everything)
        for task, rows in enumerate(by_task):
            self.assertEqual([r['key'] for r in rows], sorted(r['key'] for r in rows))
            self.assertEqual(self.rows('pstate', 'scan', *here, '--task', task, '--reverse'), rows[::-1])
            for row in rows[:1]:
                self.assertEqual(self.rows('pstate', 'get', *here, row['key'], '--task', task), [{'value': row['value']}])
                self.run_leat('pstate', 'get', *here, row['key'], '--task', (task + 1) % 8, code=1)
        self.assertEqual(self.rows('pstate', 'info', 'word_count', '--data', self.data),
                         [{'pstate': 'counts', 'elements': 300, 'schema': 'map<str, i64>'}])

    def test_nested_pstates(self):
        vectors = [{'id': f'v{i}', 'vec': [self.random.uniform(-1, 1) for _ in range(4)], 'body': {'n': i}} for i in range(40)]
        self.append(*vectors, depot='vectors', module='lsh', more=['--set', 'dims=4', '--set=tables=2', '--tasks', 2, '--ack', 'processed'])
        data = ['--data', self.data]
        info = {r['pstate']: r['elements'] for r in self.rows('pstate', 'info', 'lsh', *data)}
        self.assertEqual((info['embeddings'], info['vectors'], info['ids'], info['free']), (40, 40, 40, 0))
        one = self.rows('pstate', 'get', 'lsh', 'embeddings', 'v7', *data)[0]
        self.assertEqual(one['body'], {'n': 7})
        self.assertEqual(len(one['in']), 2)
        rows = self.rows('pstate', 'scan', 'lsh', 'vectors', *data)
        self.assertEqual(len(rows), 40)
        self.assertEqual(self.rows('pstate', 'scan', 'lsh', 'vectors', '--limit', 3, *data), rows[:3])
        self.check_packed_rows(data, rows, {v['id']: v for v in vectors})
        ids = sum(([r['value'] for r in self.rows('pstate', 'scan', 'lsh', 'ids', '--task', t, *data)] for t in (0, 1)), [])
        self.assertEqual(sorted(ids), sorted(v['id'] for v in vectors))
        self.check_buckets(data, one['in'])

    def check_packed_rows(self, data, rows, vectors):
        """Rows have values, wherever they are read."""
        self.assertEqual(self.rows('export', 'lsh', '--pstate', 'vectors', *data), rows)
        found = {(r['task'], r['row']): r['vec'] for r in rows}
        for task in range(2):
            for entry in self.rows('pstate', 'scan', 'lsh', 'embeddings', '--task', task, *data):
                vec = found[task, entry['row']]
                length = math.sqrt(sum(x * x for x in vectors[entry['key']]['vec']))
                for a, b in zip(vec, vectors[entry['key']]['vec']):
                    self.assertTrue(min(abs(a - b), abs(a - b / length)) < 1e-6, (a, b))
                one = self.rows('pstate', 'get', 'lsh', 'vectors', entry['row'], '--task', task, *data)
                self.assertEqual([r for r in rows if (r['task'], r['row']) == (task, entry['row'])], [{'task': task, 'row': entry['row'], **one[0]}])
        self.run_leat('pstate', 'get', 'lsh', 'vectors', 0, *data, code=4, says='--task N')
        self.run_leat('pstate', 'get', 'lsh', 'vectors', 999, '--task', 1, *data, code=1, says='no row 999 there, at task 1')
        self.run_leat('pstate', 'get', 'lsh', 'vectors', 'x', '--task', 1, *data, code=4, says='whole number')
        self.run_leat('pstate', 'get', 'lsh', 'vectors', 0, 1, '--task', 1, *data, code=4, says='fewer levels')
        self.run_leat('pstate', 'scan', 'lsh', 'vectors', 0, '--task', 1, *data, code=4, says='pstate get')
        members = self.rows('export', 'lsh', '--pstate', 'buckets', *data)
        self.assertEqual(members, self.rows('pstate', 'scan', 'lsh', 'buckets', *data))

    def test_nested_export(self):
        """All of it: each element of each collection, with all its keys."""
        module = {'module': 'bank_transfer', 'more': ['--ack', 'processed', '--tasks', 4]}
        rows = [{'id': f't{i}', 'from': f'a{i % 5}', 'to': f'a{(i + 1) % 5}', 'amount': i + 1} for i in range(20)]
        self.append(*[{'account': f'a{i}', 'amount': 1000} for i in range(5)], depot='deposits', **module)
        self.append(*rows, depot='transfers', **module)
        found = self.rows('export', 'bank_transfer', '--pstate', 'transfers', '--data', self.data)
        self.assertEqual({r['keys'][1]: (r['keys'][0], r['to'], r['amount'], r['done']) for r in found},
                         {r['id']: (r['from'], r['to'], r['amount'], True) for r in rows})
        self.assertEqual(len(found), len(rows))
        for r in found:
            self.assertEqual(self.rows('pstate', 'get', 'bank_transfer', 'transfers', *r['keys'], '--task', r['task'], '--data', self.data),
                             [{'to': r['to'], 'amount': r['amount'], 'done': True}])
        one = self.rows('pstate', 'scan', 'bank_transfer', 'transfers', 'a0', '--data', self.data)
        self.assertEqual(sorted(r['key'] for r in one), ['t0', 't10', 't15', 't5'])
        balances = self.rows('export', 'bank_transfer', '--pstate', 'balances', '--data', self.data)
        self.assertEqual(sum(r['value'] for r in balances), 5000)

    def check_buckets(self, data, buckets):
        """Members of all buckets are a set, those of a bucket a range of it; each at the task that the bucket is routed to."""
        for bucket in buckets:
            members = [r for t in range(2) for r in self.rows('pstate', 'scan', 'lsh', 'buckets', '--from', bucket << 38,
                                                              '--to', (bucket + 1) << 38, '--task', t, *data)]
            self.assertGreater(len(members), 0)
            key, codes = members[0]['key'], []
            for task in range(2):
                done = subprocess.run(command_run.command(['pstate', 'get', 'lsh', 'buckets', key, '--task', task, *data]), capture_output=True)
                codes.append(done.returncode)
                self.assertEqual(done.stdout, b'' if done.returncode else b'{"present": true}\n')
            self.assertEqual(sorted(codes), [0, 1])

    def test_query(self):
        self.append(*WORDS)
        invoke = ['query', 'invoke', 'word_count']
        self.assertEqual(self.rows(*invoke, 'count', '{"word": "a"}', '--data', self.data), [{'word': 'a', 'count': 2}])
        self.assertEqual(self.rows(*invoke, 'count', '{"word": "z"}', '--data', self.data), [{'word': 'z', 'count': 0}])
        top = self.rows(*invoke, 'top', '--data', self.data, '--timeout', 60000)
        self.assertEqual({r['word']: r['count'] for r in top}, {'a': 2, 'leat': 1, 'b': 2, 'c': 1})
        self.assertEqual([r['count'] for r in top], [2, 2, 1, 1])
        self.assertEqual(self.rows(*invoke, 'top', '{}', '--data', self.data), top)

    def test_query_from_standard_input(self):
        """More than an argument may have; what takes nothing reads nothing."""
        self.append(*WORDS, {'text': 'x' * 300})
        count, data = ['query', 'invoke', 'word_count', 'count'], ['--data', self.data]
        for more, text in ([], b'{"word": "a"}'), (['-'], b' {"word":\n"a"}\n'), (['-'], b'{"word": "a"}' + b' ' * (1 << 20)):
            self.assertEqual(self.rows(*count, *more, *data, stdin=text), [{'word': 'a', 'count': 2}])
        self.run_leat(*count, *data, stdin=json.dumps({'word': 'y' * (1 << 19)}).encode(), code=4, says='a key of 524288 bytes')
        self.assertEqual(len(self.rows('query', 'invoke', 'word_count', 'top', *data, stdin=b'{"word"')), 5)
        self.run_leat('query', 'invoke', 'word_count', 'top', '-', *data, stdin=b'{"word"', code=4, says=r"query 'top' takes \{\}")
        for text in b'', b'\n', b'{', b'{"word": "a"} {"word": "b"}', b'{"word": "\xff"}':
            self.run_leat(*count, *data, stdin=text, code=4, says=r"query 'count' takes \{word: str\}")
        self.run_leat(*count, *data, stdin=b' ' * ((16 << 20) + 1), code=4, says='more than 16 MiB of one request')
        self.run_leat(*count, '-', '--data', self.path('no'), code=3, says="no directory '.*no'")
        self.run_leat(*count, code=2, says='say where the data is')

    def test_one_end_of_input_on_a_terminal(self):
        self.append(*WORDS)
        for arguments, line in (['query', 'invoke', 'word_count', 'count'], b'{"word": "a"}'), (['depot', 'append', 'word_count', 'sentences'], b'{"text": "d"}'):
            master, slave = pty.openpty()
            os.write(master, line + b'\n\x04')
            done = subprocess.run(command_run.command([*arguments, '--data', self.data]), stdin=slave, capture_output=True, timeout=30)
            os.close(master)
            os.close(slave)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(b'Ctrl-D ends', done.stderr)

    def test_query_by_who_has_the_directory_open(self):
        """What writes the request may be this command, in the same directory."""
        self.append(*WORDS)
        leat, data = command_run.LEAT, self.data
        line = f'{leat} pstate scan word_count counts --data {data} | sed -n \'s/.*"leat".*/{{"word": "leat"}}/p\' | {leat} query invoke word_count count --data {data}'
        done = subprocess.run(['bash', '-c', line], capture_output=True, timeout=120)
        self.assertEqual(json.loads(done.stdout or 'null'), {'word': 'leat', 'count': 1}, done.stderr)

    def test_export_and_import_again(self):
        texts = ['', '"quoted" \\ text', 'Wörter 水 🙂', 'tab\tand\nline', 'nan', '12', 'true', 'x' * 5000, '\x1b[31m']
        self.append(*[{'text': t} for t in texts], more=('--ack', 'processed')) # so that nothing is said of it later
        call = ['export', 'word_count', '--depot', 'sentences', '--data', self.data]
        self.assertEqual(sorted(r['text'] for r in self.rows(*call, says=r'^9 records\n$')), sorted(texts))
        exported = self.run_leat(*call, '--quiet', '--format', 'table', says='^$')  # always JSON lines
        path, before = self.write('again.jsonl', exported), self.counts()
        self.data = self.path('again')
        self.run_leat('import', path, '--module', 'word_count', '--depot', 'sentences', '--data', self.data, says='9 rows, 9 of them new')
        self.assertEqual(self.counts(), before)
        counts = self.rows('export', 'word_count', '--pstate', 'counts', '--data', self.data)
        self.assertEqual({r['key']: r['value'] for r in counts}, before)
        self.assertEqual(before['nan'], 1)

    def test_stats(self):
        self.append(*WORDS, more=['--ack', 'processed'])
        lines = self.rows('stats', '--data', self.data)
        self.assertGreater(lines[0]['pid'], 0)
        self.assertTrue(any(r.get('module') == 'word_count' and r['value'] > 0 for r in lines if 'value' in r))
        table = self.run_leat('stats', '--data', self.data, '--format', 'table', says=r'^figures of process \d+, \d+ s old\n$')
        self.assertRegex(table, r'^module +object +name +value +p50 +p99 +max')
        self.assertEqual(len(table.splitlines()), len(lines))
        self.run_leat('stats', '--data', self.data, '--format', 'table', '--quiet', says='^$')
        for call in Opening.READERS:  # they leave the figures of whoever did the work
            self.run_leat(*call, '--data', self.data)
        self.assertEqual(self.rows('stats', '--data', self.data), lines)
        self.run_leat('depot', 'append', 'word_count', 'sentences', '{"text": "a"}', '--data', self.data, '--tasks', 2, code=4)  # did none
        self.assertEqual(self.rows('stats', '--data', self.data), lines)

    def test_last_figures(self):
        """They are of the end, when the turns that were under way have ended."""
        for i in range(20):
            self.data = self.path(f'data-{i}')
            self.append({'text': 'a b c d e f g h'}, more=['--groups', 2])
            turns = sum(r['value'] for r in self.rows('stats', '--data', self.data) if r.get('name') == 'turns_total')
            self.assertIn(f' {turns:.0f} turns', self.rows('doctor', '--data', self.data)[0]['what'])

    def test_dead_letters_are_told(self):
        """Rows that a node rejects are appended, but somebody must hear of them."""
        more = ['--set', 'dims=2', '--set', 'metric=cosine', '--ack', 'processed']
        rows = [json.dumps({'id': str(i), 'vec': [0, i % 2]}) for i in range(6)]
        says = r"(?s)warn engine: module ivf, .* to the dead letters.*length is 0.*\n3 rows went to the dead letters; 'leat depot tail ivf dead_letters --data "
        self.run_leat('depot', 'append', 'ivf', 'vectors', *rows, '--data', self.data, *more, says=says)
        path = self.write('v.jsonl', '\n'.join(rows[:3]))
        into = ['--module', 'ivf', '--depot', 'vectors', '--data', self.data]
        self.run_leat('import', path, *into, '--ack', 'processed', says='(?s)3 rows, 3 of them new.*\n2 rows went to the dead letters')
        self.run_leat('import', path, *into, '--ack', 'processed', says='^3 rows, 0 of them new.*s\n$')
        self.assertEqual(len(self.rows('depot', 'tail', 'ivf', 'dead_letters', '--data', self.data)), 5)


class Modules(CommandTest):
    def test_list_show_check(self):
        modules = [r['module'] for r in self.rows('module', 'list')]
        self.assertTrue({'word_count', 'bank_transfer', 'lsh'} <= set(modules))
        for module in modules:
            shown = self.rows('module', 'show', module)
            self.assertIn(('depot', 'dead_letters'), [(r['kind'], r['name']) for r in shown])
            for kind in ('pstate', 'stream', 'node', 'query'):
                self.assertIn(kind, [r['kind'] for r in shown])
            self.assertTrue(all(isinstance(v, str) for r in shown for v in r.values()))
            self.assertEqual(self.rows('module', 'check', module), [{'module': module, 'fine': True}])
            self.assertEqual(self.run_leat('module', 'check', module, '--format', 'table'), f'module {module} is fine\n')
            self.assertEqual(self.run_leat('module', 'check', module, '--quiet'), '')
            self.assertRegex(self.run_leat('module', 'show', module, '--format', 'table'), f'^module {module}, 64 tasks')
            dot = self.run_leat('module', 'show', module, '--dot')
            self.assertTrue(dot.startswith('digraph') and dot.rstrip().endswith('}') and dot.count('{') == dot.count('}'), dot)

    def test_rows_show_what_drawings_show(self):
        shown = {r['name']: r for r in self.rows('module', 'show', 'word_count')}
        self.assertEqual((shown['sentences']['route'], shown['dead_letters']['route']), ('any partition', 'topologies append'))
        self.assertEqual([shown[name]['work'] for name in ('sentences', 'counts')], ['', ''])
        nodes = [r for r in shown.values() if r['kind'] == 'node']
        self.assertEqual({r['work'].split()[0] for r in nodes}, {'run', 'fold'})
        drawn = self.run_leat('module', 'show', 'word_count', '--format', 'table')
        for r in nodes:
            self.assertIn(f"<- {r['from']}, {r['route']}\n", drawn)
            self.assertIn(' '.join((r['work'] + ' ' + r['args']).split()), drawn)
        self.assertIn(('fold count', 'by key', 'counts'), [(r['work'], r['route'], r['into']) for r in nodes])
        self.assertIn('run in the background', [r['work'] for r in self.rows('module', 'show', 'ivf')])

    def test_settings_show(self):
        shown = self.rows('module', 'show', 'lsh', '--set', 'dims=16', '--set', 'bits=4')
        self.assertEqual([r['schema'] for r in shown if r['name'] in ('dims', 'bits')], ['16', '4'])
        self.assertIn('f32[16]', next(r['schema'] for r in shown if r['kind'] == 'depot'))


class Shown(CommandTest):
    def test_bank_transfer(self):
        """The commands and answers of README.md."""
        self.check_shown('README.md', 'Moving money', '/tmp/bank', 6)

    def test_size_of_an_empty_directory(self):
        """docs/OPERATIONS.md says what is preallocated."""
        said = int(re.search(r'An empty directory.*: (\d+) MiB a group', self.text('docs/OPERATIONS.md'))[1]) << 20
        self.append({'text': 'a'}, more=('--groups', '2'))
        blocks = sum(os.stat(os.path.join(folder, file)).st_blocks for folder, _, files in os.walk(self.data) for file in files)
        self.assertGreaterEqual(blocks * 512, 2 * said)
        self.assertLess(blocks * 512, 2 * said + (1 << 20))


class Consumers(CommandTest):
    WHERE = ['word_count', 'sentences']

    def consumer(self, does, *name, **more):
        return self.run_leat('depot', 'consumer', does, *self.WHERE, *name, '--data', self.data, **more)

    def left(self):
        return {r['consumer']: r['records_left'] for r in self.rows('depot', 'consumer', 'list', *self.WHERE, '--data', self.data)}

    def export(self, name, **more):
        return self.rows('export', 'word_count', '--depot', 'sentences', '--consumer', name, '--data', self.data, **more)

    def test_exports_go_on(self):
        self.append(*WORDS)
        self.assertEqual(self.left(), {})
        self.consumer('add', 'backup')
        self.consumer('add', 'other-1')
        self.assertEqual(self.left(), {'backup': 2, 'other-1': 2})
        in_order = lambda rows: sorted(rows, key=str)
        self.assertEqual(in_order(self.export('backup')), in_order(WORDS))
        self.assertEqual(self.left(), {'backup': 0, 'other-1': 2})
        self.assertEqual(self.export('backup'), [])
        self.append({'text': 'd'})
        self.assertEqual(self.export('backup'), [{'text': 'd'}])
        self.assertEqual(in_order(self.export('other-1')), in_order(WORDS + [{'text': 'd'}]))
        self.assertEqual(in_order(self.rows('export', 'word_count', '--depot', 'sentences', '--data', self.data)),
                         in_order(WORDS + [{'text': 'd'}]))
        self.consumer('remove', 'backup')
        self.assertEqual(self.left(), {'other-1': 0})

    def test_a_log_may_be_in_the_making(self):
        self.append(*WORDS)
        self.consumer('add', 'backup')
        segments = glob.glob(f'{self.data}/word_count/group-*/depots/*.seg')
        self.assertTrue(segments)
        for segment in segments:
            os.remove(segment)
        self.assertEqual(self.left(), {'backup': 0})

    def test_an_export_that_was_not_written_is_not_past(self):
        self.append(*WORDS)
        self.consumer('add', 'backup')
        with open('/dev/full', 'w') as full:
            self.run_leat('export', 'word_count', '--depot', 'sentences', '--consumer', 'backup', '--data', self.data, stdout=full, code=5)
        self.assertEqual(self.left(), {'backup': 2})

    def test_what_is_refused(self):
        self.append(*WORDS)
        self.consumer('add', 'backup')
        self.consumer('add', 'backup', code=4, says='already')
        self.consumer('add', 'Backup', code=4, says='no name')
        self.consumer('add', '../x', code=4, says='no name')
        self.consumer('remove', 'nobody', code=1, says="no consumer 'nobody'")
        self.consumer('remove', '../../module.ini', code=1, says='no consumer')
        self.consumer('list', 'backup', code=2, says='wants M and DEPOT')
        self.consumer('add', code=2, says='wants M, DEPOT and NAME')
        self.consumer('move', 'x', code=2, says="not 'move'")
        self.run_leat('depot', 'consumer', 'list', 'word_count', 'nothing', '--data', self.data, code=1, says='no depot')
        self.run_leat('depot', 'consumer', 'list', 'nothing', 'x', '--data', self.data, code=1)
        self.run_leat('depot', 'consumer', 'list', *self.WHERE, code=2, says='say where')
        self.run_leat('export', 'word_count', '--depot', 'sentences', '--consumer', 'nobody', '--data', self.data, code=1,
                      says='consumer add')
        self.run_leat('export', 'word_count', '--pstate', 'counts', '--consumer', 'backup', '--data', self.data, code=2, says='--depot only')
        self.assertEqual(self.left(), {'backup': 2})

    def test_retention_holds_on(self):
        kept = os.path.join(self.data, 'word_count', 'module.retain')
        self.append(*WORDS)
        self.assertFalse(os.path.exists(kept))
        self.append(*WORDS, more=['--retain', 'sentences=7d,10GiB', '--retain', 'dead_letters=30d'])
        self.append(*WORDS)
        with open(kept) as f:
            self.assertEqual(f.read(), 'sentences = 7d,10GiB\ndead_letters = 30d\n')
        self.append(*WORDS, more=['--retain', '*=forever'])
        with open(kept) as f:
            self.assertEqual(f.read(), '* = forever\n')
        stats = self.rows('stats', '--data', self.data)
        figures = {s['name']: s['value'] for s in stats if s.get('object') == 'depot sentences' and 'value' in s}
        self.assertEqual(figures['rows'], 8)
        self.assertGreater(figures['kept_bytes'], 8 * 4)
        self.assertGreaterEqual(figures['oldest_seconds'], 0)
        row = ['depot', 'append', 'word_count', 'sentences', json.dumps(WORDS[0]), '--data', self.data]
        self.run_leat(*row, '--retain', 'sentences=7', code=4, says="'7'")
        self.run_leat(*row, '--retain', 'nothing=7d', code=1, says="depot 'nothing'")
        self.run_leat(*row, '--retain', '7d', code=2, says='name=value')

    def test_no_rows_make_no_directory(self):
        for rows, stdin in (([''], b''), ([' ', ''], b''), ([], b''), ([], b'\n \n')):
            self.run_leat('depot', 'append', 'word_count', 'sentences', *rows, '--data', self.data, stdin=stdin, says='^0 rows appended\n$')
            self.assertFalse(os.path.exists(self.data))

    def test_refused_before_a_directory_is_made(self):
        path, row = self.write('w.jsonl', '{"text": "a"}'), '{"text": "a"}'
        for call in (['import', path, '--module', 'word_count', '--depot', 'sentences'], ['depot', 'append', 'word_count', 'sentences', row]):
            for more, code, says in ((['--groups', 3], 4, "module 'word_count', 3 groups: .* power of two"),
                                     (['--groups', 8, '--tasks', 4], 4, "module 'word_count', 8 groups"),
                                     (['--retain', 'sentences=xx'], 4, "module 'word_count', depot 'sentences'.*'xx'"),
                                     (['--retain', 'nothing=7d'], 1, "depot 'nothing'"), (['--retain', '7d'], 2, 'name=value')):
                self.run_leat(*call, '--data', self.data, *more, code=code, says=says)
                self.assertFalse(os.path.exists(self.data), more)


class Tables(CommandTest):
    def test_columns_begin_at_one_place(self):
        self.append(*WORDS, {'text': 'ß水x'})
        lines = self.run_leat('pstate', 'scan', 'word_count', 'counts', '--data', self.data, '--format', 'table').splitlines()
        self.assertEqual(len(lines), 6)
        at = lines[0].index('value')
        self.assertTrue(lines[0].startswith('key '))
        for line in lines[1:]:
            self.assertRegex(line[:at], r'^\S+ +$')
            self.assertRegex(line[at:], r'^\d+$')
        for call in (['depot', 'tail', 'word_count', 'sentences'], ['depot', 'info', 'word_count'], ['pstate', 'info', 'word_count'],
                     ['query', 'invoke', 'word_count', 'top'], ['pstate', 'get', 'word_count', 'counts', 'a']):
            table = self.run_leat(*call, '--data', self.data, '--format=table').splitlines()
            self.assertEqual(len(table), 1 + len(self.rows(*call, '--data', self.data, '--format=jsonl')), call)
            self.assertNotIn('{', table[0])

    def test_terminal(self):
        """A table without being asked, no wider than the terminal, and nothing that steers it."""
        self.append({'text': '\x1b[31mred\r ' + 'long ' * 50})
        outer, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 60, 0, 0))
        call = command_run.command(['depot', 'tail', 'word_count', 'sentences', '--data', self.data])
        done = subprocess.run(call, stdin=subprocess.DEVNULL, stdout=inner, stderr=subprocess.PIPE, timeout=120)
        os.close(inner)
        text = os.read(outer, 65536).decode().replace('\r\n', '\n')
        os.close(outer)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(text, r'^partition +offset +time +row\n')
        self.assertRegex(text, r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z')
        self.assertTrue(text.rstrip().endswith('…'), text)
        self.assertTrue(all(len(line) <= 60 for line in text.splitlines()), text)
        self.assertFalse(re.search('[\x00-\x09\x0b-\x1f\x7f]', text), text)

    def test_demo_that_is_stopped(self):
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            self.end_while_there('leat-demo-', number, 'demo')

    def children(self, process):
        with open(f'/proc/{process.pid}/task/{process.pid}/children') as f:
            return [int(pid) for pid in f.read().split()]

    def works(self, pid):
        try:
            with open(f'/proc/{pid}/stat') as f:
                return f.read().rsplit(')', 1)[1].split()[0] not in 'XZ'
        except (FileNotFoundError, ProcessLookupError):
            return False

    def test_a_benchmark_that_is_stopped_leaves_no_child(self):
        for name in 'scale', 'restart':
            for number in (signal.SIGTERM, signal.SIGKILL):
                with subprocess.Popen(command_run.command(['bench', name]), cwd=self.folder, stdout=subprocess.DEVNULL) as process:
                    end = time.monotonic() + 30
                    while not self.children(process):
                        self.assertLess(time.monotonic(), end)
                    children = self.children(process)
                    process.send_signal(number)
                self.assertEqual(process.returncode, -number)
                for pid in children:
                    while self.works(pid) and time.monotonic() < end:
                        pass
                    if self.works(pid):
                        os.kill(pid, signal.SIGKILL)
                        self.fail(f'the child of bench {name} works on')

    def test_ignored_signals_stay_ignored(self):
        """As a shell has it for what runs in the background."""
        process = subprocess.Popen(command_run.command(['demo']), cwd=self.folder, stdout=subprocess.PIPE,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        self.wait_for_file(process, 'leat-demo-*', '*')
        process.send_signal(signal.SIGINT)
        self.assertIn(b'recall@10', process.communicate(timeout=120)[0])
        self.assertEqual(process.returncode, 0)

    def test_demo_that_is_stopped_twice(self):
        """The second signal comes while the directory is removed, which takes its time here."""
        os.mkdir(self.path('bin'))
        with open(self.path('bin/rm'), 'w') as f:
            f.write('#!/bin/sh\n: >removing; while [ ! -e removes ]; do sleep 0.01; done; exec /bin/rm "$@"\n')
        os.chmod(self.path('bin/rm'), 0o700)

        def again(process):
            self.wait_for_file(process, 'removing')
            os.killpg(process.pid, signal.SIGINT)
            self.write('removes', '')
        self.end_while_there('leat-demo-', signal.SIGTERM, 'demo', meanwhile=again, start_new_session=True,
                             env={**os.environ, 'PATH': self.path('bin') + ':' + os.environ['PATH']})

    def test_demo(self):
        text = self.run_leat('demo', '--data', self.data)
        self.assertRegex(text, r'recall@10 over \d+ queries: (0\.9|1\.0)')
        self.assertIn('neighbours of "violin', text)
        for line in re.findall(r'(?m)^  \S*leat (.*)$', text):
            self.assertNotEqual(self.run_leat(*line.split()), '')


if __name__ == '__main__':
    command_run.main()
