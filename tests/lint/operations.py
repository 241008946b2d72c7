#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/OPERATIONS.md against the code: every limit and default with its value, every error with its class and a remedy.

usage: operations.py ROOT     prints what is missing or differs; exit 1 when something does
"""
import os
import re
import sys

UNITS = {'': 1, 'KiB': 1 << 10, 'MiB': 1 << 20, 'GiB': 1 << 30, 's': 1000, 'days': 24 * 3600 * 1000000}
# Structs of leat.h whose fields are settings.
STRUCTS = ('leat_config', 'leat_launch', 'leat_append', 'leat_query')


def read(root, *path):
    with open(os.path.join(root, *path), encoding='utf-8') as f:
        return f.read()


def rows(page, heading):
    """The rows of the table below a heading, by the name in backquotes in their first cell."""
    part = page.split(f'\n## {heading}\n', 1)
    found = {}
    for line in (part[1].split('\n## ')[0] if len(part) > 1 else '').splitlines():
        cells = [cell.strip() for cell in line.strip('| ').split(' | ')]
        name = re.match(r'`([^`]+)`$', cells[0])
        if line.startswith('|') and name and len(cells) > 1:
            if name.group(1) in found:
                yield name.group(1), None
            found[name.group(1)] = cells[1:]
    yield from found.items()


def number(text):
    found = re.match(r'([\d,]+) ?(KiB|MiB|GiB|s|days)?\b', text)
    return int(found.group(1).replace(',', '')) * UNITS[found.group(2) or ''] if found else None


def evaluate(expression):
    expression = re.sub(r'(?<=\d)(LL|ULL|U)\b', '', expression)
    if not re.fullmatch(r'[\d\s<*()+-]+', expression):
        raise ValueError(expression)
    return eval(expression)


def check_limits(root, table):
    header = read(root, 'base', 'limits.h')
    limits = dict(re.findall(r'(?m)^ +(LIMIT_\w+) = ([^,/]+?),? *(?:/\*|$)', header))
    limits.update(re.findall(r'(?m)^#define (LIMIT_\w+) \((.+)\)$', header))
    if len(limits) < 30:
        yield 'base/limits.h: its limits are not understood any more'
    for name, expression in limits.items():
        cells = table.get(name)
        if not cells:
            yield f'{name} is not in the table'
        elif number(cells[0]) != evaluate(expression):
            yield f'{name} is {evaluate(expression):,}, not {cells[0]}'
    for name in table:
        if name.startswith('LIMIT_') and name not in limits:
            yield f'{name} is no limit'


def fields(header, struct):
    """Names and comments of the fields of a struct."""
    body = re.search(r'\nstruct %s \{\n(.*?)\n\};' % struct, header, re.S).group(1)
    for names, comment in re.findall(r'(?m)^    [\w ]+?[ *]((?:\w+, )*\w+);(?: */\*((?:[^*]|\*(?!/))*)\*/)?', body):
        for name in names.split(', '):
            yield name, comment


def check_settings(root, table):
    header = read(root, 'include', 'leat', 'leat.h')
    known = set()
    for struct in STRUCTS:
        for name, comment in fields(header, struct):
            name = f'{struct}.{name}'
            known.add(name)
            if name not in table:
                yield f'{name} is not in the table'
                continue
            default = re.search(r'\b0: ([\d,]+(?: [KMG]iB)?)\b', comment)
            if default and not table[name][0].startswith(default.group(1)):
                yield f'{name}: leat.h says {default.group(1)}, the table {table[name][0]}'
    for name in table:
        if name.startswith('leat_') and name not in known:
            yield f'{name} is no setting'


def check_options(root, table):
    part = read(root, 'cmd', 'main.c').split('command_options[] = {', 1)[1].split('\n};')[0]
    part = re.sub(r'"\n\s*"', '', part)
    known = set()
    for name, about in re.findall(r'\{"([^"]+)", "[^"]*",\s+"((?:[^"\\]|\\.)*)"\}', part):
        option = ('-' if len(name) == 1 else '--') + name
        default = re.search(r'\((\d+)\)$', about)
        known.add(option)
        if default and option not in table:
            yield f'{option} has a default and is not in the table'
        elif default and number(table[option][0]) != int(default.group(1)):
            yield f'{option}: its page says {default.group(1)}, the table {table[option][0]}'
    for name in table:
        if name.startswith('-') and name not in known:
            yield f'{name} is no option'


def check_errors(root, table):
    header = read(root, 'include', 'leat', 'value.h')
    errors = re.findall(r'X\((LEAT_E\w+), -\d+, "[^"]*", LEAT_CLASS_(\w+)\)', header)
    if len(errors) < 20:
        yield 'value.h: its errors are not understood any more'
    for name, of in errors:
        cells = table.get(name)
        if not cells:
            yield f'{name} is not in the table'
        elif cells[0] != of.lower():
            yield f'{name} is of class {of.lower()}, not {cells[0]}'
        elif len(cells) < 2 or len(cells[1]) < 10:
            yield f'{name} has no remedy'
    if [name for name, _ in errors] != list(table):
        yield 'the errors of the table are not those of value.h, in their order'


def main():
    root = sys.argv[1]
    page = read(root, 'docs', 'OPERATIONS.md')
    limits, errors = dict(rows(page, 'Limits and defaults')), dict(rows(page, 'Errors and what to do'))
    found = [*check_limits(root, limits), *check_settings(root, limits), *check_options(root, limits), *check_errors(root, errors)]
    found += [f'{name} is there twice' for table in (limits, errors) for name, cells in table.items() if cells is None]
    print('\n'.join('docs/OPERATIONS.md: ' + line for line in found))
    sys.exit(1 if found else 0)


main()
