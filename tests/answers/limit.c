/*
 * limit.c - how much memory a family may use, and what is said at the end of it
 *
 * SPDX-License-Identifier: MIT
 *
 * run: with MPROC_ARENA_LIMIT=32M, and with MPROC_ARENA_LIMIT=much
 */
#include "answers.h"

int main(int argc, char **argv) {
    answer_until_full(argc, argv, 20);
    return 0;
}
