# SPDX-License-Identifier: Apache-2.0
"""leat bench recall: what it says about vectors whose neighbours are known here by brute force.
usage: bench_recall.py LEAT [TEST ...]; LEAT_SEED=N repeats a run"""
import gzip
import json
import math
import os
import re
import signal
import struct
import xml.dom.minidom

import command_run
from command_run import CommandTest, bvecs, fvecs, idx, npy

ROWS, QUERIES, DIMS, TOP = 600, 30, 12, 15


def ivecs(rows):
    return b''.join(struct.pack('<i%di' % len(r), len(r), *r) for r in rows)


def cosine(a, b):
    return 1 - sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


class Recall(CommandTest):
    def setUp(self):
        super().setUp()
        os.environ['TMPDIR'] = self.folder  # what it makes goes there
        self.base, self.queries = ([[self.random.gauss(0, 1) for _ in range(DIMS)] for _ in range(n)] for n in (ROWS, QUERIES))

    def truth(self, base, queries, top=TOP):
        return [sorted(range(len(base)), key=lambda i: cosine(base[i], query))[:top] for query in queries]

    def files(self, base=None, query=None, truth=None):
        return ['--base', base or self.write('base.fvecs', fvecs(self.base)), '--query', query or self.write('query.fvecs', fvecs(self.queries)),
                '--truth', truth or self.write('truth.ivecs', ivecs(self.truth(self.base, self.queries)))]

    @staticmethod
    def content(path):
        if not os.path.exists(path):
            return None
        with open(path, 'rb') as file:
            return file.read()

    def bench(self, files, *more, metric='cosine', **expect):
        return self.run_leat('bench', 'recall', '--module', 'lsh', '--metric', metric, *files, *more, **expect)

    def lines(self, files, *more):
        rows = self.rows('bench', 'recall', '--module', 'lsh', '--metric', 'cosine', '--runs', '1', *files, *more)
        return [r for r in rows if r['kind'] == 'build'], [r for r in rows if r['kind'] == 'search']

    def found(self, query, k, **options):
        """What a search of the same module gives, asked by another way."""
        data = self.path('other')
        if not os.path.exists(data):
            settings = [a for name, value in options.items() for a in ('--set', f'{name}={value}')]
            self.run_leat('import', self.path('base.fvecs'), '--module', 'lsh', '--depot', 'vectors', '--data', data, '--ack', 'processed', '--quiet',
                          *settings)
        answer = self.rows('query', 'invoke', 'lsh', 'search', '{"vec": %s}' % query, '--data', data)
        return [int(row['id']) for row in answer][:k]

    def test_gauge(self):
        """What a program sees of its own queries, beside what the benchmark knows from the truth."""
        for probes in (1, 256):
            data = self.path(f'gauge-{probes}')
            _, (point,) = self.lines(self.files(), '--sweep', probes, '--set', 'bits=8', '--set', 'tables=2', '--gauge', 1, '--data', data)
            figures = {r['name']: r['value'] for r in self.rows('stats', '--data', data) if r.get('object') == 'query search' and 'recall' in r['name']}
            self.assertGreater(figures['recall_samples_total'], 0)
            self.assertEqual(figures['recall_failed_total'], 0)
            self.assertEqual(figures['recall_least'] == 1, point['recall'] == 1)
            self.assertEqual(figures['recall_mean'] == 1, point['recall'] == 1)
            self.assertLess(figures['recall_least'], figures['recall_mean'] + 1e-6)
        self.assertEqual(point['recall'], 1)
        self.bench(self.files(), '--sweep', '1', '--gauge', 'x', code=2, says="option '--gauge' is 'x'")

    def test_recall_is_what_brute_force_says(self):
        for k in (1, 10):
            build, (few, all_of_them) = self.lines(self.files(), '--k', k, '--sweep', '1,256', '--set', 'bits=8', '--set', 'tables=2')
            self.assertEqual([b['vectors'] for b in build], [ROWS, ROWS])
            self.assertEqual((few['value'], all_of_them['value']), (1, 256))
            self.assertEqual(all_of_them['recall'], 1.0)
            self.assertLess(few['recall'], 0.9)
            truth, hits = self.truth(self.base, self.queries, k), 0
            for i in range(QUERIES):
                query = list(struct.unpack(f'{DIMS}f', struct.pack(f'{DIMS}f', *self.queries[i])))
                hits += len(set(truth[i]) & set(self.found(query, k, dims=DIMS, bits=8, tables=2, probes=1)))
            self.assertAlmostEqual(few['recall'], hits / (QUERIES * k), delta=1e-4)
            self.assertGreater(few['candidates'], 0)
            self.assertLess(few['candidates'], all_of_them['candidates'])
            self.assertEqual(all_of_them['candidates'], ROWS)

    def test_small_numbers_have_near_and_far_ones(self):
        """Squared distances of 1e-8 are as different as those of 1."""
        base, queries = ([[1e-4 * x for x in row] for row in rows] for rows in (self.base, self.queries))
        as_floats = [[struct.unpack(f'{DIMS}f', struct.pack(f'{DIMS}f', *row)) for row in rows] for rows in (base, queries)]
        for metric, distance in (('l2', lambda a, b: sum((x - y) ** 2 for x, y in zip(a, b))), ('dot', lambda a, b: -sum(x * y for x, y in zip(a, b)))):
            data = self.path('small-' + metric)
            truth = [sorted(range(ROWS), key=lambda i: distance(as_floats[0][i], query))[:TOP] for query in as_floats[1]]
            files = self.files(self.write('b.fvecs', fvecs(base)), self.write('q.fvecs', fvecs(queries)), self.write('t.ivecs', ivecs(truth)))
            for _ in range(5):  # whoever opens it next may find upkeep to do, and others then
                found = self.rows('bench', 'recall', '--module', 'ivf', '--metric', metric, '--runs', 1, '--sweep', '1,4096', '--set', 'epsilon=5', '--data',
                                  data, *files)
                hits = 0
                for i in range(QUERIES):
                    rows = self.rows('query', 'invoke', 'ivf', 'search', json.dumps({'vec': queries[i], 'k': 10, 'nprobe': 1}), '--data', data)
                    reach = distance(as_floats[0][truth[i][9]], as_floats[1][i])  # and floats do not know better what is as near
                    hits += sum(distance(as_floats[0][int(row['id'])], as_floats[1][i]) <= reach + 1e-6 * abs(reach) for row in rows)
                if abs(found[1]['recall'] - hits / (10 * QUERIES)) < 1e-4:
                    break
            self.assertLess(hits, 0.9 * 10 * QUERIES, metric)
            self.assertAlmostEqual(found[1]['recall'], hits / (10 * QUERIES), delta=1e-4, msg=metric)
            self.assertEqual(found[2]['recall'], 1.0, metric)

    def test_figures_are_sensible(self):
        (build,), (point,) = self.lines(self.files(), '--sweep', '256', '--queries', 20, '--threads', 2)
        self.assertEqual((build['dims'], build['k'], build['queries'], build['threads'], build['metric']), (DIMS, 10, 20, 2, 'cosine'))
        for name in 'vectors_per_second', 'seconds', 'cpu_seconds', 'views_mib', 'logs_mib':
            self.assertGreater(build[name], 0, name)
        self.assertLessEqual(build['seconds'], build['settled_seconds'])
        self.assertLessEqual(0, point['p50_us'])
        self.assertLessEqual(point['p50_us'], point['p99_us'])
        self.assertGreater(point['qps'], 0.3 * 1e6 / point['p99_us'])
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith('leat-bench')], [])

    def test_stopped(self):
        files = ['--module', 'lsh', '--metric', 'cosine', '--runs', 101, *self.files()]
        for number in (signal.SIGINT, signal.SIGTERM):
            self.end_while_there('leat-bench-', number, 'bench', 'recall', *files)

    def test_ties_count_whoever_is_named(self):
        """The truth names other rows that are as near: they are as good."""
        base = self.base[:100] * 3
        truth = [[i + 100 * self.random.randrange(3) for i in row[:1]] for row in self.truth(self.base[:100], self.queries, 1)]
        files = self.files(self.write('b.fvecs', fvecs(base)), truth=self.write('t.ivecs', ivecs(truth)))
        self.assertEqual(self.lines(files, '--k', 1, '--sweep', '256')[1][0]['recall'], 1.0)

    def test_forms(self):
        base, queries = ([[self.random.randrange(1, 255) for _ in range(DIMS)] for _ in range(n)] for n in (ROWS, QUERIES))
        truth = self.write('t.ivecs', ivecs(self.truth(base, queries)))
        for name, form in (('x.bvecs', bvecs), ('x.fvecs', fvecs), ('x.npy', npy), ('y.npy', lambda rows: npy(rows, half=True)), ('x.idx', idx),
                           ('x-ubyte', idx), ('x-ubyte.gz', lambda rows: gzip.compress(idx(rows))), ('x.bvecs.gz', lambda rows: gzip.compress(bvecs(rows)))):
            files = self.files(self.write(name, form(base)), self.write('q' + name, form(queries)), truth)
            self.assertEqual(self.lines(files, '--sweep', '256')[1][0]['recall'], 1.0, name)

    def test_ivf(self):
        """What the request says is swept in one directory; each metric by its own truth."""
        def l2(a, b):
            return sum((x - y) ** 2 for x, y in zip(a, b))

        def dot(a, b):
            return -sum(x * y for x, y in zip(a, b))
        for name, distance in ('cosine', cosine), ('l2', l2), ('dot', dot):
            truth = [sorted(range(ROWS), key=lambda i: distance(self.base[i], query))[:TOP] for query in self.queries]
            found = self.rows('bench', 'recall', '--module', 'ivf', '--metric', name, '--runs', 1, '--sweep', '1,4096', '--set', 'epsilon=5',
                              *self.files(truth=self.write('t.ivecs', ivecs(truth))))
            self.assertEqual([(r['kind'], r.get('value')) for r in found], [('build', None), ('search', 1), ('search', 4096)])
            self.assertEqual(found[2]['recall'], 1.0, name)
            self.assertGreaterEqual(found[2]['candidates'], found[2]['ranked'])
            self.assertGreaterEqual(found[2]['ranked'], 10)

    def test_numpy_of_bytes(self):
        """Signed ones are other numbers, and the same bits."""
        for type, low, high in (('|i1', -128, 127), ('|u1', 0, 255)):
            base, queries = ([[self.random.randint(low, high) for _ in range(8)] for _ in range(n)] for n in (ROWS, QUERIES))
            for metric, distance in (('cosine', cosine), ('hamming', lambda a, b: sum((x & 255 ^ y & 255).bit_count() for x, y in zip(a, b)))):
                truth = [sorted(range(ROWS), key=lambda i: distance(base[i], query))[:TOP] for query in queries]
                files = self.files(self.write('x.npy', npy(base, type=type)), self.write('q.npy', npy(queries, type=type)), self.write('t.ivecs', ivecs(truth)))
                found = self.rows('bench', 'recall', '--module', 'ivf', '--metric', metric, '--runs', 1, '--sweep', '4096', '--set', 'epsilon=5', *files)
                self.assertEqual(found[1]['recall'], 1.0, (type, metric))

    def test_bits(self):
        base, queries = ([[self.random.randrange(256) for _ in range(8)] for _ in range(n)] for n in (ROWS, QUERIES))
        truth = [sorted(range(ROWS), key=lambda i: sum((x ^ y).bit_count() for x, y in zip(base[i], query)))[:TOP] for query in queries]
        files = self.files(self.write('x.bvecs', bvecs(base)), self.write('q.bvecs', bvecs(queries)), self.write('t.ivecs', ivecs(truth)))
        build, point = self.rows('bench', 'recall', '--module', 'ivf', '--metric', 'hamming', '--runs', 1, '--sweep', '4096', *files)
        self.assertEqual((build['dims'], point['recall']), (64, 1.0))
        self.bench(self.files(), metric='hamming', code=2, says="does not measure by 'hamming'")
        self.run_leat('bench', 'recall', '--module', 'ivf', '--metric', 'hamming', *self.files(), code=4, says='bytes of eight bits each')

    def test_a_directory_is_kept(self):
        files, more = self.files(), ('--sweep', '16', '--data', self.data)
        (built,), (first,) = self.lines(files, *more)
        (there,), (again,) = self.lines(files, *more)
        self.assertGreater(built['vectors_per_second'], 0)
        self.assertIsNone(there['vectors_per_second'])
        self.assertEqual(first['recall'], again['recall'])
        other = self.base[:-1] + [self.base[0]]
        truth = self.write('other.ivecs', ivecs(self.truth(other, self.queries)))
        self.bench(self.files(self.write('other.fvecs', fvecs(other)), truth=truth), *more, code=4, says=r'holds 600 vectors that are not those of')
        self.bench(files, '--sweep', '1,2', '--data', self.data, code=2, says='with one value of --sweep')

    def test_table_and_plot(self):
        svg = self.path('x.svg')
        text = self.bench(self.files(), '--sweep', '1,16,256', '--runs', 1, '--format', 'table', '--svg', svg)
        self.assertRegex(text, r'lsh, .*base\.fvecs: 600 x 12 f32, cosine, k = 10, 30 queries, 1 thread')
        self.assertRegex(text, r'(?m)^build +\d.* vectors/s')
        self.assertRegex(text, r'(?m)^probes +recall@10 +queries/s')
        self.assertRegex(text, r'(?m)^256 +1\.0000 +\d+')
        plot = xml.dom.minidom.parse(svg)
        self.assertEqual(len(plot.getElementsByTagName('circle')), 3)
        x = [float(c.getAttribute('cx')) for c in plot.getElementsByTagName('circle')]
        self.assertEqual(x, sorted(x))
        self.assertEqual(len(re.findall(r'[\d.]+,[\d.]+', plot.getElementsByTagName('polyline')[0].getAttribute('points'))), 3)
        self.assertEqual(self.bench(self.files(), '--sweep', '1', '--svg', self.path('no/x.svg'), code=1, says="x.svg"), '')  # nothing was measured
        self.assertEqual(self.bench(self.files(), '--sweep', '1', '--svg', self.folder, code=4, says="write '.*: Is a directory"), '')
        for path in svg, self.path('y.svg'):  # what did not come to an end changes none and leaves none
            before = self.content(path)
            self.bench(self.files(base=self.path('missing.fvecs')), '--svg', path, code=1, says='missing.fvecs')
            self.assertEqual(self.content(path), before)

    def test_wrong_files(self):
        good = self.files()
        for place, content, name, says in (
                (1, b'', 'e.fvecs', 'is empty'), (1, npy([], header="{'descr': '<f4', 'fortran_order': False, 'shape': (0, 12), }"), 'e.npy', 'is empty'),
                (3, b'', 'e.fvecs', 'no vectors of 12 elements'), (5, b'', 'e.ivecs', '0 neighbours of 0 queries'), (1, fvecs(self.base)[:-1], 'b.fvecs', 'ends inside a row'), (1, ivecs([[1] * DIMS]), 'b.ivecs', 'no file of vectors'),
                (1, gzip.compress(fvecs(self.base))[:-9], 'b.fvecs.gz', 'packed by gzip, or is damaged|ends inside a row'),
                (1, idx([[1] * DIMS])[:10], 'b.idx', 'byte 0: no IDX'),
                (1, idx([[1] * DIMS] * 3)[:-1], 'b.idx', '3 rows are said'),
                (3, fvecs([[1.0] * 5]), 'q.fvecs', 'no vectors of 12 elements'), (3, ivecs([[1] * DIMS]), 'q.ivecs', 'no vectors of 12'),
                (5, fvecs(self.base), 't.fvecs', 'is no truth: .ivecs'), (5, ivecs([[1, 2]] * QUERIES), 't.ivecs', '2 neighbours of 30 queries; 10 of 30'),
                (5, ivecs([[1] * TOP] * 3), 't.ivecs', '15 neighbours of 3 queries'),
                (5, ivecs([[ROWS] * TOP] * QUERIES), 't.ivecs', 'row 0: neighbour 600, but .* has 600 rows'),
                (5, ivecs([row[::-1] for row in self.truth(self.base, self.queries)]), 't.ivecs', 'is this the truth of these files by cosine')):
            files = list(good)
            files[place] = self.write(name, content)
            self.bench(files, code=4, says=says)
        for place, endings in (1, '.fvecs, .bvecs, .npy or .idx'), (3, '.fvecs, .bvecs, .npy or .idx'), (5, '.ivecs'):
            files = list(good)
            files[place] = self.write('x.vectors', fvecs(self.base))
            self.bench(files, code=4, says=rf"x.vectors': of what form is it\? Name it {endings}, .gz behind it if it is packed\n")
        for place in 1, 3, 5:
            files = list(good)
            files[place] = self.path('missing' + os.path.splitext(files[place])[1])
            self.bench(files, code=1, says='missing')

    def test_a_truth_with_a_neighbour_twice(self):
        """Only what is compared counts: the first k."""
        truth = self.truth(self.base, self.queries)
        twice = truth[7][3]
        for place, wrong in (9, True), (10, False):
            truth[7] = self.truth(self.base, self.queries)[7]
            truth[7].insert(place, twice)
            truth[7].pop()
            files = self.files(truth=self.write('t.ivecs', ivecs(truth)))
            if wrong:
                self.bench(files, code=4, says=rf"t.ivecs', row 7: neighbour {twice} is there twice among the first 10")
                self.lines(files, '--k', 9, '--sweep', 1)
            else:
                self.lines(files, '--sweep', 1)

    def test_vectors_that_cannot_be_appended(self):
        truth, base = self.truth(self.base, self.queries), [list(row) for row in self.base]
        far = next(i for i in range(100, ROWS) if all(i not in row for row in truth))
        base[far][4] = math.nan
        files = self.files(self.write('b.fvecs', fvecs(base)))
        self.bench(files, '--sweep', 1, code=4, says=f"b.fvecs', row {far}: .*column 'vec': the vector holds NaN")
        truth[3][9] = far
        files[5] = self.write('t.ivecs', ivecs(truth))
        self.bench(files, '--sweep', 1, code=4, says=f"t.ivecs', row 3: neighbour {far}, but row {far} of '.*b.fvecs' has no distance by cosine")

    def test_rows_that_are_refused(self):
        """Figures would be of other vectors than those of the file."""
        def l2(a, b):
            return sum((x - y) ** 2 for x, y in zip(a, b))
        for metric, distance, row in ('cosine', cosine, [0] * DIMS), ('l2', l2, [1e19] * DIMS):
            base = [list(row) if i in (17, 400) else self.base[i] for i in range(ROWS)]
            others = [i for i in range(ROWS) if i not in (17, 400)]
            truth = [sorted(others, key=lambda i: distance(base[i], query))[:TOP] for query in self.queries]
            files = self.files(self.write('b.fvecs', fvecs(base)), truth=self.write('t.ivecs', ivecs(truth)))
            bench = ['bench', 'recall', '--module', 'ivf', '--metric', metric, '--runs', 1, '--sweep', 4, *files]
            says = "module 'ivf' refused 2 of the 600 rows of '.*b.fvecs': "
            self.assertEqual(self.run_leat(*bench, code=4, says=says + "with --data DIR they are kept, and 'leat depot tail ivf dead_letters --data DIR'"), '')
            data = self.path('refused-' + metric)
            for _ in range(2):  # they are refused when they are there already, too
                self.assertEqual(self.run_leat(*bench, '--data', data, code=4, says=says + f"'leat depot tail ivf dead_letters --data {data}' says why"), '')
            self.assertEqual(len(self.rows('depot', 'tail', 'ivf', 'dead_letters', '--data', data)), 2)

    def test_queries_that_cannot_be_asked(self):
        good = self.files()
        for place, element, says in (7, math.nan, 'element 7 is not finite'), (11, math.inf, 'element 11 is not finite'), (0, -math.inf, 'element 0 is'):
            queries = [list(q) for q in self.queries]
            queries[4][place] = element
            for module in 'lsh', 'ivf':
                files = [*good[:3], self.write('q.fvecs', fvecs(queries)), *good[4:]]
                self.run_leat('bench', 'recall', '--module', module, '--metric', 'cosine', *files, code=4, says="q.fvecs', row 4: " + says)
        queries[4] = [0] * DIMS
        files[3] = self.write('q.fvecs', fvecs(queries))
        self.bench(files, code=4, says="q.fvecs', row 4: all elements are 0: by cosine")
        self.lines(files, '--queries', 4, '--sweep', 1)  # those before it can
        zero = [[0] * DIMS] + self.queries[1:]  # by l2 it is as good as others
        truth = [sorted(range(ROWS), key=lambda i: sum((x - y) ** 2 for x, y in zip(self.base[i], q)))[:TOP] for q in zero]
        found = self.rows('bench', 'recall', '--module', 'ivf', '--metric', 'l2', '--runs', 1, '--sweep', 4096, '--set', 'epsilon=5', *good[:2],
                          '--query', self.write('z.fvecs', fvecs(zero)), '--truth', self.write('z.ivecs', ivecs(truth)))
        self.assertEqual(found[1]['recall'], 1.0)

    def test_wrong_words(self):
        good = self.files()
        for more, says in ((['--sweep', ''], 'no values'), (['--sweep', '1,x'], 'numbers with commas'), (['--k', '0'], '1 or more'), (['--runs', '0'], '1 or more'),
                           (['--k', 'x'], "option '--k' is 'x'"), (['--k=x'], "option '--k' is 'x'"), (['-k', 'x'], "option '-k' is 'x'"),
                           (['--threads', '0'], '1 or more')):
            self.bench(good, *more, code=2, says=says)
        ivf = ['bench', 'recall', '--module', 'ivf', '--metric', 'cosine', *self.files(base=self.path('missing.fvecs'))]  # refused before it is looked for
        for values in '0', '16,65537', '1,99999999999999999999999':
            self.run_leat(*ivf, '--sweep', values, code=2, says=f"--sweep is '{values}', but 'nprobe' of module 'ivf' is 1 to 65536")
        self.run_leat(*ivf, '--set', 'metric=dot', code=2, says="--set metric=dot contradicts --metric, which is 'cosine': say --metric dot alone")
        self.run_leat('bench', 'recall', '--module', 'ivf', *good, '--set', 'dims=12', '--set', 'metric=dot', code=2, says="--metric, which is 'l2'")
        self.run_leat(*ivf, '--set', 'metric=cosine', code=1, says='missing.fvecs')  # twice the same is none
        self.bench(good, '--sweep', '1,65537', code=2, says="'probes' of module 'lsh' is 0 to 65536")
        self.bench(good, metric='l2', code=2, says="does not measure by 'l2'; it has: cosine")
        self.bench(good, '--k', TOP + 1, code=4, says='15 neighbours of 30 queries; 16 of 30')
        self.bench(good[:4], code=2, says='--truth')
        self.run_leat('bench', 'recall', '--module', 'word_count', *good, code=2, says='does not search vectors')
        self.run_leat('bench', 'recall', '--module', 'no', *good, code=1, says="no module 'no'")


if __name__ == '__main__':
    command_run.main()
