# SPDX-License-Identifier: Apache-2.0
"""The libraries that Leat is measured against: how each builds, is kept in a file, and searches for one vector.

A row of LIBRARIES is what the table shows. It has builds (settings that cost a build each), a knob that grows recall and time
(found by bisection) and second settings that are tried one by one. Data are float32; under cosine they have unit length.
"""
import json
import os

import numpy as np


class Faiss:
    """A faiss index by its factory string."""

    def __init__(self, job):
        import faiss
        self.faiss, self.job = faiss, job
        faiss.omp_set_num_threads(1)

    def build(self, base, path):
        faiss = self.faiss
        metric = faiss.METRIC_L2 if self.job['metric'] == 'l2' else faiss.METRIC_INNER_PRODUCT
        index = faiss.index_factory(base.shape[1], self.job['build']['factory'], metric)
        if 'HNSW' in self.job['build']['factory']:
            index.hnsw.efConstruction = 200
        index.train(base)
        index.add(base)
        faiss.write_index(index, path)

    def load(self, path):
        faiss = self.faiss
        self.index = self.inner = faiss.read_index(path)
        if hasattr(self.index, 'k_factor'):
            self.inner = faiss.downcast_index(self.index.base_index)
        if isinstance(self.inner, faiss.IndexPreTransform):
            self.inner = faiss.downcast_index(self.inner.index)

    def set(self, knob, second):
        if hasattr(self.inner, 'nprobe'):
            self.inner.nprobe = knob
        else:
            self.inner.hnsw.efSearch = knob
        if second is not None:
            self.index.k_factor = second

    def searcher(self, queries, k):
        swig = self.faiss.swig_ptr
        distance, label = np.empty(k, np.float32), np.empty(k, np.int64)
        to = [swig(queries[i]) for i in range(len(queries))]
        search, d, l = self.index.search_c, swig(distance), swig(label)

        def one(i):
            search(1, to[i], k, d, l)
            return label
        return one


class Hnswlib:
    def __init__(self, job):
        import hnswlib
        self.job = job
        self.module = hnswlib

    def build(self, base, path):
        index = self.module.Index(space='l2' if self.job['metric'] == 'l2' else 'ip', dim=base.shape[1])
        index.init_index(max_elements=len(base), M=self.job['build']['M'], ef_construction=200, random_seed=1)
        index.add_items(base, np.arange(len(base)), num_threads=1)
        index.save_index(path)

    def load(self, path):
        self.index = self.module.Index(space='l2' if self.job['metric'] == 'l2' else 'ip', dim=self.job['dims'])
        self.index.load_index(path)
        self.index.set_num_threads(1)

    def set(self, knob, _second):
        self.index.set_ef(knob)

    def searcher(self, queries, k):
        query, rows = self.index.knn_query, [queries[i:i + 1] for i in range(len(queries))]
        return lambda i: query(rows[i], k, 1)[0][0]


class Usearch:
    """Called below its Python wrapper, whose checks of arguments cost as much as a search."""

    def __init__(self, job):
        import usearch.index
        self.job, self.module = job, usearch.index
        self.type = {'f32': np.float32, 'f16': np.float16, 'bf16': np.float32, 'u8': np.uint8}[job['build']['dtype']]

    def new(self, dims):
        build = self.job['build']
        return self.module.Index(ndim=dims, metric='l2sq' if self.job['metric'] == 'l2' else 'ip', dtype=build['dtype'],
                                 connectivity=build['M'], expansion_add=200)

    def build(self, base, path):
        index = self.new(base.shape[1])
        index.add(np.arange(len(base)), base.astype(self.type), threads=1, dtype='u8' if self.type == np.uint8 else None)
        index.save(path)

    def load(self, path):
        self.index = self.new(self.job['dims'])
        self.index.load(path)

    def set(self, knob, _second):
        self.index.expansion_search = knob

    def searcher(self, queries, k):
        queries = queries.astype(self.type)
        rows = [queries[i:i + 1] for i in range(len(queries))]
        kind = self.module.ScalarKind.U8 if self.type == np.uint8 else self.module.ScalarKind.Unknown
        search = self.index._compiled.search_many
        return lambda i: search(rows[i], count=k, exact=False, threads=1, dtype=kind)[0][0]


class Scann:
    def __init__(self, job):
        from scann.scann_ops.py import scann_ops_pybind
        self.job, self.module = job, scann_ops_pybind

    def build(self, base, path):
        build = self.job['build']
        spherical = self.job['metric'] != 'l2'
        builder = self.module.builder(base, 10, 'dot_product' if spherical else 'squared_l2')
        builder.set_n_training_threads(1)
        more = {'soar_lambda': 1.5, 'overretrieve_factor': 2.0} if build.get('soar') else {}
        builder = builder.tree(num_leaves=build['leaves'], num_leaves_to_search=10, training_sample_size=len(base),
                               spherical=spherical, quantize_centroids=True, **more)
        builder = builder.score_ah(build['block'], anisotropic_quantization_threshold=0.2 if spherical else float('nan'))
        searcher = builder.reorder(100).build()
        os.makedirs(path, exist_ok=True)
        searcher.serialize(path)

    def load(self, path):
        self.index = self.module.load_searcher(path)

    def set(self, knob, second):
        self.leaves, self.reorder = knob, second

    def searcher(self, queries, k):
        search, rows, reorder, leaves = self.index.searcher.search, list(queries), self.reorder, self.leaves
        return lambda i: search(rows[i], k, reorder, leaves)[0]


class Svs:
    """Vamana. LVQ and LeanVec end the process on processors of others than Intel, so only plain vectors are here."""

    def __init__(self, job):
        import svs
        self.job, self.module = job, svs
        self.type = {'f32': np.float32, 'f16': np.float16, 'u8': np.uint8}[job['build']['dtype']]
        # Under cosine the order is that of L2, as lengths are 1. Alphas are the library's own: below 1 for products.
        by = svs.DistanceType
        self.distance, self.alpha = (by.MIP, 0.95) if job['metric'] == 'dot' else (by.L2, 1.2)

    def build(self, base, path):
        svs, build = self.module, self.job['build']
        how = svs.VamanaBuildParameters(alpha=self.alpha, graph_max_degree=build['degree'], window_size=200)
        index = svs.Vamana.build(how, np.ascontiguousarray(base.astype(self.type)), self.distance, num_threads=1)
        os.makedirs(path, exist_ok=True)
        index.save(path + '/config', path + '/graph', path + '/data')

    def load(self, path):
        svs = self.module
        kind = {'f32': svs.DataType.float32, 'f16': svs.DataType.float16, 'u8': svs.DataType.uint8}[self.job['build']['dtype']]
        self.index = svs.Vamana(path + '/config', svs.GraphLoader(path + '/graph'), svs.VectorDataLoader(path + '/data', kind),
                                self.distance, num_threads=1)

    def set(self, knob, _second):
        self.index.search_window_size = knob

    def searcher(self, queries, k):
        queries = queries.astype(self.type)
        search, rows = self.index.search, [queries[i:i + 1] for i in range(len(queries))]
        return lambda i: search(rows[i], k)[0][0]


class Vsag:
    def __init__(self, job):
        import pyvsag
        pyvsag.set_logger_off()
        self.job, self.module = job, pyvsag

    def new(self):
        how = {'max_degree': 32, 'ef_construction': 200, 'build_thread_count': 1, **self.job['build']}
        return self.module.Index('hgraph', json.dumps({'dtype': 'float32', 'metric_type': 'l2' if self.job['metric'] == 'l2' else 'ip',
                                                       'dim': self.job['dims'], 'index_param': how}))

    def build(self, base, path):
        index = self.new()
        index.build(base.ravel(), np.arange(len(base)), len(base), base.shape[1])
        index.save(path)

    def load(self, path):
        self.index = self.new()
        self.index.load(path)

    def set(self, knob, _second):
        self.how = json.dumps({'hgraph': {'ef_search': knob}})

    def searcher(self, queries, k):
        search, rows, how = self.index.knn_search, list(queries), self.how
        return lambda i: search(rows[i], k, how)[0]


def lists(rows):
    """Numbers of lists about 2 and 4 times the square root of the number of rows."""
    power = max(4, int(np.log2(rows ** 0.5) + 1.5))
    return [1 << power, 1 << power + 1]


def vsag_builds(_rows, _dims, _bytes):
    reordered = [{'base_quantization_type': name, 'use_reorder': True, 'precise_quantization_type': 'fp16'} for name in ('sq8_uniform', 'sq4_uniform')]
    return [*reordered, {'base_quantization_type': 'sq8_uniform', 'use_elp_optimizer': True}, {'base_quantization_type': 'sq8_uniform'}]


def scann_builds(rows, dims, as_bytes):
    """Blocks of two dimensions, or four where there would be many; under cosine also vectors in two lists."""
    return [{'leaves': n, 'block': block, 'soar': soar} for n in lists(rows) for block in ((2,) if dims < 512 else (2, 4))
            for soar in ((False,) if as_bytes else (False, True))]


def block_of(dims):
    """Dimensions that a 4-bit code of faiss stands for: 2, or 4 where codes would be long."""
    return 2 if dims < 512 else 4


# name: class, package, builds(rows, dims, whether all values are whole numbers from 0 to 255), knob, second knob, its values
LIBRARIES = {
    'scalable-vs': (Svs, 'scalable-vs', lambda n, d, b: [{'degree': g, 'dtype': t} for g in (32, 64) for t in (('u8',) if b else ('f16',))],
                    'window', None, [None]),
    'faiss HNSW SQ8': (Faiss, 'faiss-cpu', lambda n, d, b: [{'factory': f'HNSW{m},SQ8{s}'} for m in (16, 32) for s in (('_direct',) if b else ('',))],
                       'efSearch', None, [None]),
    'scann': (Scann, 'scann', scann_builds, 'leaves', 'reorder', [30, 60, 120, 240]),
    'hnswlib': (Hnswlib, 'hnswlib', lambda n, d, b: [{'M': m} for m in (16, 32)], 'ef', None, [None]),
    'usearch': (Usearch, 'usearch', lambda n, d, b: [{'M': m, 'dtype': t} for m in (16, 32) for t in (('u8',) if b else ('f16', 'f32'))],
                'expansion', None, [None]),
    'pyvsag': (Vsag, 'pyvsag', vsag_builds, 'ef_search', None, [None]),
    'faiss IVFPQFastScan': (Faiss, 'faiss-cpu', lambda n, d, b: [{'factory': f'IVF{l},PQ{d // block_of(d)}x4fs,RFlat'} for l in lists(n)],
                            'nprobe', 'k_factor', [2, 4, 8, 16]),
    'faiss HNSW flat': (Faiss, 'faiss-cpu', lambda n, d, b: [{'factory': f'HNSW{m},Flat'} for m in (16, 32)], 'efSearch', None, [None]),
    'faiss IVFRaBitQFastScan': (Faiss, 'faiss-cpu', lambda n, d, b: [{'factory': f'RR,IVF{l},RaBitQfs,RFlat'} for l in lists(n)],
                                'nprobe', 'k_factor', [8, 16, 32]),
    'faiss IVFFlat': (Faiss, 'faiss-cpu', lambda n, d, b: [{'factory': f'IVF{l},Flat'} for l in lists(n)], 'nprobe', None, [None]),
}
