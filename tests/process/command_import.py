# SPDX-License-Identifier: Apache-2.0
"""leat import: files of each form, files that are broken, and imports that are killed and run again.
usage: command_import.py LEAT [TEST ...]; LEAT_SEED=N repeats a run, LEAT_LONG=1 does it twenty times"""
import collections
import gzip
import json
import math
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import time

import command_run
from command_run import CommandTest, bvecs, fvecs, idx, npy

KILLS, ROUNDS = 12, 20 if os.environ.get('LEAT_LONG') == '1' else 1
SUMMARY = re.compile(r'(\d+) rows, (\d+) of them new')


class ImportTest(CommandTest):
    def import_file(self, path, *more, module='word_count', depot='sentences', **expect):
        return self.run_leat('import', path, '--module', module, '--depot', depot, '--data', self.data, *more, **expect)

    def import_vectors(self, path, *more, dims=4, **expect):
        return self.import_file(path, '--set', f'dims={dims}', *more, module='lsh', depot='vectors', **expect)

    def on_a_terminal(self, path, code=0):
        call = command_run.command(['import', path, '--module', 'word_count', '--depot', 'sentences', '--data', self.data])
        outer, inner = pty.openpty()
        done = subprocess.run(call, stdin=subprocess.DEVNULL, stderr=inner, timeout=120)
        os.close(inner)
        text = os.read(outer, 65536).decode()
        os.close(outer)
        self.assertEqual(done.returncode, code)
        return text

    def random_vectors(self, count, dims):
        return [[self.random.uniform(-1, 1) for _ in range(dims)] for _ in range(count)]


class Forms(ImportTest):
    def test_jsonl(self):
        lines = '{"text": "a b"}\n \t\r\n\n{"text": "a"}\r\n  {"text": "c"}  \n{"text": "last"}'
        for name, more in (('w.jsonl', []), ('w.json', []), ('w.txt', ['--input', 'jsonl']), ('w.npy', ['--input=jsonl'])):
            self.data = self.path('data-' + name)
            self.import_file(self.write(name, lines), *more, says=r'^4 rows, 4 of them new, in ')
            self.assertEqual(self.counts(), {'a': 2, 'b': 1, 'c': 1, 'last': 1})

    def test_no_rows(self):
        for name, content in (('a.jsonl', b''), ('b.jsonl', b'\n \n'), ('c.jsonl.gz', gzip.compress(b''))):
            self.import_file(self.write(name, content), says='^0 rows, 0 of them new, in ')
        header = "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4), }"
        self.data = self.path('vectors')
        for name, content in (('a.npy', npy([], header=header)), ('a.npy.gz', gzip.compress(npy([], header=header))),
                              ('a.idx', struct.pack('>BBBBII', 0, 0, 8, 2, 0, 4)), ('a.fvecs', b''), ('a.bvecs', b''), ('a.fvecs.gz', gzip.compress(b''))):
            self.import_vectors(self.write(name, content), says='^0 rows, 0 of them new, in ')
        for path in ('a.npy', 'a.idx'):  # without the headers, which all have
            self.import_vectors(self.write(path, b''), code=4, says=f"{path}' is empty")
        self.import_file(self.path('.'), '--input', 'jsonl', code=4, says='is no file')
        self.import_file('/dev/stdin', '--input', 'jsonl', code=4, says="is no file.*'leat depot append'")

    def test_twice_is_once(self):
        path = self.write('w.jsonl', '{"text": "a"}\n' * 3000)
        self.import_file(path, says='3000 rows, 3000 of them new')
        self.import_file(path, '--ack', 'processed', says='3000 rows, 0 of them new')
        self.import_file(path, '--ack', 'appended', '--quiet', says='^$')
        self.assertEqual(self.counts(), {'a': 3000})
        self.import_file(self.write('v.jsonl', '{"text": "a"}\n' * 3001), says='3001 rows, 3001 of them new')  # another file
        self.assertEqual(self.counts(), {'a': 6001})

    def test_more_than_may_be_under_way(self):
        rows, dims = 8000, 4096  # 125 MiB, zeros but for the head
        path = self.write('v.npy', npy([[0] * dims], header="{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (rows, dims)))
        os.truncate(path, os.path.getsize(path) + (rows - 1) * dims * 4)
        self.import_vectors(path, '--groups', 1, dims=dims, says='8000 rows, 8000 of them new')

    def test_progress_on_a_terminal(self):
        text = self.on_a_terminal(self.write('w.jsonl', '{"text": "a"}\n' * 3000))
        self.assertRegex(text, r'\r3000 rows, \d+/s, 100 %, 0 s left +\r\n3000 rows, 3000 of them new')

    def check_vectors(self, vectors, precision, prefix=''):
        """Each is found under its id, with the distances to all others that they must have."""
        self.assertEqual({r['id'] for r in self.exact(vectors[0])}, {f'{prefix}{i}' for i in range(len(vectors))})
        for vector in vectors[:5]:
            for hit in self.exact(vector):
                other = vectors[int(hit['id'][len(prefix):])]
                cosine = sum(a * b for a, b in zip(vector, other)) / (math.hypot(*vector) * math.hypot(*other))
                self.assertAlmostEqual(hit['distance'], 1 - cosine, delta=precision)

    def exact(self, vector):
        request = json.dumps({'vec': vector})
        return self.rows('query', 'invoke', 'lsh', 'exact', request, '--data', self.data)

    def test_npy(self):
        vectors = self.random_vectors(40, 4)
        self.import_vectors(self.write('v.npy', npy(vectors)), says='40 rows, 40 of them new')
        self.check_vectors(vectors, 1e-5)

    def test_npy_version_2_and_prefix(self):
        vectors = self.random_vectors(40, 4)
        path = self.write('v.bin', npy(vectors, version=2))
        self.import_vectors(path, '--input', 'npy', '--id-prefix', 'x-', says='40 rows, 40 of them new')
        self.check_vectors(vectors, 1e-5, prefix='x-')
        self.import_vectors(path, '--input', 'npy', '--id-prefix', 'x-', says='40 rows, 0 of them new')
        self.import_vectors(path, '--input', 'npy', '--id-prefix', 'y-', says='40 rows, 40 of them new')

    def test_npy_of_halves(self):
        vectors = self.random_vectors(40, 4) + [[65504, 2**-24, 0, -2**-14]]
        self.import_vectors(self.write('v.npy', npy(vectors, half=True)), says='41 rows, 41 of them new')
        self.check_vectors(vectors, 2e-3)

    def test_npy_of_bytes(self):
        for type, low, high in (('|i1', -128, 127), ('|u1', 0, 255)):
            vectors = [[self.random.randint(low, high) for _ in range(4)] for _ in range(40)] + [[low, high, 1, low]]
            path = self.write('v.npy', npy(vectors, type=type))
            self.data = self.path('data' + type)
            self.import_vectors(path, says='41 rows, 41 of them new')
            self.check_vectors(vectors, 1e-5)
            ivf = self.path('ivf' + type)
            for wrong in ('u8', 'i8', 'f16'):
                if wrong[0] != type[1]:
                    self.run_leat('import', path, '--module', 'ivf', '--depot', 'vectors', '--data', ivf, '--set', 'dims=4', '--set', f'type={wrong}',
                                  code=4, says=f"has {type[1]}8, column 'vec' is {wrong}\\[4]: launch the module with")
            self.run_leat('import', path, '--module', 'ivf', '--depot', 'vectors', '--data', ivf, '--set', 'dims=4', '--set', f'type={type[1]}8',
                          '--set', 'ids=u64', '--ack', 'processed')
            for row in self.rows('query', 'invoke', 'ivf', 'exact', json.dumps({'vec': vectors[40], 'vectors': True, 'k': 41}), '--data', ivf):
                self.assertEqual(row['vec'], vectors[row['id']])

    def test_fvecs(self):
        vectors = self.random_vectors(40, 4)
        self.import_vectors(self.write('v.fvecs', fvecs(vectors)), '--tasks', 4, '--groups', 1, says='40 rows, 40 of them new')
        self.check_vectors(vectors, 1e-5)

    def test_bvecs(self):
        vectors = [[self.random.randrange(1, 256) for _ in range(4)] for _ in range(40)]
        self.import_vectors(self.write('v.bvecs', bvecs(vectors)), says='40 rows, 40 of them new')
        self.check_vectors(vectors, 1e-5)


    def test_idx_and_packed_files(self):
        vectors = [[self.random.randrange(1, 256) for _ in range(4)] for _ in range(40)]
        for name, content in (('v.idx', idx(vectors)), ('v-ubyte.gz', gzip.compress(idx(vectors))), ('v.fvecs.gz', gzip.compress(fvecs(vectors)))):
            self.data = self.path('data-' + name)
            self.import_vectors(self.write(name, content), says='40 rows, 40 of them new')
            self.check_vectors(vectors, 1e-5)
        self.data = self.path('data-lines')
        packed = gzip.compress(b'{"text": "a"}\n' * 200000)  # grows more than a hundredfold
        self.import_file(self.write('w.jsonl.gz', packed), says='200000 rows, 200000 of them new')
        self.assertEqual(self.counts(), {'a': 200000})


class Broken(ImportTest):
    """Code 4, a sentence with the byte, and nothing is made."""

    def check(self, name, content, says, *more, code=4, load=None):
        (load or self.import_vectors)(self.write(name, content), *more, code=code, says=says)
        self.assertFalse(os.path.exists(self.data))

    def test_vectors(self):
        rows = [[1, 2, 3, 4]] * 3
        good = npy(rows)
        header = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }"
        for content, says in (
                (b'', 'empty'), (b'\x93NUMPY', 'byte 0: no NumPy'), (b'x' * 100, 'byte 0: no NumPy'), (good[:40], 'byte 8: the file ends inside its header'),
                (good[:-1], '3 rows are said'), (good + b'x', 'byte 17\d: 3 rows are said, and 1 bytes are behind them'),
                (npy(rows, header=header % ('<f4', 'False', '(0, 4)')), 'byte 128: 0 rows are said, and 48 bytes are behind them'), (npy([[1] * 5]), 'vectors of 5 elements.*--set dims=5'),
                (npy(rows, header=header % ('<f8', 'False', '(3, 4)')), r"not f32 or f16.*, but '<f8' \(float64\): .*\.astype\('float32'\)"), (npy(rows, header=header % ('<i1', 'False', '(3, 4)')), 'u8 or i8'),
                (npy(rows, header=header % ('>f4', 'False', '(3, 4)')), 'little-endian'),
                (npy(rows, header=header % ('<f4', 'True', '(3, 4)')), 'Fortran'),
                (npy(rows, header=header % ('<f4', 'False', '(12,)')), 'its shape'),
                (npy(rows, header=header % ('<f4', 'False', '(3, 2, 2)')), 'its shape'),
                (npy(rows, header=header % ('<f4', 'False', '(3, 0)')), 'its shape'),
                (npy(rows, header=header % ('<f4', 'False', '(-3, 4)')), 'its shape|rows are said'),
                (npy(rows, header=header % ('<f4', 'False', '(4611686018427387904, 4)')), 'rows are said'),
                (npy(rows, header='{}'), 'not f32'), (npy([[1, 2, 3, float('nan')]]), 'vec')):
            self.check('v.npy', content, says)
        for content, says in ((b'\0', 'byte 0'), (struct.pack('<i', 0), 'byte 0: a vector of 0'), (struct.pack('<i', -1), 'byte 0'),
                              (fvecs(rows)[:-1], 'byte 40: the file ends inside a row of 20'),
                              (fvecs(rows[:2]) + struct.pack('<i4f', 3, 1, 2, 3, 4), 'byte 40, row 2: 3 elements, but row 0 has 4')):
            self.check('v.fvecs', content, says)
        self.check('v.bvecs', bvecs(rows)[:-1], 'byte 16: the file ends')
        self.check('v.idx', idx(rows)[:-1], '3 rows are said, the file holds fewer')
        self.check('v.idx', idx(rows) + b'xy', 'byte 24: 3 rows are said, and 2 bytes are behind them')
        self.check('v.ivecs', fvecs(rows), "whole numbers of 32 bits, column 'vec' is f32\\[4]: convert")
        packed = gzip.compress(bvecs(rows) * 1000)
        self.check('v.bvecs.gz', packed[:-9], 'packed by gzip, or is damaged|the file ends')
        self.check('v.bvecs.gz', packed[:-4] + bytes(4), 'damaged')
        self.check('v.bvecs.gz', packed[:20] + b'x' * 20 + packed[40:], 'damaged')
        self.check('v.npy.gz', gzip.compress(b''), 'empty')

    def test_jsonl(self):
        good = '{"text": "a"}\n'
        for content, says in ((good * 2 + '{"text": 7}\n', r"nothing was appended.*line 3, byte 28"),
                              (good + '\n{"text": "b"', 'line 3, byte 15'), ('x', 'line 1, byte 0')):
            self.check('w.jsonl', content, says, load=self.import_file)

    def test_forms(self):
        self.check('v', npy([[1, 2, 3, 4]]), "of what form is it")
        self.check('v.npy', npy([[1, 2, 3, 4]]), "of what form is it", '--input', 'csv')
        self.check('v.npy', npy([[1, 2, 3, 4]]), "a column 'id' and a vector", load=self.import_file)
        self.import_vectors(self.folder, '--input', 'npy', code=4)

    def test_prefix(self):
        """Where it would do nothing it is refused: it makes another session, and so each row would count twice."""
        self.import_file(self.write('w.jsonl', '{"text": "a"}'), '--id-prefix', 'x', code=2, says='--id-prefix')
        self.import_file(self.write('v.npy', npy([[1, 2, 3, 4]])), '--set', 'dims=4', '--set', 'ids=u64', '--id-prefix', 'x',
                         module='ivf', depot='vectors', code=4, says="--id-prefix.*column 'id'")
        self.assertFalse(os.path.exists(self.data))

    def test_what_is_said_on_a_terminal(self):
        """A line of progress ends before what went wrong is said."""
        text = self.on_a_terminal(self.write('w.jsonl', '{"text": "a"}\n' * 3000 + '{}\n'), code=4)
        self.assertRegex(text, r' s left +\r\nleat: nothing was appended: ')

    def test_mended(self):
        """Where data is already, a file with a mistake at its end appends nothing; mended, each row once."""
        self.append({'text': 'x'})
        rows = '{"text": "a"}\n' * 5000
        self.import_file(self.write('w.jsonl', rows + '{"text": 1}\n'), code=4, says='nothing was appended')
        self.assertEqual(self.counts(), {'x': 1})
        self.import_file(self.write('w.jsonl', rows + '{"text": "b"}\n'), says='5001 rows, 5001 of them new')
        self.assertEqual(self.counts(), {'x': 1, 'a': 5000, 'b': 1})


class Killed(ImportTest):
    """Killed at random moments and run again with the same arguments until it is done: each row counts exactly once."""

    def run_killed(self, path, arguments, rows, round):
        self.data = self.path(f'data-{round}')
        call = command_run.command(['import', path, '--data', self.data, *arguments])
        begun = time.monotonic()
        subprocess.run(call[:3] + ['--data', self.path(f'measured-{round}')] + call[5:], check=True, capture_output=True)
        longest, kills, new = time.monotonic() - begun, 0, []
        while kills < KILLS:
            how = self.random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP))
            victim = subprocess.Popen(call, stderr=subprocess.PIPE)
            try:
                error = victim.communicate(timeout=self.random.uniform(0, longest * 0.7))[1].decode()
            except subprocess.TimeoutExpired:
                victim.send_signal(how)
                error = victim.communicate(timeout=120)[1].decode()
                kills += 1
            self.check_error(error, 0)
            if victim.returncode == 5:
                self.assertIn('stopped', error)
            else:
                self.assertIn(victim.returncode, (0, -how))
            new.append(SUMMARY.search(error))
            if victim.returncode == 0:
                break
        last = SUMMARY.search(subprocess.run(call, check=True, capture_output=True).stderr.decode())
        print(f'{rows} rows, {kills} kills; new in each run: ' + ' '.join(m[2] if m else '?' for m in [*new, last]), flush=True)
        self.assertEqual(int(last[1]), rows)
        again = subprocess.run(call, check=True, capture_output=True).stderr.decode()
        self.assertEqual(SUMMARY.search(again).groups(), (str(rows), '0'))

    def signalled(self, path, number, **more):
        """Exit status, and standard error, of an import into a new directory that is signalled while it appends."""
        shutil.rmtree(self.data, ignore_errors=True)
        with subprocess.Popen(command_run.command(['import', path, '--module', 'word_count', '--depot', 'sentences', '--data', self.data]),
                              stderr=subprocess.PIPE, **more) as process:
            self.wait_for_file(process, 'data', 'word_count', 'module.streams')
            process.send_signal(number)
            error = process.communicate(timeout=120)[1].decode()
        return process.returncode, error

    def test_signals(self):
        path, end = self.write('w.jsonl', '{"text": "a b c d"}\n' * 200000), time.monotonic() + 120
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            code = 0
            while code == 0:  # it was done before
                self.assertLess(time.monotonic(), end)
                code, error = self.signalled(path, number)
            self.assertEqual(code, 5, error)
            self.assertIn('stopped; run the same command again', error)

    def test_ignored_signals_stay_ignored(self):
        path = self.write('w.jsonl', '{"text": "a b c d"}\n' * 200000)
        for number in (signal.SIGHUP, signal.SIGINT):
            code, error = self.signalled(path, number, preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
            self.assertEqual(code, 0, error)
            self.assertIn('200000 rows, 200000 of them new', error)

    def sentences(self, rows):
        words = [f'w{i}' for i in range(500)]
        return [' '.join(self.random.choices(words, k=self.random.randrange(4))) + f' r{i % 20000}' for i in range(rows)]

    def check_words(self, *more):
        rows = self.sentences(150000)
        path = self.write('w.jsonl', ''.join('{"text": "%s"}\n%s' % (r, '\n' if i % 1000 == 7 else '') for i, r in enumerate(rows)))
        for round in range(ROUNDS):
            self.run_killed(path, ['--module', 'word_count', '--depot', 'sentences', *more], len(rows), round)
            self.assertEqual(self.counts(), collections.Counter(word for row in rows for word in row.split()))
            self.check_depot(rows)

    def check_depot(self, rows):
        exported = self.run_leat('export', 'word_count', '--depot', 'sentences', '--data', self.data).splitlines()
        self.assertEqual(collections.Counter(json.loads(line)['text'] for line in exported), collections.Counter(rows))

    def test_words(self):
        self.check_words()

    def test_words_processed(self):
        self.check_words('--ack', 'processed', '--tasks', '8', '--groups', '4')

    def test_vectors(self):
        vectors = [[self.random.gauss(0, 1) for _ in range(8)] for _ in range(80000)]
        options = ['--set', 'dims=8', '--set', 'bits=4', '--set', 'tables=2', '--tasks', '8']
        path = self.write('v.npy', npy(vectors))
        for round in range(ROUNDS):
            self.run_killed(path, ['--module', 'lsh', '--depot', 'vectors', *options], len(vectors), round)
            self.check_pstates(vectors)

    def check_pstates(self, vectors):
        info = {r['pstate']: r['elements'] for r in self.rows('pstate', 'info', 'lsh', '--data', self.data)}
        for pstate in ('embeddings', 'vectors', 'ids'):
            self.assertEqual(info[pstate], len(vectors))
        self.assertEqual(info['free'], 0)
        self.assertEqual(sum(r['next'] - r['first'] for r in self.rows('depot', 'info', 'lsh', 'vectors', '--data', self.data)), len(vectors))
        self.check_members(len(vectors))

    def check_members(self, vectors):
        """Every vector is in one bucket of each table."""
        members = self.rows('pstate', 'scan', 'lsh', 'buckets', '--data', self.data)
        self.assertEqual(len({r['key'] for r in members}), len(members))
        self.assertEqual(len(members), 2 * vectors)


if __name__ == '__main__':
    command_run.main()
