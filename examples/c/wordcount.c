/*
 * wordcount.c - word frequencies of many files, counted by a pool of processes
 *
 * SPDX-License-Identifier: MIT
 *
 *     wordcount [--engine NAME] [--counts OUT] PATH...
 *     mpirun -n 2 wordcount --engine mpi PATH...
 *
 * A PATH is a file, or a directory that is searched for .py files. A word is a longest run of the
 * bytes A-Z, a-z and _. The ten most frequent words go to stdout, progress and times to stderr, and
 * all counts to OUT, a line `word count` each. examples/python/wordcount.py does the same.
 *
 * How it works: each task is a group of files. Its bytes are the paths, one after the other, and
 * its result is a table of words and counts. The tables are added up as they come back. With an
 * engine the workers are those of all its machines, which have the same files.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mproc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define GROUP 16 /* files in a task: enough to be worth a message, few enough to share out evenly */
#define TOP 10

/* ---------------------------------------------------------------- words and their counts */

struct entry {
    char *word; /* NULL: this entry is free */
    uint32_t length;
    uint32_t hash;
    uint64_t count;
};

/* A hash table with open addressing; at most half of it is in use. */
struct table {
    struct entry *entries;
    size_t capacity; /* a power of two */
    size_t used;
};

static void *need(void *memory) {
    if (memory == NULL) {
        fprintf(stderr, "wordcount: out of memory\n");
        exit(1);
    }
    return memory;
}

static struct table table_new(size_t capacity) {
    return (struct table){need(calloc(capacity, sizeof(struct entry))), capacity, 0};
}

static void table_drop(struct table *table) {
    for (size_t i = 0; i < table->capacity; i++) {
        free(table->entries[i].word);
    }
    free(table->entries);
}

static struct entry *table_place(const struct table *table, const char *word, uint32_t length,
                                 uint32_t hash) {
    for (size_t i = hash & (table->capacity - 1);; i = (i + 1) & (table->capacity - 1)) {
        struct entry *e = &table->entries[i];
        if (e->word == NULL ||
            (e->hash == hash && e->length == length && memcmp(e->word, word, length) == 0)) {
            return e;
        }
    }
}

static void table_grow(struct table *table) {
    struct table larger = table_new(2 * table->capacity);
    for (size_t i = 0; i < table->capacity; i++) {
        struct entry *e = &table->entries[i];
        if (e->word != NULL) {
            *table_place(&larger, e->word, e->length, e->hash) = *e;
        }
    }
    larger.used = table->used;
    free(table->entries);
    *table = larger;
}

static void table_add(struct table *table, const char *word, uint32_t length, uint32_t hash,
                      uint64_t count) {
    struct entry *e = table_place(table, word, length, hash);
    if (e->word == NULL) {
        char *copy = need(malloc(length));
        memcpy(copy, word, length);
        *e = (struct entry){copy, length, hash, 0};
        table->used++;
    }
    e->count += count;
    if (2 * table->used > table->capacity) {
        table_grow(table);
    }
}

/* ---------------------------------------------------------------- in the workers */

static bool in_word(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

#define HASH_START 2166136261u

static uint32_t hash_on(uint32_t hash, unsigned char c) {
    return (hash ^ c) * 16777619u; /* FNV-1a */
}

static void count_words(struct table *table, const char *text, size_t size) {
    size_t i = 0;
    while (i < size) {
        size_t start = i;
        uint32_t hash = HASH_START;
        while (i < size && in_word((unsigned char)text[i])) {
            hash = hash_on(hash, (unsigned char)text[i++]);
        }
        if (i > start) {
            table_add(table, text + start, (uint32_t)(i - start), hash, 1);
        }
        i++;
    }
}

static int read_all(int fd, char **text, size_t *size) {
    size_t room = 1 << 16;
    *text = need(malloc(room));
    *size = 0;
    for (;;) {
        ssize_t n = read(fd, *text + *size, room - *size);
        if (n <= 0) {
            return n == 0 ? 0 : -errno;
        }
        *size += (size_t)n;
        if (*size == room) {
            room *= 2;
            *text = need(realloc(*text, room));
        }
    }
}

static int count_file(struct table *table, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = NULL;
    size_t size = 0;
    int r = fd < 0 ? -errno : read_all(fd, &text, &size);
    if (r == 0) {
        count_words(table, text, size);
    } else {
        fprintf(stderr, "\nwordcount: %s: %s\n", path, mproc_strerror(r));
    }
    free(text);
    if (fd >= 0) {
        close(fd);
    }
    return r;
}

/* A record of a result; the word's bytes follow it. */
struct record {
    uint32_t count;
    uint32_t length;
};

static int write_table(const struct table *table, mproc_result *result) {
    int r = 0;
    for (size_t i = 0; r == 0 && i < table->capacity; i++) {
        const struct entry *e = &table->entries[i];
        struct record record = {(uint32_t)e->count, e->length};
        if (e->word == NULL) {
            continue;
        }
        r = mproc_result_write(result, &record, sizeof record);
        if (r == 0) {
            r = mproc_result_write(result, e->word, e->length);
        }
    }
    return r;
}

/* The function of a task: `in` has paths, each with its final 0. */
static int count_group(const void *in, size_t size, mproc_result *result) {
    struct table table = table_new(4096);
    const char *path = in;
    int r = 0;
    while (r == 0 && path < (const char *)in + size) {
        r = count_file(&table, path);
        path += strlen(path) + 1;
    }
    if (r == 0) {
        r = write_table(&table, result);
    }
    table_drop(&table);
    return r;
}

/* ---------------------------------------------------------------- the files */

static char **files;
static size_t file_count;

static void add_file(const char *path) {
    if ((file_count & (file_count - 1)) == 0) {
        files = need(realloc(files, (file_count != 0 ? 2 * file_count : 1) * sizeof *files));
    }
    files[file_count++] = need(strdup(path));
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *where) {
    struct stat target;
    size_t n = strlen(path);
    (void)st, (void)where;
    if (type != FTW_D && n > 3 && strcmp(path + n - 3, ".py") == 0 && stat(path, &target) == 0 &&
        S_ISREG(target.st_mode)) {
        add_file(path);
    }
    return 0;
}

static int add_path(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) {
        fprintf(stderr, "wordcount: %s: %s\n", path, strerror(errno));
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) {
        add_file(path);
        return 0;
    }
    return nftw(path, visit, 32, FTW_PHYS) == 0 ? 0 : 1;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---------------------------------------------------------------- in the owner */

struct group {
    mproc_task *task;
    size_t files;
};

static int submit_group(mproc_pool *pool, size_t first, struct group *group) {
    static char paths[GROUP * 4096];
    size_t size = 0;
    for (size_t i = first; i < file_count && i < first + GROUP; i++) {
        size_t n = strlen(files[i]) + 1;
        if (n > sizeof paths - size) {
            fprintf(stderr, "wordcount: %s has too long a name\n", files[i]);
            return 1;
        }
        memcpy(paths + size, files[i], n);
        size += n;
        group->files++;
    }
    int r = mproc_pool_submit(pool, count_group, paths, size, NULL, &group->task);
    if (r != 0) {
        fprintf(stderr, "wordcount: %s\n", mproc_strerror(r));
    }
    return r;
}

static void add_result(struct table *table, const char *data, size_t size) {
    const char *end = data + size;
    while (data < end) {
        struct record record;
        uint32_t hash = HASH_START;
        memcpy(&record, data, sizeof record);
        data += sizeof record;
        for (uint32_t i = 0; i < record.length; i++) {
            hash = hash_on(hash, (unsigned char)data[i]);
        }
        table_add(table, data, record.length, hash, record.count);
        data += record.length;
    }
}

static int collect_group(struct table *table, mproc_task *task) {
    const void *data;
    size_t size;
    int r;
    do {
        r = mproc_task_wait(task, MPROC_FOREVER);
    } while (r == -EINTR);
    if (r == 0) {
        r = mproc_task_result(task, &data, &size);
    }
    if (r == 0) {
        add_result(table, data, size);
        return 0;
    }
    mproc_task_error error;
    mproc_task_failure(task, &error);
    fprintf(stderr, "wordcount: task %llu failed in process %d: %s\n",
            (unsigned long long)error.task, (int)error.pid, mproc_strerror(r));
    return r;
}

static int count_all(mproc_pool *pool, struct table *table) {
    size_t groups = (file_count + GROUP - 1) / GROUP, done = 0;
    struct group *group = need(calloc(groups + 1, sizeof *group));
    int r = 0;
    for (size_t i = 0; r == 0 && i < groups; i++) {
        r = submit_group(pool, i * GROUP, &group[i]);
    }
    for (size_t i = 0; r == 0 && i < groups; i++) {
        r = collect_group(table, group[i].task);
        done += group[i].files;
        fprintf(stderr, "\r  %zu of %zu files", done, file_count);
    }
    fprintf(stderr, "\n");
    for (size_t i = 0; i < groups; i++) {
        mproc_task_drop(group[i].task);
    }
    free(group);
    return r;
}

/* ---------------------------------------------------------------- the answer */

static int by_count(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->count != y->count) {
        return x->count < y->count ? 1 : -1;
    }
    uint32_t shorter = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->word, y->word, shorter);
    return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

/* The entries in use, the most frequent first. */
static struct entry *sorted(const struct table *table) {
    struct entry *all = need(malloc((table->used + 1) * sizeof *all));
    size_t n = 0;
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->entries[i].word != NULL) {
            all[n++] = table->entries[i];
        }
    }
    qsort(all, n, sizeof *all, by_count);
    return all;
}

static int write_counts(const struct entry *all, size_t n, const char *path) {
    FILE *out = fopen(path, "w");
    for (size_t i = 0; out != NULL && i < n; i++) {
        fprintf(out, "%.*s %llu\n", (int)all[i].length, all[i].word,
                (unsigned long long)all[i].count);
    }
    if (out == NULL || fclose(out) != 0) {
        fprintf(stderr, "wordcount: %s: %s\n", path, strerror(errno));
        return 1;
    }
    return 0;
}

static int report(const struct table *table, const char *counts) {
    struct entry *all = sorted(table);
    uint64_t total = 0;
    for (size_t i = 0; i < table->used; i++) {
        total += all[i].count;
        if (i < TOP) {
            printf("%8llu %.*s\n", (unsigned long long)all[i].count, (int)all[i].length,
                   all[i].word);
        }
    }
    printf("%llu words, %zu different, in %zu files\n", (unsigned long long)total, table->used,
           file_count);
    int r = counts != NULL ? write_counts(all, table->used, counts) : 0;
    free(all);
    return r;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int run(const char *counts, mproc_engine *engine) {
    struct table table = table_new(1 << 16);
    mproc_pool_options options = {.engine = engine};
    mproc_pool *pool;
    double start = now();
    int r = mproc_pool_new(&pool, &options);
    if (r != 0) {
        fprintf(stderr, "wordcount: no pool: %s\n", mproc_strerror(r));
    } else {
        r = count_all(pool, &table);
        mproc_pool_drop(pool);
    }
    double seconds = now() - start;
    if (r == 0) {
        r = report(&table, counts);
        fprintf(stderr, "  %.3f s, %.0f files/s\n", seconds, (double)file_count / seconds);
    }
    table_drop(&table);
    return r != 0;
}

/* The value of an option that may come first, or NULL; it is taken off the arguments. */
static const char *take_option(int *argc, char ***argv, const char *name) {
    if (*argc < 3 || strcmp((*argv)[1], name) != 0) {
        return NULL;
    }
    const char *value = (*argv)[2];
    *argc -= 2;
    *argv += 2;
    return value;
}

static int count_paths(char **paths, int n, const char *counts, mproc_engine *engine) {
    int r = 0;
    for (int i = 0; r == 0 && i < n; i++) {
        r = add_path(paths[i]);
    }
    if (r == 0) {
        qsort(files, file_count, sizeof *files, by_name);
        r = run(counts, engine);
    }
    for (size_t i = 0; i < file_count; i++) {
        free(files[i]);
    }
    free(files);
    return r;
}

int main(int argc, char **argv) {
    int r = mproc_init(argc, argv);
    mproc_engine *engine = NULL;
    const char *name = take_option(&argc, &argv, "--engine");
    const char *counts = take_option(&argc, &argv, "--counts");
    if (argc < 2) {
        fprintf(stderr, "usage: wordcount [--engine NAME] [--counts OUT] PATH...\n");
        return 2;
    }
    if (r == 0 && name != NULL) {
        r = mproc_engine_new(&engine, name, NULL); /* only rank 0 comes back */
    }
    if (r != 0) {
        fprintf(stderr, "wordcount: %s\n", mproc_strerror(r));
        return 1;
    }
    r = count_paths(argv + 1, argc - 1, counts, engine);
    mproc_engine_drop(engine);
    return r;
}
