/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "modules/modules.h"

const struct command commands[] = {
    {"demo", "[--data DIR] [--keep]", "real vectors in, true neighbours out, in a few seconds", "leat demo\nleat demo --data /tmp/leat\n",
     " data= keep ", 0, 0, cmd_demo},
    {"import", "FILE --module M --depot D --data DIR [--set k=v] [--ack appended|processed] [--id-prefix P]",
     "append a file (jsonl, .npy, .fvecs, .bvecs); killed and run again, it goes on where it stopped",
     "leat import base.fvecs --module lsh --depot vectors --data ./data --set dims=128\n"
     "leat import words.jsonl --module word_count --depot sentences --data ./data --ack processed\n",
     " module= depot= data= set= ack= tasks= groups= id-prefix= input= ", 1, 1, cmd_import},
    {"depot append", "M DEPOT [JSON ...] --data DIR [--ack none|appended|processed]", "append rows, or lines from standard input",
     "leat depot append word_count sentences '{\"text\": \"a leat\"}' --data ./data\n", " data= set= ack= tasks= groups= ", 2, 60,
     cmd_depot_append},
    {"depot tail", "M DEPOT --data DIR [--partition P] [--offset O] [-n N]", "print the last records, or those from an offset on",
     "leat depot tail word_count sentences --data ./data -n 5\n", " data= partition= offset= n= ", 2, 2, cmd_depot_tail},
    {"depot info", "M [DEPOT] --data DIR", "offsets of each partition", "leat depot info word_count --data ./data\n", " data= ", 1, 2,
     cmd_depot_info},
    {"pstate get", "M PSTATE KEY ... --data DIR", "what keys lead to", "leat pstate get word_count counts leat --data ./data\n",
     " data= ", 3, 12, cmd_pstate_get},
    {"pstate scan", "M PSTATE [KEY ...] --data DIR [--from K] [--to K] [--limit N] [--reverse]", "elements of a collection, task by task",
     "leat pstate scan word_count counts --data ./data --limit 20\n", " data= from= to= limit= reverse ", 2, 12, cmd_pstate_scan},
    {"pstate info", "M --data DIR", "PStates with schemas and sizes", "leat pstate info lsh --data ./data\n", " data= ", 1, 1,
     cmd_pstate_info},
    {"query invoke", "M QUERY [JSON] --data DIR [--timeout MS]", "run a query topology",
     "leat query invoke word_count count '{\"word\": \"leat\"}' --data ./data\n", " data= timeout= ", 2, 3, cmd_query},
    {"export", "M --depot D | --pstate P --data DIR", "all of a depot or PState as JSON lines",
     "leat export word_count --pstate counts --data ./data >counts.jsonl\n", " data= depot= pstate= ", 1, 1, cmd_export},
    {"module list", "", "the modules that come with Leat", "leat module list\n", " ", 0, 0, cmd_module_list},
    {"module show", "M [--set k=v] [--dot]", "a module as a picture", "leat module show lsh\nleat module show lsh --dot | dot -Tsvg >lsh.svg\n",
     " set= dot ", 1, 1, cmd_module_show},
    {"module check", "M [--set k=v]", "check a module with these options", "leat module check lsh --set bits=14\n", " set= ", 1, 1,
     cmd_module_check},
    {"stats", "--data DIR", "figures of a directory, also while another process has it open", "leat stats --data ./data\n", " data= ",
     0, 0, cmd_stats},
    {"bench", "[NAME] [--option=value ...]", "run a benchmark; without a name, list them", "leat bench\nleat bench word_count\n", "*", 0, 30,
     cmd_bench},
    {"version", "", "the version", "leat version\n", " ", 0, 0, cmd_version},
    {"help", "[COMMAND]", "this, or one command's page; 'leat help exit-codes'", "leat help import\n", " ", 0, 2, cmd_help},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};

/* ---- Errors ---- */

int call_error(const struct leat_error *err)
{
    fprintf(stderr, "leat: %s\n", err->text[0] != '\0' ? err->text : leat_code_text(err->code));
    switch (err->code) {
    case LEAT_EBUSY:
        return EXIT_OPEN;
    case LEAT_ENOTFOUND:
        return EXIT_NO;
    default:
        return leat_code_class(err->code) == LEAT_CLASS_CALLER ? EXIT_REFUSED : EXIT_FAILED;
    }
}

int call_usage(const struct call *c, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "leat: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    if (c->command != NULL)
        fprintf(stderr, "\nusage: leat %s %s\n", c->command->name, c->command->usage);
    else
        fprintf(stderr, "\ntry: leat help\n");
    return EXIT_USAGE;
}

/* ---- Parsing ---- */

static const struct command *find_command(int argc, char **argv, int *used)
{
    char two[128];

    for (const struct command *k = commands; k->name != NULL; k++) {
        if (argc > 1 && strcmp(k->name, argv[1]) == 0) {
            *used = 2;
            return k;
        }
        if (argc > 2 && snprintf(two, sizeof(two), "%s %s", argv[1], argv[2]) > 0 && strcmp(k->name, two) == 0) {
            *used = 3;
            return k;
        }
    }
    return NULL;
}

/* Does a command take an option, and does that want a value? */
static bool takes(const struct command *k, const char *name, bool *value)
{
    char flag[64], with[64];

    snprintf(flag, sizeof(flag), " %s ", name);
    snprintf(with, sizeof(with), " %s= ", name);
    *value = strstr(k->options, with) != NULL || strcmp(name, "format") == 0 || strcmp(name, "color") == 0;
    return *value || strstr(k->options, flag) != NULL || strcmp(name, "quiet") == 0;
}

static int parse_option(struct call *c, int argc, char **argv, int *at)
{
    char *text = argv[*at], *name = text + (text[1] == '-' ? 2 : 1), *equals = strchr(name, '=');
    bool wants;

    if (equals != NULL)
        *equals = '\0';
    if (!takes(c->command, name, &wants))
        return call_usage(c, "'%s' has no option '%s'", c->command->name, text);
    if (wants && equals == NULL && *at + 1 == argc)
        return call_usage(c, "option '%s' wants a value", text);
    if (!wants && equals != NULL)
        return call_usage(c, "option '%s' takes no value", text);
    if (c->options == ARGUMENTS)
        return call_usage(c, "too many options");
    c->option[c->options].name = name;
    c->option[c->options++].value = !wants ? "" : equals != NULL ? equals + 1 : argv[++*at];
    return 0;
}

static int parse(struct call *c, int argc, char **argv, int from)
{
    bool literal = strcmp(c->command->options, "*") == 0, rest = false;

    for (int i = from; i < argc; i++) {
        int rv = 0;

        if (!rest && !literal && strcmp(argv[i], "--") == 0) {
            rest = true;
            continue;
        }
        if (!rest && strcmp(argv[i], "--help") == 0)
            return -1;
        if (!rest && !literal && argv[i][0] == '-' && argv[i][1] != '\0' && !(argv[i][1] >= '0' && argv[i][1] <= '9'))
            rv = parse_option(c, argc, argv, &i);
        else if (c->arguments == ARGUMENTS)
            rv = call_usage(c, "too many arguments");
        else
            c->argument[c->arguments++] = argv[i];
        if (rv != 0)
            return rv;
    }
    if (c->arguments < c->command->least || c->arguments > c->command->most)
        return call_usage(c, "'%s' wants %s arguments", c->command->name, c->arguments < c->command->least ? "more" : "fewer");
    return 0;
}

const char *call_option(const struct call *c, const char *name)
{
    for (int i = 0; i < c->options; i++)
        if (strcmp(c->option[i].name, name) == 0)
            return c->option[i].value;
    return NULL;
}

uint64_t call_number(const struct call *c, const char *name, uint64_t fallback, uint64_t most)
{
    const char *text = call_option(c, name);
    char *end = NULL;
    unsigned long long value = text != NULL ? strtoull(text, &end, 10) : fallback;

    if (text != NULL && (*text < '0' || *text > '9' || *end != '\0' || value > most))
        exit(call_usage(c, "option '--%s' is '%s', but a whole number up to %llu is wanted", name, text, (unsigned long long)most));
    return value;
}

/* ---- Help ---- */

static void help_command(const struct command *k)
{
    printf("leat %s %s\n\n  %s\n\nexamples:\n", k->name, k->usage, k->about);
    for (const char *at = k->examples; *at != '\0';) {
        size_t size = strcspn(at, "\n");

        printf("  %.*s\n", (int)size, at);
        at += size + (at[size] == '\n');
    }
    if (strcmp(k->options, "*") != 0)
        printf("\n--format table|jsonl (a table on a terminal, JSON lines in a pipe), --quiet, --help\n");
}

static int help_all(FILE *to)
{
    fprintf(to, "leat: partitioned logs, indexed views and the streams between them\n\n");
    for (const struct command *k = commands; k->name != NULL; k++)
        fprintf(to, "  %-14s %s\n", k->name, k->about);
    fprintf(to, "\nexamples:\n  leat demo\n  leat module show lsh\n  leat help import\n");
    return 0;
}

int cmd_help(struct call *c)
{
    char name[128] = "";
    const struct command *k = commands;

    if (c->arguments == 0)
        return help_all(stdout);
    snprintf(name, sizeof(name), "%s%s%s", c->argument[0], c->arguments > 1 ? " " : "", c->arguments > 1 ? c->argument[1] : "");
    if (strcmp(name, "exit-codes") == 0) {
        printf("0 fine\n1 a negative answer: the key, module or depot is not there\n2 wrong usage\n"
               "3 the data directory cannot be opened: not there, or another process has it\n"
               "4 refused: a row, option or module does not fit\n5 failed: disk, damage, time-out\n");
        return 0;
    }
    while (k->name != NULL && strcmp(k->name, name) != 0)
        k++;
    if (k->name == NULL)
        return call_usage(&(struct call){0}, "there is no command '%s'", name);
    help_command(k);
    return 0;
}

/* ---- Opening ---- */

const struct leat_module *call_module(const char *name)
{
    const struct leat_module *m = modules_find(name);

    if (m == NULL)
        fprintf(stderr, "leat: there is no module '%s'; 'leat module list' shows them\n", name);
    return m;
}

const struct leat_option *call_settings(const struct call *c)
{
    static struct leat_option settings[ARGUMENTS + 1];
    int count = 0;

    for (int i = 0; i < c->options; i++) {
        if (strcmp(c->option[i].name, "set") != 0)
            continue;
        char *text = base_strdup(c->option[i].value), *equals = strchr(text, '=');

        if (equals == NULL) {
            call_usage(c, "--set wants name=value, not '%s'", text);
            return NULL;
        }
        *equals = '\0';
        settings[count++] = (struct leat_option){text, equals + 1};
    }
    settings[count] = (struct leat_option){NULL, NULL};
    return settings;
}

int call_open(const struct call *c, const char *module, bool create, struct leat **out)
{
    const char *data = call_option(c, "data");
    const struct leat_module *m = call_module(module);
    struct leat_config config = {.create = create};
    struct leat_error err = {0};
    char path[4096];

    if (m == NULL)
        return EXIT_NO;
    if (data == NULL)
        return call_usage(c, "say where the data is: --data DIR");
    snprintf(path, sizeof(path), "%s/%s/module.ini", data, module);
    if (!create && access(path, F_OK) != 0) {
        fprintf(stderr, "leat: there is no module '%s' in '%s'; import or append something first\n", module, data);
        return EXIT_OPEN;
    }
    struct leat_launch launch = {.tasks = (uint32_t)call_number(c, "tasks", 0, LIMIT_TASKS),
                                 .groups = (uint32_t)call_number(c, "groups", 0, LIMIT_GROUPS),
                                 .options = call_settings(c)};
    if (launch.options == NULL)
        return EXIT_USAGE;
    if (leat_open(data, &config, out, &err) != 0) {
        call_error(&err);
        return EXIT_OPEN;
    }
    if (leat_launch(*out, m, &launch, &err) != 0) {
        leat_close(*out);
        return call_error(&err);
    }
    /* What is read shows all that was appended before, also by a process that did not wait for it. */
    if (!create && leat_wait(*out, 60000, &err) != 0)
        fprintf(stderr, "leat: %s; what follows may lack it\n", err.text);
    return 0;
}

int main(int argc, char **argv)
{
    struct call c = {0};
    int used = 0;

    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help_all(argc < 2 ? stderr : stdout), argc < 2 ? EXIT_USAGE : 0;
    if (strcmp(argv[1], "--version") == 0)
        return cmd_version(&c);
    c.command = find_command(argc, argv, &used);
    if (c.command == NULL)
        return call_usage(&c, "there is no command '%s%s%s'", argv[1], argc > 2 ? " " : "", argc > 2 ? argv[2] : "");
    int rv = parse(&c, argc, argv, used);
    if (rv < 0) {
        help_command(c.command);
        return 0;
    }
    if (rv != 0)
        return rv;
    const char *format = call_option(&c, "format");
    if (format != NULL && strcmp(format, "table") != 0 && strcmp(format, "jsonl") != 0)
        return call_usage(&c, "--format is table or jsonl, not '%s'", format);
    c.json = format != NULL ? strcmp(format, "jsonl") == 0 : !isatty(STDOUT_FILENO);
    c.quiet = call_option(&c, "quiet") != NULL;
    return c.command->run(&c);
}
