/*
 * bench_stack.c - what it costs a waiting thread to say where it is
 *
 * SPDX-License-Identifier: MIT
 *
 * It does so once in a wait of 50 ms or more. The peers have nobody but the caller who could read
 * the words, except for the file, which others can read as they can the arena.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "mproc.h"

static char words[MPROC_STACK_MOST + 1];
static int file = -1;

static void in_the_arena(void) {
    mproc_stack *stack;
    if (mproc_stack_new(&stack, words) != 0 || mproc_drop(stack) != 0) {
        bench_die("mproc_stack_new");
    }
}

static void in_a_block(void) {
    size_t size = strlen(words) + 1;
    char *block = mproc_alloc(size);
    if (block == NULL) {
        bench_die("mproc_alloc");
    }
    memcpy(block, words, size);
    bench_keep(block);
    mproc_free(block);
}

static void in_private_memory(void) {
    char *copy = strdup(words);
    bench_keep(copy);
    free(copy);
}

static void in_a_file(void) {
    ssize_t size = (ssize_t)strlen(words);
    if (pwrite(file, words, (size_t)size, 0) != size || ftruncate(file, 0) != 0) {
        bench_die("pwrite");
    }
}

static double repeat(void *arg, uint64_t n) {
    void (*const *once)(void) = arg;
    double start = bench_now();
    while (n-- > 0) {
        (*once)();
    }
    return bench_now() - start;
}

static void compare(const char *title, size_t size) {
    void (*ours)(void) = in_the_arena, (*block)(void) = in_a_block,
         (*copy)(void) = in_private_memory, (*written)(void) = in_a_file;
    memset(words, 'x', size);
    words[size] = 0;
    const struct bench_contender contenders[] = {
        {"mproc_stack_new, mproc_drop", repeat, &ours, true},
        {"a block of the arena", repeat, &block, true},
        {"a file in memory", repeat, &written, false},
        {"strdup, free (nobody else sees it)", repeat, &copy, false}};
    const struct bench_table table = {title, "ns", 1e9, false, contenders, 4, {0, 0}, false};
    bench_compare(&table);
}

int main(int argc, char **argv) {
    mproc_lock *lock;
    if (mproc_init(argc, argv) != 0 || mproc_lock_new(&lock, 0) != 0) {
        bench_die("mproc_init");
    }
    file = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
    if (file < 0) {
        bench_die("/dev/shm");
    }
    bench_heading("a stack's words, left and taken back");
    compare("one line, 20 B", 20);
    compare("a deep stack, 1,000 B", MPROC_STACK_MOST);
    (void)close(file);
    mproc_drop(lock);
    return 0;
}
