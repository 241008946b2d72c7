# SPDX-License-Identifier: Apache-2.0
"""The manual page and the completions of shells: they say what the command itself says, and shells understand them.
usage: command_pages.py LEAT BUILD [TEST ...]"""
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

import command_run
from command_run import CommandTest

BUILD = None
COMPLETE = r'''
source "$1"
shift
COMP_WORDS=(leat "$@")
COMP_CWORD=$#
entry=$(complete -p leat)
function=${entry#*-F }
"${function%% *}"
printf '%s\n' "${COMPREPLY[@]}"
'''


class PagesTest(CommandTest):
    def commands(self):
        return re.findall(r'(?m)^  (\w+(?: \w+)?)  +\w', self.run_leat('help').split('examples:')[0])

    def options(self, name):
        page = self.run_leat('help', *name.split())
        return re.findall(r'(?m)^  (--?[a-z-]+)(?: [A-Z=]+)?  ', page.split('options:')[1]) if 'options:' in page else []


class Manual(PagesTest):
    def test_it_has_every_command_and_option(self):
        page = self.run_leat('help', '--man').replace('\\-', '-')
        sections = dict(re.findall(r'(?ms)^\.SS leat ([^\n]*)\n(.*?)(?=^\.S[SH] )', page))
        self.assertEqual(list(sections), self.commands())
        for name, text in sections.items():
            self.assertEqual(re.findall(r'(?m)^\\fB(--?[a-z-]+)\\fR', text), self.options(name), name)
            self.assertIn('\nleat ' + name, text)
        for status in range(6):
            self.assertIn(f'\\fB{status}\\fR', page)

    def test_readers_understand_it(self):
        path = self.write('leat.1', self.run_leat('help', '--man'))
        if shutil.which('mandoc'):
            said = subprocess.run(['mandoc', '-Tlint', '-Wwarning', path], capture_output=True, text=True).stdout
            self.assertEqual([line for line in said.splitlines() if 'missing date' not in line], [])
        if shutil.which('man') and shutil.which('groff'):
            done = subprocess.run(['man', '--warnings', '-l', path], capture_output=True, text=True,
                                  env={**os.environ, 'MANWIDTH': '100', 'LC_ALL': 'C.UTF-8'})
            self.assertEqual(done.stderr, '')
            shown = re.sub('\x1b\\[[0-9;]*m|.\x08', '', done.stdout)
            self.assertIn("leat depot append word_count sentences '{\"text\": \"a leat\"}' --data ./data", shown)
            self.assertIn('--retain DEPOT=FOR', shown)


class Bash(PagesTest):
    def setUp(self):
        super().setUp()
        self.script = self.write('leat.bash', self.run_leat('completion', 'bash'))

    def complete(self, *words):
        done = subprocess.run(['bash', '--norc', '-c', COMPLETE, 'bash', self.script, *words], capture_output=True, text=True,
                              cwd=self.folder)
        self.assertEqual(done.stderr, '')
        return [line for line in done.stdout.split('\n') if line]

    def test_it_can_be_read(self):
        done = subprocess.run(['bash', '-n', self.script], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ''))

    def test_commands(self):
        first = self.complete('')
        self.assertEqual(first, list(dict.fromkeys(name.split()[0] for name in self.commands())))
        self.assertEqual(self.complete('de'), [word for word in first if word.startswith('de')])
        for word in first:
            second = [name.split()[1] for name in self.commands() if name.startswith(word + ' ')]
            if second:
                self.assertEqual(self.complete(word, ''), second)
        self.assertEqual(self.complete('depot', 'ta'), ['tail'])
        self.assertEqual(self.complete('nothing', ''), [])
        self.assertEqual(self.complete('depot', 'nothing', '-'), [])

    def test_options(self):
        for name in self.commands():
            self.assertEqual(self.complete(*name.split(), '-'), self.options(name) + ['--help'], name)
        self.assertEqual(self.complete('depot', 'append', 'word_count', 'sentences', '--ta'), ['--tasks'])

    def test_words_behind_options(self):
        self.assertEqual(self.complete('import', '--ack', 'p'), ['processed'])
        self.assertEqual(self.complete('stats', '--format', ''), ['table', 'jsonl'])
        self.assertEqual(self.complete('import', 'x', '--module', 'l'), ['lsh'])
        self.assertEqual(self.complete('depot', 'tail', '-n', ''), [])
        os.mkdir(self.path('data'))
        self.write('words.jsonl', '')
        self.assertEqual(self.complete('stats', '--data', ''), ['data'])
        self.assertIn('words.jsonl', self.complete('import', ''))

    def test_arguments(self):
        modules = [row['module'] for row in self.rows('module', 'list')]
        self.assertEqual(self.complete('depot', 'tail', ''), modules)
        self.assertEqual(self.complete('depot', 'tail', '--data', 'x', '--quiet', 'w'), ['word_count'])
        self.assertEqual(self.complete('depot', 'tail', 'word_count', ''), [])
        self.assertEqual(self.complete('depot', 'consumer', ''), ['add', 'remove', 'list'])
        self.assertEqual(self.complete('depot', 'consumer', 'add', 'b'), ['bank_transfer'])
        self.assertEqual(self.complete('completion', 'z'), ['zsh'])
        self.assertIn('import', self.complete('help', 'i'))


class Zsh(PagesTest):
    def test_it_says_what_the_command_says(self):
        script = self.run_leat('completion', 'zsh')
        self.assertTrue(script.startswith('#compdef leat\n'))
        parts = dict(re.findall(r"(?ms)^        '([\w ]+)'\)\n(.*?) ;;$", script))
        self.assertEqual(list(parts), self.commands())
        for name, text in parts.items():
            self.assertEqual(re.findall(r"(?m)^ +'\*?(--?[a-z-]+)\[", text), self.options(name), name)

    def test_it_can_be_read(self):
        if not shutil.which('zsh'):
            self.skipTest('there is no zsh')
        path = self.write('_leat', self.run_leat('completion', 'zsh'))
        done = subprocess.run(['zsh', '-n', path], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ''))

    def await_text(self, terminal, wanted):
        seen, deadline = '', time.monotonic() + 60
        while wanted not in seen:
            self.assertTrue(select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0], f'{wanted!r} is not in {seen!r}')
            seen += re.sub('\x1b\\[[0-9;?]*[a-zA-Z]|[\r\x07]', '', os.read(terminal, 65536).decode(errors='replace'))
        return seen

    def test_it_completes(self):
        """As somebody types it: a line, a tab, and what the line is then."""
        if not shutil.which('zsh'):
            self.skipTest('there is no zsh')
        self.write('_leat', self.run_leat('completion', 'zsh'))
        terminal, inner = pty.openpty()
        shell = subprocess.Popen(['zsh', '-f', '-i'], stdin=inner, stdout=inner, stderr=inner, cwd=self.folder, start_new_session=True,
                                 env={'PATH': os.environ['PATH'], 'HOME': self.folder, 'TERM': 'dumb'})
        self.addCleanup(shell.kill)
        os.close(inner)
        os.write(terminal, b'PROMPT=; unsetopt prompt_sp; fpath=("$PWD" $fpath); autoload -Uz compinit; compinit -u -D; PROMPT=REA""DY\n')
        self.await_text(terminal, 'READY')
        for typed, wanted in (('leat depot con', 'leat depot consumer '), ('leat import --ack pr', 'leat import --ack processed '),
                              ('leat pstate get word', 'leat pstate get word_count '), ('leat vers', 'leat version ')):
            os.write(terminal, typed.encode() + b'\t')
            self.await_text(terminal, wanted)
            os.write(terminal, b'\x15\n')
            self.await_text(terminal, 'READY')
        os.write(terminal, b'exit\n')
        shell.wait(timeout=60)
        os.close(terminal)


class Installed(PagesTest):
    def test_they_are_installed(self):
        there = subprocess.run(['meson', 'introspect', BUILD, '--installed'], capture_output=True, text=True, check=True).stdout
        for path in ('man/man1/leat.1', 'bash-completion/completions/leat.bash', 'zsh/site-functions/_leat'):
            self.assertIn(path + '"', there)
        for name, words in (('leat.1', ['help', '--man']), ('leat.bash', ['completion', 'bash']), ('_leat', ['completion', 'zsh'])):
            with open(os.path.join(BUILD, name)) as f:
                self.assertEqual(f.read(), self.run_leat(*words))


if __name__ == '__main__':
    BUILD = sys.argv.pop(2)
    command_run.main()
