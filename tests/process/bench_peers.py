# SPDX-License-Identifier: Apache-2.0
"""bench/peers without its libraries: settings are found and compared as it says.
usage: bench_peers.py FOLDER [TEST ...]; LEAT_SEED=N repeats a run"""
import contextlib
import gzip
import importlib.util
import io
import os
import random
import sys
import tempfile
import types
import unittest

FOLDER = sys.argv.pop(1)
SEED = int(os.environ.get('LEAT_SEED', random.SystemRandom().randrange(1 << 32)))
sys.path.insert(0, FOLDER)
sys.dont_write_bytecode = True
import peers  # noqa: E402


class Curve(peers.Peer):
    """A library whose recall grows with the knob in its own way, up to a bound of the second setting."""

    def __init__(self, folder, build, steps, bound):
        super().__init__('', {'k': 10, 'queries_count': 2000}, folder, 'curve', build)
        self.steps, self.bound, self.asked = steps, bound, 0
        self.memory, self.took = 1 << 20, {'cpu_seconds': 2}

    def ask(self, knob, second, most=None):
        self.asked += 1
        recall = min(self.steps[min(knob, len(self.steps) - 1)], self.bound(second))
        return {'recall': recall, 'qps': 1e6 / (knob * (second or 1)), 'qps_busy': 2e6 / (knob * (second or 1)), 'p50_us': knob, 'p99_us': 2 * knob}


class Settings(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(SEED)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def steps(self, most):
        points = sorted(self.random.random() ** 0.3 for _ in range(most))
        return [0] + points[:-1] + [1]

    def test_the_smallest_setting_is_found(self):
        for round in range(200):
            most = self.random.choice((8, 64, 512, 2048))
            curve = Curve(self.folder, {'round': round}, self.steps(most), lambda _: 1)
            for target in peers.TARGETS:
                knob = curve.reach(target, None, 1, most, self.random.randint(1, most))
                wanted = next(i for i, recall in enumerate(curve.steps) if recall >= target)
                self.assertGreaterEqual(curve.steps[knob], target)
                self.assertLessEqual(knob - wanted, max(1, wanted // 16), f'{wanted} of {most}')
            self.assertLess(curve.asked, 200)

    def test_a_library_that_is_not_there_is_refused(self):
        self.assertEqual(peers.wanted(None, ['a', 'b c']), ['a', 'b c'])
        self.assertEqual(peers.wanted('b c', ['a', 'b c']), ['b c'])
        with self.assertRaisesRegex(SystemExit, "no library 'b'; there are a, b c"):
            peers.wanted('a,b', ['a', 'b c'])

    def test_what_is_as_near_is_a_share_of_the_distance(self):
        for metric in 'l2', 'dot':
            for distance in 1e-9, 1, 1e9, -1e-9, -1e9:
                reach = peers.reach_of(metric, distance)
                self.assertTrue(distance + 1e-7 * abs(distance) < reach < distance + 1e-5 * abs(distance), (metric, distance))
        self.assertEqual(peers.reach_of('l2', 0), 0)
        self.assertTrue(1e-7 < peers.reach_of('cosine', 0) < 1e-6)  # floats know a cosine near 1 no better

    def test_a_truth_with_a_neighbour_twice_is_refused(self):
        peers.check_truth('t', [[3, 1, 2, 2], [5, 4, 0, 5]], 3, 6)
        for truth, says in ([[3, 1, 2, 2]], "'t', row 0: neighbour 2 is there twice among the first 4"), ([[1, 2, 3, 4], [9, 7, 8, 9]], 'row 1: neighbour 9 is'):
            with self.assertRaisesRegex(SystemExit, says):
                peers.check_truth('t', truth, 4, 10)

    def test_a_truth_with_too_few_neighbours_is_refused(self):
        with self.assertRaisesRegex(SystemExit, "'t', row 1: 2 neighbours, but --k is 3"):
            peers.check_truth('t', [[1, 2, 3], [4, 5]], 3, 6)

    def test_a_truth_of_another_base_is_refused(self):
        for neighbour in 6, -1, -2 ** 31:  # numpy takes -1 for the last row
            with self.assertRaisesRegex(SystemExit, f"'t', row 1: neighbour {neighbour}, but the base has 6 rows"):
                peers.check_truth('t', [[5, 1, 2, 3], [0, 1, neighbour, 6]], 3, 6)

    @unittest.skipUnless(importlib.util.find_spec('numpy'), 'numpy is not here')
    def test_forms(self):
        """Packed or not, a file says the same."""
        import numpy as np
        rows = np.array([[self.random.randrange(256) for _ in range(5)] for _ in range(7)], np.uint8)
        npy = io.BytesIO()
        np.save(npy, rows.astype(np.float16))
        forms = {'npy': npy.getvalue(), 'bvecs': b''.join(bytes([5, 0, 0, 0]) + row.tobytes() for row in rows),
                 'ivecs': np.insert(rows.astype(np.int32), 0, 5, axis=1).tobytes(),
                 'idx': bytes([0, 0, 8, 2, 0, 0, 0, 7, 0, 0, 0, 5]) + rows.tobytes()}
        for name, data in forms.items():
            for end, written in (('', data), ('.gz', gzip.compress(data))):
                path = os.path.join(self.folder, f'x.{name}{end}')
                with open(path, 'wb') as out:
                    out.write(written)
                self.assertEqual(peers.read_vectors(path).tolist(), rows.tolist(), path)

    def test_what_cannot_be_reached_is_given_up(self):
        steps = [0] + [0.93] * 2048
        self.assertIsNone(Curve(self.folder, {}, steps, lambda _: 1).reach(0.95, None, 10, 2048, 10))
        curve = Curve(self.folder, {'b': 1}, steps, lambda _: 1)
        curve.reach(0.95, None, 10, 2048, 10)
        self.assertLess(curve.asked, 30)

    def test_second_settings_bound_the_recall(self):
        build = {'factory': 'IVF512,PQ64x4fs,RFlat'}
        curve = Curve(self.folder, build, [i / 512 for i in range(513)], lambda second: {2: 0.92, 8: 0.97, 32: 1}[second])
        found = peers.scout(curve, [2, 8, 32], 'qps')
        reached = {second: [target for target, _, s, _ in found if s == second] for second in (2, 8, 32)}
        self.assertEqual(reached, {2: [0.90], 8: [0.90, 0.95], 32: [0.90, 0.95, 0.99]})
        again = Curve(self.folder, build, [], None)  # what was seen is kept
        self.assertEqual(sorted(peers.scout(again, [2, 8, 32], 'qps')), sorted(found))
        self.assertEqual(again.asked, 0)

    def test_what_was_made_of_other_data_is_not_used(self):
        folder = os.path.join(self.folder, 'cache')
        options = types.SimpleNamespace(**{name: os.path.join(self.folder, name) for name in ('base', 'query', 'truth')})
        made = [os.path.join(folder, name) for name in ('index', 'index.10.2000.scout')]

        def left(change):
            with open(change, 'a', encoding='ascii') as out:
                out.write('more')
            peers.same_data(options, folder)
            kept = [os.path.exists(path) for path in made]
            for path in made:
                open(path, 'w', encoding='ascii').close()
            peers.same_data(options, folder)
            self.assertTrue(all(map(os.path.exists, made)))
            return kept
        for path in (options.query, options.truth):
            open(path, 'w', encoding='ascii').close()
        self.assertEqual(left(options.base), [False, False])
        self.assertEqual(left(options.query), [True, False])
        self.assertEqual(left(options.truth), [True, False])
        self.assertEqual(left(options.base), [False, False])

    def test_the_best_of_each_library_is_shown(self):
        all_steps = ([0] + [0.999] * 2048, [0] * 100 + [0.999] * 1949)
        rows = [Curve(self.folder, {'M': i}, steps, lambda _: 1) for i, steps in enumerate(all_steps)]
        found = {peer: peers.scout(peer, [None], 'qps') for peer in rows}
        chosen = peers.finalists(rows, found)
        self.assertEqual({peer.build['M'] for _, _, peer, _, _ in chosen}, {0})  # the other one is far slower
        options = types.SimpleNamespace(runs=3, clock='qps')
        with contextlib.redirect_stderr(io.StringIO()) as said:
            answers = peers.measure(options, chosen, None, {})
            best = peers.results(chosen, answers, {'curve': ('ef', None)}, 'qps')
            peers.show(best, 'data', {'rows': 5, 'dims': 3, 'metric': 'l2', 'k': 10}, options)
        self.assertEqual({target for _, target in best}, set(peers.TARGETS))
        self.assertEqual(best['curve', 0.95]['qps'], 1e6 / best['curve', 0.95]['value'])
        self.assertRegex(said.getvalue(), r'(?m)^curve +100000 +100000 +100000 +2 s +1 MiB')


# A leat that knows when its directory is new, as `leat bench recall` does, and notes beside itself that it built one.
COMMAND = """#!/bin/sh
case "$*" in *bad=*) echo 'there is no option bad' >&2; exit 2;; esac
while [ "$1" != --data ]; do shift; done
if [ -d "$2" ]; then
  echo '{"kind": "build", "cpu_seconds": null, "memory_mib": 40, "mapped_mib": 20}'
else
  mkdir "$2" && echo built >> "$0.builds"
  echo '{"kind": "build", "cpu_seconds": 7, "memory_mib": 90, "mapped_mib": 10}'
fi
for value in 1 2 4; do
  echo '{"knob": "nprobe", "value": '$value', "recall": 0.9'$value', "qps": 9, "qps_busy": 8, "p50_us": 1, "p99_us": 2}'
done
"""


class Command(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cache, self.command = os.path.join(folder.name, 'cache'), os.path.join(folder.name, 'leat')
        os.mkdir(self.cache)
        with open(self.command, 'w', encoding='ascii') as out:
            out.write(COMMAND)
        os.chmod(self.command, 0o700)

    def row(self, *settings):
        """What is known of Leat at a recall of 0.90, and its line of the table."""
        options = types.SimpleNamespace(leat=self.command, module='ivf', set=list(settings), base='b', query='q',
                                        truth='t', metric='l2', k=10, queries=5, runs=1, clock='qps')
        leat, best = peers.Leat(options, self.cache), {}
        values = leat.scout()
        with contextlib.redirect_stderr(io.StringIO()) as said:
            peers.add_leat(best, leat, values, peers.measure(options, [], leat, values), 'ivf')
            peers.show(best, 'data', {'rows': 5, 'dims': 3, 'metric': 'l2', 'k': 10}, options)
        return {**best['leat ivf', 0.90], 'line': said.getvalue().splitlines()[-1]}

    def builds(self):
        with open(self.command + '.builds', encoding='ascii') as lines:
            return len(list(lines))

    def test_what_it_took_to_build_is_kept(self):
        rows = [self.row() for _ in range(2)]
        for row in rows:
            self.assertRegex(row['line'], 'ivf .* 7 s +40 MiB   20 MiB of mapped files; nprobe=1$')  # as opened again
        self.assertEqual(rows[0], rows[1])
        self.assertEqual(self.builds(), 1)

    def test_other_options_have_another_directory(self):
        rows = [self.row(*settings) for settings in ((), ('a=1', 'b=2'), ('b=2', 'a=1'), ('a=1', 'b=3'))]
        self.assertEqual([row['build']['set'] for row in rows], ['', 'a=1 b=2', 'a=1 b=2', 'a=1 b=3'])
        self.assertEqual(self.builds(), 3)

    def test_what_did_not_end_or_another_built_is_built_again(self):
        self.row()
        folder, = os.listdir(self.cache)
        os.unlink(os.path.join(self.cache, folder, 'built.json'))
        self.assertEqual(self.row()['build_cpu_seconds'], 7)
        with open(self.command, 'a', encoding='ascii') as out:
            out.write('# another')
        self.assertEqual(self.row()['build_cpu_seconds'], 7)
        self.assertEqual(self.builds(), 3)

    def test_a_mistake_is_said(self):
        with self.assertRaisesRegex(SystemExit, 'ended with 2: there is no option bad'):
            self.row('bad=1')
        os.unlink(self.command)
        with self.assertRaisesRegex(SystemExit, 'there is no command'):
            self.row()


if __name__ == '__main__':
    print(f'seed {SEED}', flush=True)
    unittest.main(argv=sys.argv[:1] + sys.argv[1:], verbosity=2)
