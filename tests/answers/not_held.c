/*
 * not_held.c - what is no object of the arena is not held, and is left as it was
 *
 * SPDX-License-Identifier: MIT
 */
#include "answers.h"
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    mproc_pool_options options = {.workers = 1};
    mproc_pool *pool;
    char *private = calloc(2, 4096), *same = calloc(2, 4096);
    if (mproc_init(argc, argv) != 0 || mproc_pool_new(&pool, &options) != 0 || private == NULL ||
        same == NULL) {
        return 1;
    }
    answer_code("hold of a pool", mproc_hold(pool));
    answer_code("hold of private memory", mproc_hold(private + 1024));
    answer("private memory", memcmp(private, same, 8192) == 0 ? "untouched" : "written");
    answer_code("members", mproc_member_check(NULL, 0));
    mproc_pool_drop(pool);
    free(private);
    free(same);
    return 0;
}
