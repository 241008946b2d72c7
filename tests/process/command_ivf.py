# SPDX-License-Identifier: Apache-2.0
"""Module ivf by the command: vectors of each type as JSON, and the lines that ./quickstart and docs/IVF.md show, as they stand there.
usage: command_ivf.py LEAT [TEST ...]"""
import base64
import json
import re
import struct

import command_run
from command_run import CommandTest


class Vectors(CommandTest):
    def fill(self, type, metric, vectors, dims):
        options = ('--set', f'type={type}', '--set', f'metric={metric}', '--set', f'dims={dims}', '--ack', 'processed')
        self.append(*({'id': i, 'vec': v, 'attributes': {'name': i}} for i, v in vectors.items()), module='ivf', depot='vectors', more=options)

    def ask(self, query, vec, **more):
        request = json.dumps({'vec': vec, 'vectors': True, 'attributes': True, **more})
        return self.rows('query', 'invoke', 'ivf', query, request, '--data', self.data)

    def check(self, type, metric, vectors, query, nearest, pack):
        """In arrays and in base64, going in and coming out."""
        self.fill(type, metric, vectors, len(query))
        for topology in ('search', 'exact'):
            found = self.ask(topology, query)
            self.assertEqual([(r['id'], r['distance']) for r in found], nearest)
            self.assertEqual(self.ask(topology, base64.b64encode(pack(query)).decode()), found)
            for row in found:
                self.assertEqual(row['attributes'], {'name': row['id']})
                self.assertEqual(row['vec'] if type != 'bits' else base64.b64decode(row['vec']),
                                 vectors[row['id']] if type != 'bits' else pack(vectors[row['id']]))
                self.assertEqual(self.ask(topology, row['vec'])[0]['id'], row['id'])

    def test_f32(self):
        self.check('f32', 'l2', {'a': [1, 2, 3], 'b': [-4, 0.5, 1e3]}, [1, 2.5, 3], [('a', 0.25), ('b', 994038)],
                   lambda v: struct.pack('<3f', *v))

    def test_f16(self):
        self.check('f16', 'l2', {'a': [1, 2, 3], 'b': [-4, 0.5, 100]}, [1, 2.5, 3], [('a', 0.25), ('b', 9438)], lambda v: struct.pack('<3e', *v))

    def test_i8(self):
        self.check('i8', 'dot', {'a': [1, -128, 3], 'b': [127, 0, 1]}, [1, -2, 3], [('a', -266), ('b', -130)], lambda v: struct.pack('3b', *v))

    def test_u8(self):
        self.check('u8', 'l2', {'a': [1, 2, 255], 'b': [0, 200, 0]}, [1, 3, 250], [('a', 26), ('b', 101310)], bytes)

    def test_bits(self):
        self.check('bits', 'hamming', {'a': [1, 0, 0, 0, 0, 0, 0, 0] * 2, 'b': [1] * 16}, [1, 1, 0, 0, 0, 0, 0, 0] + [1] + [0] * 7,
                   [('a', 1), ('b', 13)], lambda v: bytes(sum(b << i for i, b in enumerate(v[at:at + 8])) for at in (0, 8)))

    def test_what_does_not_fit(self):
        self.fill('u8', 'cosine', {'a': [1, 2, 3]}, 3)
        for vec, says in (([1, 2], '3 elements expected, 2 given'), ([1, 2, 256], 'element 2 is no number that fits'),
                          ([0, 0, 0], "the query's length is 0"), ('AAE=', '3 bytes expected, base64 holds 2')):
            request = json.dumps({'vec': vec})
            self.run_leat('query', 'invoke', 'ivf', 'search', request, '--data', self.data, code=4, says=says)


class Shown(CommandTest):
    """Commands from texts, run by a shell in the root folder of the sources."""

    def test_quickstart(self):
        lines = re.findall(r'^ +(build/leat .*ivf.*)$', self.text('quickstart'), re.MULTILINE)
        lemmas = [line.split('\t')[1] for line in self.text('data/wordnet-sample/definitions.tsv').splitlines()]
        self.assertEqual(len(lines), 2)
        self.assertEqual(self.shell(lines[0], '/tmp/ivf'), [])
        found = [json.loads(row) for row in self.shell(lines[1], '/tmp/ivf')]
        self.assertEqual([lemmas[int(row['id'])] for row in found], ['storm', 'flurry, snow flurry', 'squall', 'squally', 'calm'])
        info = {row['pstate']: row['elements'] for row in self.rows('pstate', 'info', 'ivf', '--data', self.data)}
        self.assertEqual(info['background'], 0)  # --ack idle
        self.assertGreater(info['postings'], 4279 // 256)

    def test_options(self):
        """The table in docs/IVF.md has the defaults, and the limits, and all of them."""
        section = self.text('docs/IVF.md').split('## Options\n')[1].split('\n## ')[0]
        table = {name: (default, limits) for name, default, limits in re.findall(r'^\| `(\w+)` \| ([^|]*)\| ([^|]*)\|', section, re.MULTILINE)}
        defaults = {r['name']: r['schema'] for r in self.rows('module', 'show', 'ivf') if r['kind'] == 'option'}
        self.assertEqual({name: default.strip() for name, (default, _) in table.items()}, defaults)
        others = {'split': ('target=8', 'merge=0'), 'target': ('split=131072', 'merge=0'), 'merge': ('target=65536', 'split=131072')}
        for name, (_, limits) in table.items():
            if not re.match(r'[\d,]+, [\d,]+ *$', limits):
                continue
            least, most = (int(n.replace(',', '')) for n in limits.split(', '))
            more = [word for option in others.get(name, ()) for word in ('--set', option)]
            for value, fine in ((least, True), (least - 1, False), (most, True), (most + 1, False)):
                self.run_leat('module', 'check', 'ivf', *more, '--set', f'{name}={value}', code=0 if fine else 4,
                              says=None if fine else f'option {name} = {value}: it goes from|options merge|a vector has 1 to')

    def test_docs(self):
        """The block of commands and answers in docs/IVF.md."""
        self.check_shown('docs/IVF.md', 'A first use', '/tmp/ivf', 10)


if __name__ == '__main__':
    command_run.main()
