/*
 * number.h - integers as values: MessagePack's
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_DICT_NUMBER_H
#define MPROC_DICT_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MPROC__NUMBER_MOST 9 /* bytes */

/* Writes the shortest form; returns its size. */
size_t mproc__number_write(unsigned char *out, int64_t number);

/* False: these bytes are no integer, or one that does not fit into *out. */
bool mproc__number_read(const unsigned char *bytes, size_t size, int64_t *out);

#endif
