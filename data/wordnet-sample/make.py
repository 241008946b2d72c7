#!/usr/bin/env python3
"""Choose the sample: usage: make.py GLOSSES_DIR MINILM_DIR

Neighbourhoods of some 70 nouns (the 50 definitions nearest to each), so that every one of them has company,
and a stride over all definitions. Writes definitions.npy (float16) and definitions.tsv (id, lemmas, definition).
"""
import sys
import numpy as np

glosses, minilm = sys.argv[1:3]
SEEDS = ['dog', 'violin', 'volcano', 'bread', 'river', 'justice', 'physicist', 'knot', 'oak', 'submarine', 'fever', 'chess', 'cathedral',
         'glacier', 'opera', 'spider', 'compiler', 'tax', 'lighthouse', 'hammer', 'democracy', 'galaxy', 'wine', 'sonnet', 'bridge',
         'elephant', 'penicillin', 'monsoon', 'marriage', 'carpenter', 'shark', 'telescope', 'grammar', 'desert', 'saddle', 'algebra',
         'clock', 'treason', 'butterfly', 'harbor', 'canal', 'loom', 'surgeon', 'rainbow', 'cheese', 'parliament', 'mushroom', 'drum',
         'pirate', 'earthquake', 'novel', 'whale', 'mirror', 'steam engine', 'lottery', 'orchid', 'falcon', 'magnet', 'pottery', 'silk',
         'jury', 'anchor', 'bamboo', 'comet', 'dentist', 'fable', 'gravity', 'honey', 'island', 'jazz']
ROWS = 4300

rows = [line.rstrip('\n').split('\t') for line in open(f'{glosses}/synsets.tsv', encoding='utf-8')]
if rows[0][0] in ('id', 'synset'):
    rows = rows[1:]
vectors = np.load(f'{minilm}/definitions.npy').astype(np.float32)
assert len(rows) == len(vectors), (len(rows), len(vectors))
chosen = {}
for seed in SEEDS:
    for i, row in enumerate(rows):
        if row[1] == 'n' and row[3].split('|')[0].strip().replace('_', ' ') == seed:
            for j in np.argsort(-(vectors @ vectors[i]))[:50]:
                chosen[int(j)] = True
            break
stride = max(1, len(rows) // (ROWS - len(chosen)))
for i in range(0, len(rows), stride):
    if len(chosen) < ROWS:
        chosen[i] = True
order = sorted(chosen)
np.save('definitions.npy', vectors[order].astype(np.float16))
with open('definitions.tsv', 'w', encoding='utf-8') as out:
    for i in order:
        lemmas = ', '.join(rows[i][3].replace('_', ' ').split('|'))
        out.write(f'{rows[i][0]}\t{lemmas[:60]}\t{rows[i][4][:160]}\n')
print(len(order), 'definitions')
