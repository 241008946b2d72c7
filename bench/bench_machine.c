/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include "bench/commit.h"

#include <fcntl.h>
#include <ftw.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

/* What a figure was measured on: without that it says nothing. */

void bench_processor(char *out, size_t size)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];

    snprintf(out, size, "unknown processor");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) {
            snprintf(out, size, "%s", strchr(line, ':') + 2);
            out[strcspn(out, "\n")] = '\0';
            break;
        }
    if (f != NULL)
        fclose(f);
}

/* Numbers from statfs(2). */
static void file_system(const char *directory, char *out, size_t size)
{
    static const struct {
        unsigned long number;
        const char *name;
    } known[] = {{0xef53, "ext4"},        {0x58465342, "xfs"}, {0x9123683e, "btrfs"}, {0x01021994, "tmpfs"},
                 {0x794c7630, "overlay"}, {0x2fc12fc1, "zfs"}, {0x6969, "nfs"},       {0xf2f52010, "f2fs"}};
    struct statfs is;

    snprintf(out, size, "unknown file system");
    if (statfs(directory, &is) != 0)
        return;
    snprintf(out, size, "file system 0x%lx", (unsigned long)is.f_type);
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if ((unsigned long)is.f_type == known[i].number)
            snprintf(out, size, "%s", known[i].name);
}

double bench_disk(void)
{
    char *directory = bench_directory();
    double f = bench_fsync(directory);

    bench_line("f: write and fdatasync, p50", f * 1e3, "ms", "200 times one page of a preallocated file");
    bench_remove(directory);
    return f;
}

void bench_machine(void)
{
    char name[128], disk[64], *directory = bench_directory();
    struct utsname system;
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);

    bench_processor(name, sizeof(name));
    file_system(directory, disk, sizeof(disk));
    uname(&system);
    printf("%s, %ld processors, %.0f GiB, %s in %s; %s %s\n", name, sysconf(_SC_NPROCESSORS_ONLN), memory / (1 << 30),
           disk, getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "the working directory", system.sysname, system.release);
#if defined(__clang__)
    printf("leat %s (%s), %s, ", leat_version(), BENCH_COMMIT, __VERSION__);
#else
    printf("leat %s (%s), gcc %s, ", leat_version(), BENCH_COMMIT, __VERSION__);
#endif
    printf("%s\n", mdb_version(NULL, NULL, NULL));
    bench_remove(directory);
}

/* ---- The page cache ---- */

/* What nftw has no place for. */
static struct dropped {
    uint64_t pages, in;
} dropped;

static int drop_file(const char *path, const struct stat *st, int type, struct FTW *where)
{
    size_t size = type == FTW_F ? (size_t)st->st_size : 0, pages = (size + 4095) / 4096;
    int fd = size > 0 ? open(path, O_RDONLY) : -1;

    (void)where;
    if (fd < 0)
        return 0;
    fsync(fd); /* only what is on the disk goes */
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    unsigned char *in = calloc(pages, 1);
    if (map != MAP_FAILED && in != NULL && mincore(map, size, in) == 0)
        for (size_t i = 0; i < pages; i++)
            dropped.in += in[i] & 1;
    dropped.pages += pages;
    if (map != MAP_FAILED)
        munmap(map, size);
    free(in);
    close(fd);
    return 0;
}

double bench_drop(const char *directory)
{
    dropped = (struct dropped){0};
    nftw(directory, drop_file, 16, FTW_PHYS);
    return dropped.pages > 0 ? (double)dropped.in / (double)dropped.pages : 0;
}
