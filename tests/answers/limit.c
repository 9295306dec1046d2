/*
 * limit.c - how much memory a family may use, and what is said at the end of it
 *
 * SPDX-License-Identifier: MIT
 *
 * run: with MPROC_ARENA_LIMIT=32M, and with MPROC_ARENA_LIMIT=much
 */
#include "answers.h"

int main(int argc, char **argv) {
    static char block[10000];
    mproc_queue *queue;
    mproc_arena_stats stats;
    int r = mproc_init(argc, argv);
    answer_code("init", r);
    if (r != 0 || (r = mproc_queue_new(&queue, 0)) != 0) {
        answer("because", mproc_join_reason(r));
        return 0;
    }
    mproc_arena_stat(&stats);
    answer_number("limit in MiB", (long long)(stats.limit >> 20));
    long long put = 0;
    while ((r = mproc_queue_put(queue, block, sizeof block, 0)) == 0) {
        put++;
    }
    answer_code("put", r);
    answer("room for 20 MiB", put * (long long)sizeof block >= 20 << 20 ? "yes" : "no");
    answer_code("arena", mproc_arena_check(NULL, 0));
    return 0;
}
