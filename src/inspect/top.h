/*
 * top.h - a family that is looked at again and again: `mproc top`
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TOP_H
#define MPROC_TOP_H

#include "system/base.h"

struct mproc__top {
    pid_t pid;
    int64_t every; /* ns between two looks */
    int rounds;    /* 0: until the family has ended */
    bool json;     /* a line with an object for each picture, and no screen */
    char order;    /* 'P' processor time, 'M' memory, 'T' all of its processor time, 'N' pid */
};

/* Is that one of the orders? */
bool mproc__top_sorts(char order);

/* On a terminal it has the screen until `q` is pressed; elsewhere it prints one picture after the
 * other. Ends with the family. The errors of mproc__outside_open() and mproc__picture_take(); those
 * of writing, which are in `output` as well. */
int mproc__top(const struct mproc__top *what, int *output);

#endif
