/*
 * setting.h - environment variables that hold a number of bytes
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_SETTING_H
#define MPROC_SETTING_H

#include "system/base.h"

/* A decimal or hexadecimal ("0x...") number, with K, M, G, T, or KiB, MiB, GiB, TiB behind it, in
 * any case. False: the text is something else, or the number does not fit into *out. */
bool mproc__setting_parse(const char *text, uint64_t *out);

/* The variable's number into *out, which is left as it is when the variable is not set or empty.
 * MPROC_ESETTING: it is no such number, or it is less than `least`; mproc_join_reason() and a line
 * on stderr say so. */
int mproc__setting_bytes(const char *name, uint64_t least, uint64_t *out);

#endif
