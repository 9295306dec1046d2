/*
 * bench_list.c - the list beside a deque of one process
 *
 * SPDX-License-Identifier: MIT
 *
 * Values of 100 bytes in a list of 100,000: appended and popped again, got at random, and inserted
 * and deleted in the middle. The peer has no lock, and shares nothing.
 */
#include <stdint.h>
#include <string.h>

#include "list_deque.h"
#include "mproc.h"

#define ELEMENTS 100000

static mproc_list *list;

static void open_list(void) {
    if (mproc_list_new(&list) != 0) {
        bench_die("mproc_list_new");
    }
}

static void append_list(const void *value) {
    if (mproc_list_append(list, value, LIST_VALUE) != 0) {
        bench_die("mproc_list_append");
    }
}

static void get_list(int64_t i, void *room) {
    mproc_message m = MPROC_MESSAGE_INIT(room, LIST_VALUE);
    if (mproc_list_get(list, i, &m, NULL) != 0) {
        bench_die("mproc_list_get");
    }
}

static void insert_list(int64_t i, const void *value) {
    if (mproc_list_insert(list, i, value, LIST_VALUE) != 0) {
        bench_die("mproc_list_insert");
    }
}

static void delete_list(int64_t i) {
    if (mproc_list_delete(list, i, MPROC_LIST_ANY) != 0) {
        bench_die("mproc_list_delete");
    }
}

static const struct list_store store_list = {"mproc list", open_list,   append_list,
                                             get_list,     insert_list, delete_list};

/* ---------------------------------------------------------------- the work */

enum task { ENDS, GET, MIDDLE };

struct work {
    const struct list_store *store;
    enum task task;
};

static double run(void *arg, uint64_t n) {
    const struct work *work = arg;
    const struct list_store *s = work->store;
    char value[LIST_VALUE] = "";
    uint64_t state = UINT64_C(88172645463325252);
    double start = bench_now();
    for (; n > 0; n--) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift */
        switch (work->task) {
        case ENDS:
            s->append(value);
            s->remove(ELEMENTS);
            break;
        case GET:
            s->get((int64_t)(state % ELEMENTS), value);
            bench_keep(value);
            break;
        default: s->insert(ELEMENTS / 2, value); s->remove(ELEMENTS / 2);
        }
    }
    return bench_now() - start;
}

static void compare(enum task task, const char *title) {
    struct work works[] = {{&store_list, task}, {&store_deque, task}};
    const struct bench_contender contenders[] = {{works[0].store->name, run, &works[0], true},
                                                 {works[1].store->name, run, &works[1], false}};
    bench_compare(&(struct bench_table){
        .title = title, .unit = "ns", .scale = 1e9, .contenders = contenders, .n = 2});
}

static void fill(const struct list_store *s) {
    const char value[LIST_VALUE] = "";
    s->open();
    for (int i = 0; i < ELEMENTS; i++) {
        s->append(value);
    }
}

int main(int argc, char **argv) {
    if (mproc_init(argc, argv) != 0) {
        bench_die("mproc_init");
    }
    bench_heading("a list of 100,000 values of 100 bytes");
    fill(&store_list);
    fill(&store_deque);
    compare(ENDS, "append and delete the last");
    compare(GET, "get at random");
    compare(MIDDLE, "insert and delete in the middle");
    return 0;
}
