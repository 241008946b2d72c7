#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules of this repository that a compiler does not check.

usage: lint.py CHECK ROOT [LIBRARY]     prints what breaks the rule; exit 1 when something does
"""
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

FUNCTION_MAX, FILE_MAX = 70, 800
FOLDERS = ('base', 'depots', 'pstates', 'topologies', 'engine', 'cluster', 'cmd', 'modules', 'include', 'examples', 'bench',
           'tests')
# Folders a folder's files may include, besides their own and include/leat.
LINE = {
    'base': (),
    'depots': ('base',),
    'pstates': ('base',),
    'topologies': ('base', 'depots', 'pstates'),
    'engine': ('base', 'depots', 'pstates', 'topologies'),
    'cluster': ('base', 'depots', 'pstates', 'topologies', 'engine'),
    'cmd': ('base', 'depots', 'pstates', 'topologies', 'engine', 'cluster', 'modules'),
    'modules': (),
    'include': (),
    'examples': ('modules',),
}
# Third-party headers: the files that may include them. Tests may, to look behind.
OWNERS = {
    'lmdb.h': r'pstates/(view\w*|checkpoint)\.[ch]|bench/.*',
    'msgpack.h': r'base/codec\w*\.[ch]',
    'msgpack/': r'base/codec\w*\.[ch]',
    'cjson/': r'base/codec\w*\.[ch]',
    'cJSON.h': r'base/codec\w*\.[ch]',
    'ini.h': r'engine/\w+\.[ch]',
    'zlib.h': r'cmd/\w+\.[ch]',
    'xxhash.h': r'base/\w+\.[ch]|pstates/\w+\.[ch]|topologies/\w+\.[ch]|engine/\w+\.[ch]|cmd/\w+\.[ch]',
}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
COMPILERS = ('gcc', 'clang')


def c_files(root):
    for folder in FOLDERS:
        for path, _, names in os.walk(os.path.join(root, folder)):
            for name in sorted(names):
                if name.endswith(('.c', '.h')):
                    yield os.path.relpath(os.path.join(path, name), root)


def lines_of(root, file):
    with open(os.path.join(root, file), encoding='utf-8') as text:
        return text.read().split('\n')


def includes(root):
    for file in c_files(root):
        for number, line in enumerate(lines_of(root, file), 1):
            found = INCLUDE.match(line)
            if found:
                yield file, number, found.group(1)


def check_direction(root, _):
    for file, number, header in includes(root):
        folder, other = file.split('/')[0], header.split('/')[0]
        if folder in LINE and other in LINE and other not in (folder, *LINE[folder]):
            yield f'{file}:{number}: {folder}/ must not include {header}'
        if folder == 'include' and other == 'leat' and not header.startswith('leat/'):
            yield f'{file}:{number}: public headers include only public headers'


def check_owners(root, _):
    for file, number, header in includes(root):
        for name, owner in OWNERS.items():
            if header.startswith(name) and not file.startswith('tests/') and not re.fullmatch(owner, file):
                yield f'{file}:{number}: {header} belongs in {owner}'


def compile_alone(root, command, header):
    with tempfile.TemporaryDirectory() as scratch:
        source = os.path.join(scratch, 'alone.cc' if command[0].endswith('++') else 'alone.c')
        with open(source, 'w', encoding='utf-8') as out:
            out.write(f'#include "{header}"\nextern int alone;\n')
        done = subprocess.run([*command, '-fsyntax-only', '-I', root, '-I', os.path.join(root, 'include'), source],
                              capture_output=True, text=True, check=False)
        return f'{header}: does not compile alone with {" ".join(command[:2])}:\n{done.stderr}' if done.returncode else None


def check_headers(root, _):
    warnings = ['-Wall', '-Wextra', '-Wpedantic', '-Wshadow', '-Werror']
    flags = subprocess.run(['pkg-config', '--cflags', 'lmdb'], capture_output=True, text=True, check=False).stdout
    jobs = []
    for file in c_files(root):
        if not file.endswith('.h'):
            continue
        if file.startswith('include/'):
            commands = [[name, '-std=c17', '-Wconversion', *warnings] for name in COMPILERS]
            commands.append(['g++', '-std=c++17', '-Wall', '-Wextra', '-Werror'])
            header = file[len('include/'):]
        else:
            commands, header = [['gcc', '-std=gnu17', '-D_GNU_SOURCE', *warnings, *shlex.split(flags)]], file
        jobs += [(command, header) for command in commands if shutil.which(command[0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from filter(None, pool.map(lambda job: compile_alone(root, *job), jobs))


def check_comments(root, _):
    """Every public function has a comment of its own, directly above it."""
    for file in c_files(root):
        if not file.startswith('include/'):
            continue
        above = ''
        for number, line in enumerate(lines_of(root, file), 1):
            if re.match(r'^LEAT_API\b.*\(', line) and not above.endswith('*/'):
                yield f'{file}:{number}: public function without a comment: {line.strip()[:60]}'
            above = line.rstrip()


def check_exports(_, library):
    out = subprocess.run(['nm', '-D', '--defined-only', library], capture_output=True, text=True, check=True).stdout
    names = [line.split()[-1].split('@')[0] for line in out.splitlines()]
    if not any(name.startswith('leat_') for name in names):
        yield f'{library}: exports nothing'
    for name in names:
        if not name.startswith(('leat_', '__asan', '__ubsan', '__tsan', '_init', '_fini')):
            yield f'{library}: exports {name}'


def functions(lines):
    """(name, first line, length) of each function; bodies close with a brace in the first column."""
    start = None
    for number, line in enumerate(lines, 1):
        if start is None and line == '{':
            start = number
            while start > 1 and re.match(r'^[A-Za-z ]', lines[start - 2]):
                start -= 1
        elif start is not None and line.startswith('}'):
            name = re.search(r'(\w+)\s*\(', ' '.join(lines[start - 1:number]))
            yield name.group(1) if name else '?', start, number - start + 1
            start = None


def check_sizes(root, _):
    for file in c_files(root):
        lines = lines_of(root, file)
        if len(lines) - 1 > FILE_MAX:
            yield f'{file}: {len(lines) - 1} lines, at most {FILE_MAX}'
        if file.endswith('.c'):
            for name, number, length in functions(lines):
                if length > FUNCTION_MAX:
                    yield f'{file}:{number}: {name} has {length} lines, at most {FUNCTION_MAX}'


def check_lines(root, _):
    """No line is longer than .editorconfig says."""
    most = int(re.search(r'max_line_length = (\d+)', '\n'.join(lines_of(root, '.editorconfig'))).group(1))
    for file in c_files(root):
        for number, line in enumerate(lines_of(root, file), 1):
            if len(line) > most:
                yield f'{file}:{number}: {len(line)} columns, at most {most}'


def check_words(root, _):
    """Nothing left undone, and no test that waits by sleeping."""
    undone = re.compile(r'\b(TODO|FIXME|XXX)\b|not implemented', re.I)
    sleep = re.compile(r'\b(sleep|usleep|nanosleep|thrd_sleep)\s*\(')
    for file in c_files(root):
        for number, line in enumerate(lines_of(root, file), 1):
            if undone.search(line):
                yield f'{file}:{number}: left undone: {line.strip()[:80]}'
            if file.startswith('tests/') and sleep.search(line):
                yield f'{file}:{number}: sleeps: {line.strip()[:80]}'
        if not lines_of(root, file)[0].startswith('/* SPDX-License-Identifier: Apache-2.0 */'):
            yield f'{file}:1: the first line names the licence'


def check_readme(root, _):
    example = '\n'.join(lines_of(root, 'examples/word_count.c'))
    part = re.search(r'/\* README: begin \*/\n(.*?)/\* README: end \*/', example, re.S)
    blocks = re.findall(r'```c\n(.*?)```', '\n'.join(lines_of(root, 'README.md')), re.S)
    if not part or part.group(1) not in blocks:
        yield 'README.md: the word count is not the marked part of examples/word_count.c'
    example = '\n'.join(lines_of(root, 'examples/payments_test.c'))
    part = re.search(r'/\* TESTING: begin \*/\n(.*?)/\* TESTING: end \*/', example, re.S)
    blocks = re.findall(r'```c\n(.*?)```', '\n'.join(lines_of(root, 'docs/TESTING.md')), re.S)
    if not part or part.group(1) not in blocks:
        yield 'docs/TESTING.md: the test of a module is not the marked part of examples/payments_test.c'
    for file in sorted(os.listdir(os.path.join(root, 'docs'))) + ['../README.md']:
        if file.endswith('.md'):
            yield from check_links(root, os.path.normpath(os.path.join('docs', file)))


def check_links(root, file):
    """Files that a page names in a link or in backquotes with a folder must exist."""
    text = '\n'.join(lines_of(root, file))
    here = os.path.dirname(os.path.join(root, file))
    for target in re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', text):
        if not os.path.exists(os.path.join(here, target)):
            yield f'{file}: links to {target}, which is not there'
    for target in re.findall(r'`((?:%s|docs|tools)/[\w./-]+\.(?:c|h|md|py|sh))`' % '|'.join(FOLDERS), text):
        if not os.path.exists(os.path.join(root, target)):
            yield f'{file}: names {target}, which is not there'


CHECKS = {name[len('check_'):]: function for name, function in list(globals().items())
          if name.startswith('check_') and name != 'check_links'}


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in CHECKS:
        sys.exit(f'usage: lint.py {"|".join(CHECKS)} ROOT [LIBRARY]')
    found = list(CHECKS[sys.argv[1]](sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
    print('\n'.join(found))
    sys.exit(1 if found else 0)


main()
