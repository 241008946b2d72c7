/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Drives a fuzz target without libFuzzer: every file of a corpus folder, then changes of them at random.
 * usage: TARGET CORPUS ROUNDS [SEED] */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { FILES = 256, MOST = 1 << 16 };

static struct {
    uint8_t *bytes;
    size_t size;
} corpus[FILES];
static size_t files;

static void read_corpus(const char *directory)
{
    DIR *d = opendir(directory);
    struct dirent *entry;
    char path[4096];

    while (d != NULL && (entry = readdir(d)) != NULL && files < FILES) {
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        FILE *f = entry->d_name[0] != '.' ? fopen(path, "rb") : NULL;
        if (f == NULL)
            continue;
        corpus[files].bytes = malloc(MOST);
        corpus[files].size = fread(corpus[files].bytes, 1, MOST, f);
        fclose(f);
        files++;
    }
    if (d != NULL)
        closedir(d);
}

static uint64_t next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Flip, cut, double or splice: what most decoders get wrong. The copy has no slack,
 * so that a sanitizer sees overruns. */
static void one_round(uint64_t *seed)
{
    static uint8_t work[2 * MOST];
    size_t at = next(seed) % files, size = corpus[at].size;

    memcpy(work, corpus[at].bytes, size);
    for (uint64_t n = next(seed) % 6; n > 0 && size > 0; n--) {
        size_t place = next(seed) % size, other = next(seed) % size;

        switch (next(seed) % 5) {
        case 0:
            work[place] ^= (uint8_t)(1U << next(seed) % 8);
            break;
        case 1:
            work[place] = (uint8_t)next(seed);
            break;
        case 2:
            size = place;
            break;
        case 3:
            work[place] = next(seed) % 2 ? 0xff : 0x80;
            break;
        default:
            memmove(work + place, work + other, size - (place > other ? place : other));
            break;
        }
    }
    uint8_t *exact = malloc(size + (size == 0));
    memcpy(exact, work, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

int main(int argc, char **argv)
{
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 0, seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;

    if (argc < 3) {
        fprintf(stderr, "usage: %s CORPUS ROUNDS [SEED]\n", argv[0]);
        return 2;
    }
    if (getenv("LEAT_LONG") != NULL)
        rounds *= 100;
    read_corpus(argv[1]);
    if (files == 0) {
        fprintf(stderr, "%s: no files in '%s'\n", argv[0], argv[1]);
        return 1;
    }
    for (size_t i = 0; i < files; i++)
        LLVMFuzzerTestOneInput(corpus[i].bytes, corpus[i].size);
    for (uint64_t i = 0; i < rounds; i++)
        one_round(&seed);
    for (size_t i = 0; i < files; i++)
        free(corpus[i].bytes);
    printf("%zu files, %llu changes of them\n", files, (unsigned long long)rounds);
    return 0;
}
