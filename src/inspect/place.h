/*
 * place.h - which line of a program an address of its code is
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PLACE_H
#define MPROC_PLACE_H

#include "inspect/picture.h"

/* Origins that are addresses of code become "file:line", where addr2line is installed and the
 * program has the lines with it; others stay. */
void mproc__places_resolve(struct mproc__picture *p);

#endif
