/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cmd.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

const struct command commands[] = {
    {"demo", "[--data DIR] [--keep]", "real vectors in, true neighbours out, in a few seconds",
     "leat demo\nleat demo --data ./data\n", " data= keep ", 0, 0, cmd_demo},
    {"import", "FILE --module M --depot D --data DIR",
     "append a file (jsonl, .npy, .fvecs, .bvecs, .idx; also with .gz); killed and run again, it goes on where it "
     "stopped",
     "leat import base.fvecs --module ivf --depot vectors --data ./data --set dims=128 --set metric=l2 --ack idle\n"
     "leat import words.jsonl --module word_count --depot sentences --data ./data --ack processed\n",
     " module= depot= data= ack= input= id-prefix= set= tasks= groups= retain= disk-full= ", 1, 1, cmd_import},
    {"depot append", "M DEPOT [JSON ...] --data DIR",
     "append rows, or the lines of standard input: all of them or none",
     "leat depot append word_count sentences '{\"text\": \"a leat\"}' --data ./data\n"
     "leat depot append word_count sentences --data ./data <words.jsonl\n",
     " data= ack= set= tasks= groups= retain= disk-full= ", 2, 60, cmd_depot_append},
    {"depot tail", "M DEPOT --data DIR", "the last records of each partition, or those from an offset on",
     "leat depot tail word_count sentences --data ./data -n 5\n", " data= partition= offset= n= ", 2, 2,
     cmd_depot_tail},
    {"depot info", "M [DEPOT] --data DIR", "offsets of each partition that holds records",
     "leat depot info word_count --data ./data\n", " data= ", 1, 2, cmd_depot_info},
    {"depot consumer", "add|remove|list M DEPOT [NAME] --data DIR",
     "who else reads a depot: what they have not read is kept",
     "leat depot consumer add word_count sentences backup --data ./data\n"
     "leat depot consumer list word_count sentences --data ./data\n", " data= ",
     1, 4, cmd_depot_consumer},
    {"pstate get", "M PSTATE KEY ... --data DIR", "what keys, and for packed rows a number, lead to",
     "leat pstate get word_count counts leat --data ./data\n"
     "leat pstate get lsh vectors 0 --task 3 --data ./data\n", " data= task= ", 3, 12, cmd_pstate_get},
    {"pstate scan", "M PSTATE [KEY ...] --data DIR", "elements of a collection, task by task",
     "leat pstate scan word_count counts --data ./data --limit 20\n", " data= task= from= to= limit= reverse ", 2, 12,
     cmd_pstate_scan},
    {"pstate info", "M --data DIR", "PStates with schemas and sizes", "leat pstate info word_count --data ./data\n",
     " data= ", 1, 1, cmd_pstate_info},
    {"query invoke", "M QUERY [JSON] --data DIR", "run a query topology; its request is JSON, or standard input",
     "leat query invoke word_count count '{\"word\": \"leat\"}' --data ./data\n"
     "leat query invoke ivf search '{\"vec\": [1, 2, 3, 4], \"k\": 5}' --data ./data\n"
     "leat query invoke ivf search_many --data ./data <request.json\n", " data= timeout= ", 2, 3,
     cmd_query},
    {"export", "M (--depot D | --pstate P) --data DIR", "all of a depot or PState as JSON lines",
     "leat export word_count --pstate counts --data ./data >counts.jsonl\n"
     "leat export word_count --depot sentences --consumer backup --data ./data >>sentences.jsonl\n",
     " data= depot= pstate= consumer= ", 1, 1, cmd_export},
    {"module list", "", "the modules that come with Leat", "leat module list\n", " ", 0, 0, cmd_module_list},
    {"module show", "M", "depots, PStates and topologies of a module",
     "leat module show ivf\nleat module show lsh --dot >lsh.dot\n", " set= dot ", 1, 1, cmd_module_show},
    {"module check", "M", "check a module with these options", "leat module check lsh --set bits=14\n", " set= ", 1, 1,
     cmd_module_check},
    {"stats", "--data DIR", "figures of a directory, also while another process has it open",
     "leat stats --data ./data\n", " data= ", 0, 0, cmd_stats},
    {"top", "--data DIR [--once]",
     "a live view: rows a second, lag, times of turns, commits and nodes, disk; q ends it",
     "leat top --data ./data\nleat top --data ./data --once\n", " data= once ", 0, 0, cmd_top},
    {"doctor", "[M] --data DIR", "look for damage in every file of a directory, and change nothing",
     "leat doctor --data ./data\nleat doctor word_count --data ./data --rebuild --scratch /var/tmp\n",
     " data= scratch= rebuild ", 0, 1, cmd_doctor},
    {"backup", "TO --data DIR", "copy a directory into a new folder of TO, also while another process works in it",
     "leat backup /backups/leat --data ./data --most 7\nleat backup /backups/leat --list\n"
     "leat backup /backups/leat --verify\n",
     " data= most= rate= list verify name= ", 1, 1, cmd_backup},
    {"restore", "BACKUPS --data DIR [--name NAME]",
     "make a directory from a backup, the newest or a named one, and check every byte",
     "leat restore /backups/leat --data ./data\n", " data= name= rate= ", 1, 1, cmd_restore},
    {"rebuild", "M --data DIR [--set NAME=VALUE ...]",
     "make the PStates again from the depots, also with other options or groups",
     "leat rebuild lsh --data ./data --set bits=14 --set tables=16 --set probes=40\n", " data= set= groups= partial ",
     1, 1, cmd_rebuild},
    {"trace", "M DEPOT PARTITION OFFSET --data DIR",
     "what one record caused, turn by turn; ~ marks what may be due to others too",
     "leat trace word_count sentences 3 0 --data ./data\n", " data= limit= ", 4, 4, cmd_trace},
    {"bench recall", "--module M --base FILE --query FILE --truth FILE",
     "how many of the true neighbours a module finds, and how fast",
     "leat bench recall --module ivf --base base.npy --query query.npy --truth truth.ivecs --metric cosine -k 10\n"
     "leat bench recall --module ivf --base base.npy --query query.npy --truth truth.ivecs --metric cosine --sweep "
     "16,64 --svg recall.svg\n",
     " module= base= query= truth= metric= k= threads= queries= runs= sweep= set= tasks= groups= data= svg= gauge= ", 0,
     0, cmd_bench_recall},
    {"bench", "[NAME] [--option=value ...]", "run a benchmark; without a name, list them",
     "leat bench\nleat bench query\n", "*", 0, 30, cmd_bench},
    {"version", "", "the version", "leat version\n", " ", 0, 0, cmd_version},
    {"completion", "bash|zsh", "what a shell needs to complete commands, for its start-up file",
     "leat completion bash >~/.local/share/bash-completion/completions/leat\nleat completion zsh >~/.zfunc/_leat\n",
     " ", 1, 1, cmd_completion},
    {"help", "[COMMAND]", "this, or one command's page; 'leat help exit-codes'",
     "leat help import\nleat help exit-codes\nleat help --man >leat.1\n", " man ", 0, 2, cmd_help},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};

const struct command_option command_options[] = {
    {"data", " DIR", "the data directory; commands that append make it"},
    {"module", " M", "'leat module list' shows them"},
    {"depot", " D", "'leat module show M' shows them"},
    {"pstate", " P", "'leat module show M' shows them"},
    {"ack", " LEVEL", "return when rows are 'appended' (stored; the default), 'processed' (and all their effects),"},
    {"ack", "",
     "or, for 'import', 'idle' (and nothing is left to do in the background), or, for 'depot append', "
     "'none' (taken into"},
    {"ack", "", "memory)"},
    {"input", " FORM", "jsonl, npy, fvecs, bvecs, ivecs or idx, when the name of the file does not say so"},
    {"id-prefix", " P", "files of vectors: put before the number of the row to make its id"},
    {"base", " FILE", "vectors: .fvecs, .bvecs, .npy (f32, f16, u8, i8) or .idx, also with .gz"},
    {"query", " FILE", "likewise"},
    {"truth", " FILE", ".ivecs: the numbers of the true neighbours of each query, nearest first"},
    {"metric", " NAME", "l2 (the default), cosine, dot or hamming"},
    {"k", " K", "neighbours (10)"},
    {"threads", " N", "that ask, each one query at a time (1)"},
    {"queries", " N", "the first so many (all)"},
    {"runs", " N", "over all settings; medians count (5)"},
    {"sweep", " VALUES", "of the module's knob, with commas between"},
    {"svg", " FILE", "write the curve of queries a second over recall"},
    {"gauge", " N",
     "compare one query in so many with an exact one, beside it, as a program would: 'leat stats' has what it found"},
    {"set", " NAME=VALUE", "an option of the module, as often as needed; fixed when the directory is made"},
    {"tasks", " N", "a power of two; fixed when the directory is made (64)"},
    {"groups", " N", "threads that work, a power of two; fixed when the directory is made"},
    {"retain", " DEPOT=FOR",
     "keep records for so long, or so many: 7d, 10GiB, 7d,10GiB or forever; DEPOT '*' is all; holds on"},
    {"consumer", " NAME", "only what is new for it since the last time ('leat depot consumer')"},
    {"disk-full", " MIB", "append nothing when less is free on the disk (a fiftieth of it, at most 1024)"},
    {"partition", " P", "only this one"},
    {"offset", " O", "from this one on"},
    {"n", " N", "so many of each partition (10)"},
    {"task", " N", "only this one, whoever owns the first key: modules may keep things elsewhere"},
    {"from", " KEY", "the first key, itself included"},
    {"to", " KEY", "up to this key, itself excluded"},
    {"limit", " N", "so many at most"},
    {"reverse", "", "from the last key of each task down"},
    {"timeout", " MS", "give up after so many milliseconds"},
    {"once", "", "one screen and no more, plain; in a pipe it is so anyway"},
    {"rebuild", "", "make all PStates once more from the depots, beside, and compare"},
    {"scratch", " DIR", "where copies of views may be made (beside the data directory)"},
    {"keep", "", "keep the directory that was made"},
    {"partial", "", "also when records were trimmed or lost, which are then missing"},
    {"most", " N", "then remove the oldest backups beyond so many; 0, as without it: none"},
    {"rate", " MB", "copy, or read, at most so many megabytes a second; 0, as without it: as fast as it goes"},
    {"verify", "", "read every byte of a backup, the newest or a named one, and check it; nothing is copied"},
    {"list", "", "show what backups there are, with times and sizes"},
    {"name", " NAME", "of the backup; 'leat backup TO --list' shows them"},
    {"dot", "", "as Graphviz"},
    {"man", "", "the manual page, as man reads it"},
    {"format", " FORM", "table (on a terminal) or jsonl (one JSON object a line; in a pipe)"},
    {"quiet", "", "only errors on standard error"},
    {NULL, NULL, NULL},
};

const char *const exit_texts[] = {
    "fine",
    "a negative answer: the key, module, depot, PState, query or file is not there",
    "wrong usage",
    "the data directory cannot be opened: not there, of another kind, or another process has it",
    "refused: a row, option or module does not fit",
    "failed: disk, damage, time-out, or stopped by a signal",
    NULL,
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

/* The commands that begin with a word: "depot". Their number. */
static int print_group(FILE *to, const char *word)
{
    size_t size = strlen(word);
    int count = 0;

    for (const struct command *k = commands; k->name != NULL; k++)
        if (strncmp(k->name, word, size) == 0 && k->name[size] == ' ') {
            fprintf(to, "  leat %s %s\n", k->name, k->usage);
            count++;
        }
    return count;
}

static int unknown_command(const char *first, const char *second)
{
    fprintf(stderr, "leat: there is no command '%s%s%s'; these are there:\n", first, second != NULL ? " " : "",
            second != NULL ? second : "");
    if (print_group(stderr, first) == 0)
        for (const struct command *k = commands; k->name != NULL; k++)
            fprintf(stderr, "%s%s", k == commands ? "  " : ", ", k[1].name == NULL ? "help\n" : k->name);
    return EXIT_USAGE;
}

bool command_takes(const struct command *k, const char *name, bool *value)
{
    char flag[64], with[64];

    snprintf(flag, sizeof(flag), " %s ", name);
    snprintf(with, sizeof(with), " %s= ", name);
    *value = strstr(k->options, with) != NULL || strcmp(name, "format") == 0;
    return *value || strstr(k->options, flag) != NULL || strcmp(name, "quiet") == 0;
}

static bool may_repeat(const char *name)
{
    const struct command_option *o = command_options;

    while (o->name != NULL && strcmp(o->name, name) != 0)
        o++;
    return o->name != NULL && strchr(o->value, '=') != NULL;
}

static int parse_option(struct call *c, int argc, char **argv, int *at)
{
    char *text = argv[*at], *name = text + (text[1] == '-' ? 2 : 1), *equals = strchr(name, '=');
    bool wants;

    if (equals != NULL)
        *equals = '\0';
    if (!command_takes(c->command, name, &wants))
        return call_usage(c, "'%s' has no option '%s'", c->command->name, text);
    if (wants && equals == NULL && *at + 1 == argc)
        return call_usage(c, "option '%s' wants a value", text);
    if (!wants && equals != NULL)
        return call_usage(c, "option '%s' takes no value", text);
    if (call_option(c, name) != NULL && !may_repeat(name))
        return call_usage(c, "option '%s' is there twice; one is wanted", text);
    if (c->options == ARGUMENTS)
        return call_usage(c, "too many options");
    c->option[c->options].name = name;
    c->option[c->options].typed = text;
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
        return call_usage(c, "'%s' wants %s arguments", c->command->name,
                          c->arguments < c->command->least ? "more" : "fewer");
    return 0;
}

/* Where it is among the options; -1: not given. */
static int find_option(const struct call *c, const char *name)
{
    for (int i = 0; i < c->options; i++)
        if (strcmp(c->option[i].name, name) == 0)
            return i;
    return -1;
}

const char *call_option(const struct call *c, const char *name)
{
    int at = find_option(c, name);

    return at >= 0 ? c->option[at].value : NULL;
}

uint64_t call_number(const struct call *c, const char *name, uint64_t fallback, uint64_t most)
{
    const char *text = call_option(c, name);
    char *end = NULL;
    unsigned long long value = text != NULL ? strtoull(text, &end, 10) : fallback;

    if (text != NULL && (*text < '0' || *text > '9' || *end != '\0' || value > most))
        exit(call_usage(c, "option '%s' is '%s', but a whole number up to %llu is wanted",
                        c->option[find_option(c, name)].typed, text, (unsigned long long)most));
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
    if (strcmp(k->options, "*") == 0)
        return;
    printf("\noptions:\n");
    for (const struct command_option *o = command_options; o->name != NULL; o++) {
        bool value, repeated = o > command_options && strcmp(o->name, o[-1].name) == 0;
        char name[32];

        if (!command_takes(k, o->name, &value))
            continue;
        snprintf(name, sizeof(name), "%s%s%s", o->name[1] == '\0' ? "-" : "--", o->name, o->value);
        printf("  %-18s  %s\n", repeated ? "" : name, o->about);
    }
}

static int help_all(FILE *to)
{
    fprintf(to, "leat: partitioned logs, indexed views and the streams between them\n\n");
    for (const struct command *k = commands; k->name != NULL; k++)
        fprintf(to, "  %-15s %s\n", k->name, k->about);
    fprintf(to, "\nexamples:\n  leat demo\n  leat module show lsh\n  leat help import\n");
    return 0;
}

int cmd_help(struct call *c)
{
    char name[128] = "";
    const struct command *k = commands;

    if (call_option(c, "man") != NULL)
        return pages_man();
    if (c->arguments == 0)
        return help_all(stdout);
    snprintf(name, sizeof(name), "%s%s%s", c->argument[0], c->arguments > 1 ? " " : "",
             c->arguments > 1 ? c->argument[1] : "");
    if (strcmp(name, "exit-codes") == 0) {
        for (int i = 0; exit_texts[i] != NULL; i++)
            printf("%d %s\n", i, exit_texts[i]);
        return 0;
    }
    while (k->name != NULL && strcmp(k->name, name) != 0)
        k++;
    if (k->name == NULL && c->arguments == 1 && print_group(stdout, name) > 0)
        return 0;
    if (k->name == NULL)
        return unknown_command(c->argument[0], c->arguments > 1 ? c->argument[1] : NULL);
    help_command(k);
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
    if (c.command == NULL && argc == 3 && strcmp(argv[2], "--help") == 0 && print_group(stdout, argv[1]) > 0)
        return 0;
    if (c.command == NULL)
        return unknown_command(argv[1], argc > 2 ? argv[2] : NULL);
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
    signal(SIGXFSZ, SIG_IGN); /* ulimit -f: the call fails, and what it was for is said */
    rv = c.command->run(&c);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "leat: standard output could not be written: %s; what is there is not complete\n",
                strerror(errno));
        return EXIT_FAILED;
    }
    return rv;
}
