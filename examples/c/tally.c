/*
 * tally.c - word counts in a shared dict: each worker counts its lines, and all add to the same
 * numbers
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mproc.h>

#define LINES 3
#define ROUNDS 500
#define MOST 100 /* different words */

static const char *const lines[LINES] = {
    "the quick brown fox jumps over the lazy dog",
    "the dog sleeps and the fox runs",
    "a quick dog is no lazy fox",
};

struct job {
    mproc_dict *words;
    size_t line;
};

static int count(void *arg, size_t size) {
    const struct job *job = arg;
    (void)size;
    for (int i = 0; i < ROUNDS; i++) {
        for (const char *word = lines[job->line]; *word != 0;) {
            size_t length = strcspn(word, " ");
            if (mproc_dict_add(job->words, word, length, 1, NULL) != 0) {
                return 1;
            }
            word += length + (word[length] == ' ');
        }
    }
    return 0;
}

static int run_workers(mproc_dict *words) {
    mproc_process *workers[LINES];
    int failed = 0, code;
    for (size_t i = 0; i < LINES; i++) {
        struct job job = {words, i};
        int r = mproc_process_start(&workers[i], count, &job, sizeof job, NULL);
        if (r != 0) {
            fprintf(stderr, "tally: %s\n", mproc_strerror(r));
            return 1;
        }
    }
    for (size_t i = 0; i < LINES; i++) {
        if (mproc_process_join(workers[i], MPROC_FOREVER) != 0 ||
            mproc_process_exitcode(workers[i], &code) != 0 || code != 0) {
            failed = 1;
        }
        failed |= mproc_process_drop(workers[i]) != 0;
    }
    return failed;
}

static int by_word(const void *a, const void *b) {
    const mproc_dict_item *x = a, *y = b;
    size_t shorter = x->key_size < y->key_size ? x->key_size : y->key_size;
    int order = memcmp(x->key, y->key, shorter);
    return order != 0 ? order : (x->key_size > y->key_size) - (x->key_size < y->key_size);
}

static int print(mproc_dict *words) {
    mproc_dict_item items[MOST];
    mproc_dict_snapshot *all;
    size_t n = 0;
    int r = mproc_dict_snapshot_new(&all, words, 1);
    if (r != 0) {
        return 1;
    }
    while (n < MOST && mproc_dict_snapshot_item(all, n, &items[n]) == 0) {
        n++;
    }
    qsort(items, n, sizeof *items, by_word);
    for (size_t i = 0; i < n; i++) {
        int64_t number;
        r |= mproc_dict_number(items[i].value.data, items[i].value.size, &number);
        if (r == 0) {
            printf("%.*s: %" PRId64 "\n", (int)items[i].key_size, (const char *)items[i].key,
                   number);
        }
    }
    mproc_dict_snapshot_drop(all);
    return r != 0;
}

int main(int argc, char **argv) {
    mproc_dict *words;
    int r = mproc_init(argc, argv);
    if (r == 0) {
        r = mproc_dict_new(&words);
    }
    if (r != 0) {
        fprintf(stderr, "tally: %s\n", mproc_strerror(r));
        return 1;
    }
    int failed = run_workers(words) || print(words);
    mproc_drop(words);
    return failed;
}
