/*
 * full_group.c - a queue is filled until there is no memory, in a control group that has little
 *
 * SPDX-License-Identifier: MIT
 *
 * run: in a control group of 300 MiB, of which three quarters are the family's
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
    answer("room for 150 MiB", put * (long long)sizeof block >= 150 << 20 ? "yes" : "no");
    answer_code("arena", mproc_arena_check(NULL, 0));
    return 0;
}
