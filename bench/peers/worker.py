# SPDX-License-Identifier: Apache-2.0
"""One index of one library in a process of its own: built once and kept, loaded, searched as it is told.

Started by peers.py with a job as JSON. Requests are lines of JSON on standard input, answers lines on what was standard output:
libraries that print do so to standard error.
"""
import json
import os
import shutil
import sys
import time

import numpy as np

import libraries


def memory():
    """Resident bytes: files that are only mapped are not in it."""
    with open('/proc/self/status', encoding='ascii') as lines:
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(('RssAnon', 'RssShmem', 'HugetlbPages')))


def build(job, path):
    """The index into a file or folder, once. What it took is kept beside it."""
    note = path + '.json'
    if os.path.exists(note):
        return
    if os.path.isdir(path):
        shutil.rmtree(path)
    library = libraries.LIBRARIES[job['library']][0](job)
    base = np.load(job['base'])
    began, busy = time.monotonic(), time.process_time()
    library.build(base, path)
    took = {'seconds': time.monotonic() - began, 'cpu_seconds': time.process_time() - busy}
    with open(note, 'w', encoding='ascii') as out:
        json.dump(took, out)


def score(job, base, queries, limit, found):
    """Recall: what is no further than the true neighbour at rank k counts, each once."""
    hits = 0
    for i, row in enumerate(found):
        ids = np.unique(row[(row >= 0) & (row < len(base))])
        near = distances(job, base[ids], queries[i])
        hits += min(job['k'], int((near <= limit[i]).sum()))
    return hits / (len(found) * job['k'])


def distances(job, rows, query):
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if job['metric'] == 'l2':
        return ((rows - query) ** 2).sum(axis=1)
    return (1 if job['metric'] == 'cosine' else 0) - rows @ query


def measure(library, queries, job, most):
    """Each query once, one after another. Seconds of each, those of a processor for all, and what was found."""
    one = library.searcher(queries, job['k'])
    found = np.full((most, job['k']), -1, np.int64)
    took = np.empty(most)
    clock = time.perf_counter
    for i in range(min(50, most)):
        one(i)
    busy = time.process_time()
    for i in range(most):
        began = clock()
        ids = one(i)
        took[i] = clock() - began
        found[i, :len(ids)] = np.asarray(ids, dtype=np.int64)[:job['k']]
    return took, time.process_time() - busy, found


def main():
    job = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    path = job['path']
    if job.get('only_build'):
        build(job, path)
        return
    queries = np.load(job['queries'])
    limit = np.load(job['limit'])
    library = libraries.LIBRARIES[job['library']][0](job)
    before = memory()
    library.load(path)
    print(json.dumps({'memory': memory() - before}), file=answers, flush=True)
    base = np.load(job['base'], mmap_mode='r')
    for line in sys.stdin:
        wanted = json.loads(line)
        library.set(wanted['knob'], wanted['second'])
        took, busy, found = measure(library, queries, job, min(len(queries), wanted.get('most', len(queries))))
        print(json.dumps({'qps': len(took) / took.sum(), 'qps_busy': len(took) / busy, 'p50_us': np.quantile(took, 0.5) * 1e6, 'p99_us': np.quantile(took, 0.99) * 1e6,
                          'recall': score(job, base, queries, limit, found)}), file=answers, flush=True)


if __name__ == '__main__':
    main()
