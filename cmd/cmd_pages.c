/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <stdio.h>

#include "modules/modules.h"

/* The manual page and the completions of shells, all from the table of commands. */

/* Words that an option or an argument wants, by the name that usage gives it. NULL: nobody knows. */
static const struct {
    const char *name, *words;
} choices[] = {
    {"ack", "appended processed idle none"},
    {"input", "jsonl npy fvecs bvecs ivecs idx"},
    {"metric", "l2 cosine dot hamming"},
    {"format", "table jsonl"},
};

static bool is_one_of(const char *name, const char *names)
{
    char spaced[64];

    return snprintf(spaced, sizeof(spaced), " %s ", name) < (int)sizeof(spaced) && strstr(names, spaced) != NULL;
}

static bool is_directory(const char *value)
{
    return is_one_of(value, " DIR TO BACKUPS ");
}

/* The next argument of a usage, without brackets; false: options follow, or nothing. */
static bool next_argument(const char **at, char *out, size_t size)
{
    *at += strspn(*at, " [");
    size_t length = strcspn(*at, " ]");

    if (length == 0 || strchr("-(", **at) != NULL)
        return false;
    snprintf(out, size, "%.*s", (int)length, *at);
    *at += length + strspn(*at + length, "]");
    return strcmp(out, "...") != 0 || next_argument(at, out, size);
}

/* First words of commands, each once. */
static bool is_first(const struct command *k)
{
    size_t size = strcspn(k->name, " ");

    return k == commands || strncmp(k[-1].name, k->name, size) != 0 || strchr(" ", k[-1].name[size]) == NULL;
}

static const char *second_word(const struct command *k)
{
    const char *space = strchr(k->name, ' ');

    return space != NULL ? space + 1 : NULL;
}

static bool is_group(const struct command *k)
{
    return second_word(k) != NULL;
}

static const char *dashes(const char *name)
{
    return name[1] == '\0' ? "-" : "--";
}

/* An option's second line in the help is no option of its own. */
static bool is_repeated(const struct command_option *o)
{
    return o > command_options && strcmp(o->name, o[-1].name) == 0;
}

/* ---- The manual ---- */

static void man_text(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if ((at == text || at[-1] == '\n') && (*at == '.' || *at == '\''))
            printf("\\&");
        if (*at == '\\')
            printf("\\e");
        else if (*at == '-')
            printf("\\-");
        else if (*at == '\'')
            printf("\\(aq");
        else
            putchar(*at);
    }
}

static void man_line(const char *before, const char *text, const char *behind)
{
    printf("%s", before);
    man_text(text);
    printf("%s", behind);
}

static void man_option(const struct command_option *o)
{
    if (is_repeated(o)) {
        man_line("", o->about, "\n");
        return;
    }
    man_line(".TP\n\\fB", dashes(o->name), "");
    man_line("", o->name, "\\fR");
    if (o->value[0] != '\0')
        man_line(" \\fI", o->value + 1, "\\fR");
    man_line("\n", o->about, "\n");
}

static void man_command(const struct command *k)
{
    bool value;

    man_line(".SS leat ", k->name, "\n");
    man_line("\\fBleat ", k->name, "\\fR");
    man_line(" ", k->usage, "\n.PP\n");
    man_line("", k->about, ".\n");
    for (const struct command_option *o = command_options; o->name != NULL && strcmp(k->options, "*") != 0; o++)
        if (command_takes(k, o->name, &value))
            man_option(o);
    man_line(".PP\n.nf\n", k->examples, ".fi\n");
}

static void man_page(void)
{
    man_line(".\\\" made by 'leat help --man'\n.TH LEAT 1 \"\" \"Leat ", leat_version(), "\" \"User Commands\"\n");
    printf(".SH NAME\nleat \\- partitioned logs, indexed views and the streams between them\n"
           ".SH SYNOPSIS\n\\fBleat\\fR \\fICOMMAND\\fR [\\fIARGUMENT\\fR ...] [\\fIOPTION\\fR ...]\n"
           ".SH DESCRIPTION\nLeat keeps records in depots, which are partitioned logs, runs topologies over them, and "
           "keeps what these make in\n"
           "PStates, which are indexed. A module has depots, PStates and topologies; a directory holds the data of "
           "modules.\n"
           "On a terminal tables are printed, in a pipe one JSON object a line.\n.SH COMMANDS\n");
    for (const struct command *k = commands; k->name != NULL; k++)
        man_command(k);
    printf(".SH EXIT STATUS\n");
    for (int i = 0; exit_texts[i] != NULL; i++) {
        printf(".TP\n\\fB%d\\fR\n", i);
        man_line("", exit_texts[i], "\n");
    }
    printf(".SH ENVIRONMENT\n.TP\n\\fBLEAT_SIMD\\fR\nportable, avx2 or avx512: no better vector kernels than these.\n"
           ".SH FILES\n.TP\n\\fIDIR\\fR/\\fIMODULE\\fR/\nthe data of a module; FORMATS.md has its files.\n"
           ".TP\n\\fIDIR\\fR/stats.jsonl\nfigures of the process that has the directory open.\n");
}

int pages_man(void)
{
    man_page();
    return 0;
}

/* ---- Completion ---- */

static void first_words(void)
{
    for (const struct command *k = commands; k->name != NULL; k++)
        if (is_first(k))
            printf("%s%.*s", k == commands ? "" : " ", (int)strcspn(k->name, " "), k->name);
}

static void second_words(const struct command *of)
{
    size_t size = strcspn(of->name, " ");

    for (const struct command *k = of; k->name != NULL && strncmp(k->name, of->name, size + 1) == 0; k++)
        printf("%s%s", k == of ? "" : " ", second_word(k));
}

static void module_words(void)
{
    for (int i = 0; modules_builtin[i] != NULL; i++)
        printf("%s%s", i == 0 ? "" : " ", modules_builtin[i]->name);
}

static void bash_command(const struct command *k)
{
    const char *at = k->usage;
    char argument[64], last[64] = "";
    bool value;

    printf("        '%s')\n            options='", k->name);
    for (const struct command_option *o = command_options; o->name != NULL && strcmp(k->options, "*") != 0; o++)
        if (command_takes(k, o->name, &value) && !is_repeated(o))
            printf("%s%s ", dashes(o->name), o->name);
    printf("--help'\n            arguments='");
    while (next_argument(&at, argument, sizeof(argument)) && strcmp(last, argument) != 0) {
        printf("%s ", argument);
        snprintf(last, sizeof(last), "%s", argument);
    }
    printf("' ;;\n");
}

/* What an option wants behind it. */
static void bash_values(void)
{
    for (size_t i = 0; i < LENGTH_OF(choices); i++)
        printf("        --%s) COMPREPLY=($(compgen -W '%s' -- \"$current\")); return ;;\n", choices[i].name,
               choices[i].words);
    for (const struct command_option *o = command_options; o->name != NULL; o++) {
        const char *value = o->value + (o->value[0] == ' ');

        if (is_directory(value))
            printf("        --%s) COMPREPLY=($(compgen -d -- \"$current\")); return ;;\n", o->name);
        else if (strcmp(value, "M") == 0 || strcmp(value, "FILE") == 0)
            printf("        --%s) _leat_argument %s; return ;;\n", o->name, value);
        else if (value[0] != '\0')
            printf("        %s%s) return ;;\n", dashes(o->name), o->name);
    }
}

static void bash_groups(void)
{
    for (const struct command *k = commands; k->name != NULL; k++)
        if (is_first(k) && is_group(k)) {
            printf("        %.*s) words='", (int)strcspn(k->name, " "), k->name);
            second_words(k);
            printf("' ;;\n");
        }
}

static void bash_head(void)
{
    printf("# bash completion of leat; made by 'leat completion bash'\n\n_leat_argument() {\n    case $1 in\n        "
           "M) COMPREPLY=($(compgen -W '");
    module_words();
    printf("' -- \"$current\")) ;;\n        COMMAND) COMPREPLY=($(compgen -W '");
    first_words();
    printf("' -- \"$current\")) ;;\n"
           "        FILE) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n"
           "        DIR | TO | BACKUPS) COMPREPLY=($(compgen -d -- \"$current\")) ;;\n"
           "        *'|'*) COMPREPLY=($(compgen -W \"${1//|/ }\" -- \"$current\")) ;;\n"
           "    esac\n}\n\n");
}

static void bash_main(void)
{
    printf("_leat() {\n    local current=${COMP_WORDS[COMP_CWORD]} previous= words= options= arguments= "
           "command=${COMP_WORDS[1]} at=2 i place=0\n"
           "    COMPREPLY=()\n    if [ \"$COMP_CWORD\" -gt 1 ]; then previous=${COMP_WORDS[COMP_CWORD-1]}; fi\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then _leat_argument COMMAND; return; fi\n    case $command in\n");
    bash_groups();
    printf("    esac\n    if [ \"$COMP_CWORD\" -eq 2 ] && [ -n \"$words\" ] && [[ $current != -* ]]; then\n"
           "        COMPREPLY=($(compgen -W \"$words\" -- \"$current\")); return\n    fi\n"
           "    if [ -n \"$words\" ] && [[ \" $words \" == *\" ${COMP_WORDS[2]} \"* ]]; then command=\"$command "
           "${COMP_WORDS[2]}\" at=3; fi\n    case $command in\n");
    for (const struct command *k = commands; k->name != NULL; k++)
        bash_command(k);
    printf("        *) return ;;\n    esac\n    case $previous in\n");
    bash_values();
    printf("    esac\n    if [[ $current == -* ]]; then COMPREPLY=($(compgen -W \"$options\" -- \"$current\")); "
           "return; fi\n"
           "    for ((i = at; i < COMP_CWORD; i++)); do\n        case ${COMP_WORDS[i]} in\n            ");
    for (const struct command_option *o = command_options, *first = o; o->name != NULL; o++)
        if (o->value[0] != '\0')
            printf("%s%s%s", o == first ? "" : " | ", dashes(o->name), o->name);
    printf(") ((i++)) ;;\n            -*) ;;\n            *) ((place++)) ;;\n        esac\n    done\n"
           "    arguments=($arguments)\n    _leat_argument \"${arguments[place]-}\"\n}\n\ncomplete -F _leat leat\n");
}

/* ---- zsh ---- */

/* Inside quotes, in a place where : and brackets mean something. */
static void zsh_text(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            printf("'\\'");
        else if (strchr(":[]\\", *text) != NULL)
            printf("\\");
        putchar(*text);
    }
}

static void zsh_action(const char *name, const char *value)
{
    for (size_t i = 0; i < LENGTH_OF(choices); i++)
        if (strcmp(choices[i].name, name) == 0) {
            printf("(%s)", choices[i].words);
            return;
        }
    if (strcmp(value, "M") == 0) {
        printf("(");
        module_words();
        printf(")");
    } else if (strcmp(value, "COMMAND") == 0) {
        printf("(");
        first_words();
        printf(")");
    } else if (strchr(value, '|') != NULL) {
        printf("(");
        for (; *value != '\0'; value++)
            putchar(*value == '|' ? ' ' : *value);
        printf(")");
    } else {
        printf("%s", is_directory(value) ? "_files -/" : strcmp(value, "FILE") == 0 ? "_files" : " ");
    }
}

static void zsh_command(const struct command *k)
{
    const char *at = k->usage;
    char argument[64], last[64] = "";
    bool value;

    printf("        '%s')\n            _arguments", k->name);
    for (const struct command_option *o = command_options; o->name != NULL && strcmp(k->options, "*") != 0; o++) {
        if (!command_takes(k, o->name, &value) || is_repeated(o))
            continue;
        printf(" \\\n                '%s%s%s[",
               strcmp(o->name, "set") == 0 || strcmp(o->name, "retain") == 0 ? "*" : "", dashes(o->name), o->name);
        zsh_text(o->about);
        printf("]");
        if (value) {
            printf(":%s:", o->value + 1);
            zsh_action(o->name, o->value + 1);
        }
        printf("'");
    }
    for (int i = 1; next_argument(&at, argument, sizeof(argument)) && strcmp(last, argument) != 0; i++) {
        printf(" \\\n                '%d:%s:", i, strchr(argument, '|') != NULL ? "which" : argument);
        zsh_action("", argument);
        printf("'");
        snprintf(last, sizeof(last), "%s", argument);
    }
    printf(" ;;\n");
}

static void zsh_groups(void)
{
    for (const struct command *k = commands; k->name != NULL; k++) {
        if (!is_first(k) || !is_group(k))
            continue;
        int size = (int)strcspn(k->name, " ");

        printf("        %.*s)\n            words_of=(", size, k->name);
        for (const struct command *of = k; of->name != NULL && strncmp(of->name, k->name, (size_t)size + 1) == 0;
             of++) {
            printf("'%s:", second_word(of));
            zsh_text(of->about);
            printf("' ");
        }
        printf(") ;;\n");
    }
}

static void zsh(void)
{
    printf("#compdef leat\n# zsh completion of leat; made by 'leat completion zsh'\n\n_leat() {\n    local -a "
           "words_of\n    local command=$words[2]\n"
           "    if ((CURRENT == 2)); then\n        words_of=(");
    for (const struct command *k = commands; k->name != NULL; k++) {
        if (!is_first(k))
            continue;
        printf("\n            '%.*s:", (int)strcspn(k->name, " "), k->name);
        zsh_text(is_group(k) ? "several commands" : k->about);
        printf("'");
    }
    printf(")\n        _describe command words_of\n        return\n    fi\n    case $command in\n");
    zsh_groups();
    printf("    esac\n    if (($#words_of > 0)); then\n        if ((CURRENT == 3)); then\n            _describe "
           "command words_of\n            return\n"
           "        fi\n        command=\"$words[2] $words[3]\"\n        shift words\n        ((CURRENT--))\n    fi\n"
           "    shift words\n    ((CURRENT--))\n    case $command in\n");
    for (const struct command *k = commands; k->name != NULL; k++)
        zsh_command(k);
    printf("    esac\n}\n\n_leat \"$@\"\n");
}

int cmd_completion(struct call *c)
{
    if (strcmp(c->argument[0], "bash") == 0) {
        bash_head();
        bash_main();
    } else if (strcmp(c->argument[0], "zsh") == 0) {
        zsh();
    } else {
        return call_usage(c, "bash or zsh, not '%s'", c->argument[0]);
    }
    return 0;
}
