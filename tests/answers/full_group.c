/*
 * full_group.c - a queue is filled until there is no memory, in a control group that has little
 *
 * SPDX-License-Identifier: MIT
 *
 * run: in a control group of 300 MiB, of which three quarters are the family's
 */
#include "answers.h"

int main(int argc, char **argv) {
    answer_until_full(argc, argv, 150);
    return 0;
}
