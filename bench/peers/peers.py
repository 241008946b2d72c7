#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Leat beside other libraries for vector search: the same vectors, queries, truth, k, and one thread, one query at a time.

    bench/peers/peers.py --base base.bvecs --query query.bvecs --truth truth.ivecs --metric l2 --leat build/leat

Libraries come from PyPI into a folder of --cache, as do the indexes they build. For each library and build, the smallest setting
of its knob that reaches each recall is found by bisection; the fastest of these are then run --runs times, in turn with all others
and with `leat bench recall`, and the median counts. The table is on standard error, its rows as JSON lines on standard output.
"""
import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TARGETS = (0.90, 0.95, 0.99)
FINALISTS, CLOSE = 2, 0.85  # so many settings a library sends into the runs for each recall, if they are that close to its best
SLACK, FLOATS_NEAR_1 = 1e-6, 2 * 2 ** -23  # what floats lose of a distance; and of a cosine, which is near 1 where vectors are near
FEW, FAR = 400, 0.02  # so many queries tell recalls apart that differ by that


def say(*words):
    print(*words, file=sys.stderr, flush=True)


# ---- The environment ----


def install(cache):
    """The packages, each on its own: one that does not install leaves the others. {package: why not}."""
    venv = os.path.join(cache, 'venv')
    python = os.path.join(venv, 'bin', 'python')
    missing = {}
    if not os.path.exists(python):
        subprocess.run([sys.executable, '-m', 'venv', venv], check=True)
    with open(os.path.join(HERE, 'requirements.txt'), encoding='ascii') as lines:
        wanted = [line.strip() for line in lines if line.strip() and not line.startswith('#')]
    have = subprocess.run([python, '-m', 'pip', 'freeze'], capture_output=True, text=True, check=True).stdout.split()
    for package in wanted:
        if package in have:
            continue
        say(f'installing {package}')
        done = subprocess.run([python, '-m', 'pip', 'install', '-q', '--disable-pip-version-check', package], capture_output=True, text=True)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            missing[package.split('==')[0]] = lines[-1] if lines else 'pip says nothing'
    return python, missing


# ---- Data ----


def read_vectors(path):
    import numpy as np
    with (gzip.open if path.endswith('.gz') else open)(path, 'rb') as file:
        data = file.read()
    name = path[:-3] if path.endswith('.gz') else path
    if name.endswith('.npy'):
        return np.load(io.BytesIO(data))
    if name.endswith(('.fvecs', '.ivecs', '.bvecs')):
        dims = int.from_bytes(data[:4], 'little')
        if name.endswith('.bvecs'):
            return np.frombuffer(data, np.uint8).reshape(-1, 4 + dims)[:, 4:]
        return np.frombuffer(data, np.float32 if name.endswith('.fvecs') else np.int32).reshape(-1, 1 + dims)[:, 1:]
    if data[:3] != b'\0\0\x08':
        raise SystemExit(f'{path}: of what form is it?')
    shape = [int.from_bytes(data[4 + 4 * i:8 + 4 * i], 'big') for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape[0], -1)


def identity(path):
    there = os.stat(path)
    return [os.path.realpath(path), there.st_size, there.st_mtime_ns]


def same_data(options, folder):
    """Files in a folder of one name may be others than last time, and what counts as near too: then nothing that was made of those is used again."""
    note = os.path.join(folder, 'data.json')
    now = {'base': identity(options.base), 'asked': [identity(options.query), identity(options.truth), SLACK, FLOATS_NEAR_1]}
    before = now
    if os.path.exists(note):
        with open(note, encoding='ascii') as text:
            before = json.load(text)
    if now['base'] != before['base']:
        shutil.rmtree(folder)
    for name in os.listdir(folder) if now['asked'] != before['asked'] and os.path.isdir(folder) else ():
        if name.endswith('.scout'):
            os.unlink(os.path.join(folder, name))
    os.makedirs(folder, exist_ok=True)
    with open(note, 'w', encoding='ascii') as text:
        json.dump(now, text)


def check_truth(path, truth, k, rows):
    """A neighbour that is there twice would take the place of one further away, behind which what counts begins.
    To numpy a number below 0 is a row from the end: it would be measured as if it were right."""
    for query, row in enumerate(truth):
        if len(row) < k:
            raise SystemExit(f"peers.py: '{path}', row {query}: {len(row)} neighbours, but --k is {k}")
        first = sorted(int(neighbour) for neighbour in row[:k])
        for neighbour in first:
            if not 0 <= neighbour < rows:
                says = f'neighbour {neighbour}, but the base has {rows} rows'
                raise SystemExit(f"peers.py: '{path}', row {query}: {says}")
        for one, next_one in zip(first, first[1:]):
            if one == next_one:
                raise SystemExit(f"peers.py: '{path}', row {query}: neighbour {one} is there twice among the first {k}")


def reach_of(metric, distance):
    """The true distance at rank k, and what is as near: as `leat bench recall` has it."""
    return distance + SLACK * abs(distance) + (FLOATS_NEAR_1 if metric == 'cosine' else 0)


def prepare(options, folder):
    """base.npy, queries.npy as float32 (of unit length under cosine) and limit.npy: how far what counts may be."""
    import numpy as np
    from worker import distances
    same_data(options, folder)
    job = {'metric': options.metric, 'k': options.k, **{n: os.path.join(folder, n + '.npy') for n in ('base', 'queries', 'limit')}}
    base, queries = read_vectors(options.base), read_vectors(options.query)
    truth = read_vectors(options.truth)
    queries, truth = queries[:options.queries], truth[:options.queries]
    if queries.shape[1] != base.shape[1]:
        raise SystemExit(f"peers.py: '{options.query}' has vectors of {queries.shape[1]} dimensions, '{options.base}' of {base.shape[1]}")
    if len(truth) < len(queries):
        raise SystemExit(f"peers.py: '{options.truth}' has {len(truth)} rows for {len(queries)} queries")
    check_truth(options.truth, truth, options.k, len(base))
    job.update(queries_count=len(queries), rows=len(base), dims=base.shape[1], bytes=bool(base.dtype == np.uint8 and options.metric == 'l2'))

    def plain(rows):
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        return rows if options.metric != 'cosine' else rows / np.linalg.norm(rows, axis=1, keepdims=True)
    base, queries = plain(base), plain(queries)
    limit = [reach_of(options.metric, distances(job, base[truth[i, options.k - 1:options.k]], queries[i])[0]) for i in range(len(queries))]
    np.save(job['base'], base)
    np.save(job['queries'], queries)
    np.save(job['limit'], np.array(limit))
    return job


# ---- One index ----


def key_of(name, build):
    """What an index is kept under: it differs with whatever the index was built with."""
    return hashlib.sha256(json.dumps([name, build], sort_keys=True).encode()).hexdigest()[:16]


class Peer:
    """A build of a library: its process and what was measured of it."""

    def __init__(self, python, job, folder, library, build):
        self.library, self.build = library, build
        self.job = {**job, 'library': library, 'build': build, 'path': os.path.join(folder, key_of(library, build))}
        self.python, self.process = python, None
        self.note = f"{self.job['path']}.{job['k']}.{job['queries_count']}.scout"
        self.seen = {}
        if os.path.exists(self.note):
            with open(self.note, encoding='ascii') as text:
                self.seen = {tuple(key): answer for key, answer in json.load(text)}

    def command(self, **more):
        single = {name: '1' for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')}
        return {'args': [self.python, os.path.join(HERE, 'worker.py'), json.dumps({**self.job, **more})],
                'env': {**os.environ, **single}, 'text': True}

    def start(self):
        """None, or why it cannot be used."""
        log = self.job['path'] + '.log'
        with open(log, 'w', encoding='utf-8') as errors:
            if subprocess.run(**self.command(only_build=True), stderr=errors, stdout=errors).returncode != 0:
                return last_line(log)
            self.process = subprocess.Popen(**self.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        line = self.process.stdout.readline()
        if not line:
            return last_line(log)
        self.memory = json.loads(line)['memory']
        with open(self.job['path'] + '.json', encoding='ascii') as note:
            self.took = json.load(note)
        return None

    def ask(self, knob, second, most=None):
        print(json.dumps({'knob': knob, 'second': second, **({'most': most} if most else {})}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(last_line(self.job['path'] + '.log'))
        return json.loads(line)

    def probe(self, knob, second, target):
        """What a setting reaches. A few queries are enough to see that it is far from the target."""
        for most in (FEW, None):
            key = (knob, second, most)
            if key not in self.seen:
                self.seen[key] = self.ask(*key)
            if abs(self.seen[key]['recall'] - target) > FAR:
                break
        return self.seen[key]

    def keep(self):
        """What was seen, for the next run."""
        with open(self.note, 'w', encoding='ascii') as text:
            json.dump(list(self.seen.items()), text)

    def reach(self, target, second, least, most, near):
        """The smallest knob, to about 3 %, with at least this recall, probably not far from near; None: not even the largest has."""
        low, high = least - 1, max(near, least)
        while high > least and self.probe(high, second, target)['recall'] >= target:
            down = max(high * 3 // 4, least)
            if self.probe(down, second, target)['recall'] < target:
                low = down
                break
            high = down
        while self.probe(high, second, target)['recall'] < target:
            if high >= most or self.hopeless(high, second, target):
                return None
            low, high = high, min(2 * high, most)
        while high - low > max(1, low // 32):
            middle = (low + high) // 2
            low, high = (low, middle) if self.probe(middle, second, target)['recall'] >= target else (middle, high)
        return high

    def hopeless(self, high, second, target):
        """Twice the work brought next to nothing: another thing than the knob bounds the recall."""
        return high >= 32 and self.probe(high, second, target)['recall'] - self.probe(high // 2, second, target)['recall'] < 0.001

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


def last_line(path):
    with open(path, encoding='utf-8', errors='replace') as text:
        lines = [line.strip() for line in text if line.strip()]
    return lines[-1] if lines else 'it ended without a word'


def scout(peer, seconds, clock):
    """[(target, knob, second, qps)] of the smallest settings that reach each recall."""
    factory = peer.build.get('factory', '')
    lists = re.search(r'IVF(\d+)', factory)
    most = int(lists[1]) if lists else peer.build.get('leaves', 0)
    least, most = (1, most) if most else (peer.job['k'], 2048) # lists, or candidates of a graph
    found, near = [], {}
    for second in reversed(seconds):
        for target in TARGETS:
            knob = peer.reach(target, second, least, most, near.get(target, least))
            if knob is None:
                break
            near[target] = knob
            found.append((target, knob, second, peer.probe(knob, second, target)[clock]))
    peer.keep()
    return found


# ---- Leat ----


class Leat:
    """`leat bench recall` over the same files, in a directory that is kept with what it took to build."""

    def __init__(self, options, folder):
        command = shutil.which(options.leat)
        if command is None:
            raise SystemExit(f"peers.py: --leat: there is no command '{options.leat}'")
        self.settings = sorted(options.set)
        self.path = os.path.join(folder, f'leat-{options.module}-{key_of(options.module, self.settings)}')
        self.base = [command, 'bench', 'recall', '--threads', '1', '--runs', '1', '--format', 'jsonl', '--quiet',
                     '--data', os.path.join(self.path, 'data')]
        for name in 'module', 'base', 'query', 'truth', 'metric', 'k', 'queries':
            self.base += ['--' + name, str(getattr(options, name))]
        for setting in self.settings:
            self.base += ['--set', setting]

    def build(self):
        """What the directory took to build: once, and again when the command is another, which may build otherwise."""
        note, kept = os.path.join(self.path, 'built.json'), {'leat': identity(self.base[0])}
        if os.path.exists(note):
            with open(note, encoding='ascii') as text:
                before = json.load(text)
            if before['leat'] == kept['leat']:
                return before['built']
        shutil.rmtree(self.path, ignore_errors=True)
        os.makedirs(self.path)
        kept['built'] = self.run([1])[0]
        with open(note, 'w', encoding='ascii') as text:
            json.dump(kept, text)
        return kept['built']

    def run(self, values=None):
        """The line of the directory as it was built or opened, and those of settings."""
        sweep = ['--sweep', ','.join(map(str, values))] if values else []
        done = subprocess.run([*self.base, *sweep], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f'leat bench recall ended with {done.returncode}: {done.stderr.strip()}')
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return lines[0], lines[1:]

    def scout(self):
        """The smallest values of the knob that reach each recall: the default sweep, then all between two of it."""
        self.built = self.build()
        self.opened, lines = self.run()  # its memory is, as that of peers, what was loaded, and not what the build left
        found = {}
        for target in TARGETS:
            above = [line['value'] for line in lines if line['recall'] >= target]
            below = [line['value'] for line in lines if line['recall'] < target and (not above or line['value'] < min(above))]
            if not above:
                continue
            low, high = max(below, default=0), min(above)
            step = max(1, (high - low) // 8)
            near = list(range(low + step, high, step)) + [high]
            _, closer = self.run(near)
            found[target] = min((line['value'] for line in closer if line['recall'] >= target), default=high)
        return found


# ---- The runs ----


def finalists(peers, found):
    """For each library and recall the settings that were fastest: [(library, target, peer, knob, second)]."""
    chosen = []
    for library in dict.fromkeys(peer.library for peer in peers):
        for target in TARGETS:
            rows = [(qps, peer, knob, second) for peer in peers if peer.library == library
                    for t, knob, second, qps in found[peer] if t == target]
            rows.sort(key=lambda row: -row[0])
            chosen += [(library, target, *row[1:]) for row in rows[:FINALISTS] if row[0] >= CLOSE * rows[0][0]]
    return chosen


def measure(options, chosen, leat, values):
    """{key: [answers]}, each asked once a round, one after another."""
    answers = {}
    for run in range(options.runs):
        say(f'run {run + 1} of {options.runs}')
        if leat is not None and values:
            for line in leat.run(sorted(set(values.values())))[1]:
                answers.setdefault(('leat', line['value']), []).append(line)
        for key in dict.fromkeys((peer, knob, second) for _, _, peer, knob, second in chosen):
            answers.setdefault(key, []).append(key[0].ask(*key[1:]))
    return answers


def median(rows, name):
    return statistics.median(row[name] for row in rows)


def results(chosen, answers, knobs, clock):
    """Per library and recall the best median."""
    best = {}
    for library, target, peer, knob, second in chosen:
        rows = answers[peer, knob, second]
        row = {'library': library, 'target': target, 'qps': median(rows, 'qps'), 'qps_busy': median(rows, 'qps_busy'), 'recall': rows[0]['recall'], 'p50_us': median(rows, 'p50_us'),
               'p99_us': median(rows, 'p99_us'), 'build': peer.build, 'knob': knobs[library][0], 'value': knob,
               'build_cpu_seconds': peer.took['cpu_seconds'], 'memory_mib': peer.memory / 2 ** 20}
        if second is not None:
            row[knobs[library][1]] = second
        if (library, target) not in best or row[clock] > best[library, target][clock]:
            best[library, target] = row
    return best


def add_leat(best, leat, values, answers, module):
    for target, value in values.items():
        rows = answers['leat', value]
        best['leat ' + module, target] = {
            'library': 'leat ' + module, 'target': target, 'qps': median(rows, 'qps'), 'qps_busy': median(rows, 'qps_busy'), 'recall': rows[0]['recall'],
            'p50_us': median(rows, 'p50_us'), 'p99_us': median(rows, 'p99_us'), 'knob': rows[0]['knob'], 'value': value,
            'build': {'set': ' '.join(leat.settings)}, 'build_cpu_seconds': leat.built['cpu_seconds'],
            'memory_mib': leat.opened['memory_mib'], 'mapped_mib': leat.opened['mapped_mib']}


def show(best, name, job, options):
    say(f"\n{name}: {job['rows']} x {job['dims']}, {job['metric']}, k = {job['k']}, one thread, queries one at a time, medians of {options.runs} runs; "
        f"QPS{' by processor time' if options.clock == 'qps_busy' else ''} at recall of at least")
    say(f"{'':26}{'0.90':>9}{'0.95':>9}{'0.99':>9}   {'build':>9} {'memory':>9}   settings")
    for library in dict.fromkeys(library for library, _ in best):
        rows = [best.get((library, target)) for target in TARGETS]
        first = next(row for row in rows if row)
        cells = ''.join(f"{row[options.clock]:9.0f}" if row else f"{'-':>9}" for row in rows)
        mapped = [f"{first['mapped_mib']:.0f} MiB of mapped files"] if 'mapped_mib' in first else []
        settings = '; '.join(mapped + [setting_text(row) for row in rows if row])
        say(f"{library:26}{cells}   {first['build_cpu_seconds']:7.0f} s {first['memory_mib']:5.0f} MiB   {settings}")


def setting_text(row):
    build = ' '.join(str(value) for value in row['build'].values() if not isinstance(value, bool))
    more = ''.join(f' {name}={row[name]}' for name in ('k_factor', 'reorder') if name in row)
    return f"{build} {row['knob']}={row['value']}{more}".strip()


def wanted(only, names):
    """The libraries of --only; all when it is not given."""
    asked = only.split(',') if only else list(names)
    for name in asked:
        if name not in names:
            raise SystemExit(f"peers.py: --only: there is no library '{name}'; there are {', '.join(names)}")
    return asked


def prepare_peers(options, python, job, folder, missing):
    from libraries import LIBRARIES
    peers, found = [], {}
    for name in wanted(options.only, LIBRARIES):
        _, package, builds, knob, _, seconds = LIBRARIES[name]
        if package in missing:
            say(f'{name}: not here: {missing[package]}')
            print(json.dumps({'library': name, 'missing': missing[package]}))
            continue
        for build in builds(job['rows'], job['dims'], job['bytes'])[:1 if options.quick else None]:
            peer = Peer(python, job, folder, name, build)
            began = time.monotonic()
            why = peer.start()
            try:
                rows = [] if why else scout(peer, seconds, options.clock)
            except RuntimeError as error:
                why = str(error)
            if why:
                say(f'{name} {build}: cannot be used: {why}')
                print(json.dumps({'library': name, 'build': build, 'failed': why}))
                continue
            peers.append(peer)
            found[peer] = rows
            best = ', '.join(f"{target}: {max((qps for t, _, _, qps in rows if t == target), default=0):.0f}" for target in TARGETS)
            say(f'{name} {build}: {best} ({time.monotonic() - began:.0f} s)')
    return peers, found


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in 'base', 'query', 'truth':
        p.add_argument('--' + name, required=True, help='.fvecs, .bvecs, .ivecs, .npy or IDX, also with .gz')
    p.add_argument('--metric', choices=('l2', 'cosine', 'dot'), default='l2')
    p.add_argument('--k', type=int, default=10)
    p.add_argument('--queries', type=int, default=2000, help='so many of them (2000)')
    p.add_argument('--runs', type=int, default=5)
    p.add_argument('--busy', dest='clock', action='store_const', const='qps_busy', default='qps',
                   help='compare by processor time: for a machine that has other work, too')
    p.add_argument('--quick', action='store_true', help='one build of each library')
    p.add_argument('--only', help='these libraries, with commas between')
    p.add_argument('--leat', help='the command leat; without it peers run alone')
    p.add_argument('--module', default='ivf')
    p.add_argument('--set', action='append', default=[], help='an option of the module')
    p.add_argument('--name', help='of the data, for the table (the folder of --base)')
    p.add_argument('--cache', default=os.path.join(os.path.expanduser('~'), '.cache', 'leat-peers'))
    return p.parse_args()


def main():
    options = arguments()
    os.environ['PYTHONDONTWRITEBYTECODE'] = '1'
    cache = os.path.abspath(options.cache)
    os.makedirs(cache, exist_ok=True)
    python, missing = install(cache)
    if os.path.realpath(sys.prefix) != os.path.realpath(os.path.join(cache, 'venv')):
        os.execv(python, [python, *sys.argv])
    sys.path.insert(0, HERE)
    from libraries import LIBRARIES
    wanted(options.only, LIBRARIES)
    name = options.name or os.path.basename(os.path.dirname(os.path.abspath(options.base)))
    folder = os.path.join(cache, f'{name}-{options.metric}')
    job = prepare(options, folder)
    leat = Leat(options, folder) if options.leat else None
    values = leat.scout() if leat else {}  # before the peers, whose builds take long: a mistake in --set shows at once
    peers, found = prepare_peers(options, python, job, folder, missing)
    chosen = finalists(peers, found)
    answers = measure(options, chosen, leat, values)
    best = results(chosen, answers, {library: row[3:5] for library, row in LIBRARIES.items()}, options.clock)
    if leat:
        add_leat(best, leat, values, answers, options.module)
    for peer in peers:
        peer.stop()
    for row in best.values():
        print(json.dumps({'data': name, **row}))
    show(best, name, job, options)


if __name__ == '__main__':
    main()
