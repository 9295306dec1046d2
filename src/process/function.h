/*
 * function.h - a C function's name across processes: build-id and offset
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_FUNCTION_H
#define MPROC_FUNCTION_H

#include "system/base.h"

#define MPROC__BUILD_ID_MAX 32 /* SHA-1 has 20; of longer ones the first 32 bytes count */

typedef void (*mproc__function)(void); /* any function pointer, to be cast back before the call */

/* Plain bytes that may be copied anywhere. */
struct mproc__function_ref {
    uint64_t offset;  /* from the load base of the object that holds the function */
    uint32_t id_size; /* of the object's build-id, as it is in the file */
    uint8_t id[MPROC__BUILD_ID_MAX];
    char object[52]; /* end of the object's file name; "": the program itself */
};

/* Names a function. MPROC_EFUNCTION: not inside an executable segment of an object with a
 * build-id. */
int mproc__function_name(mproc__function fn, struct mproc__function_ref *out);

/* Finds it again. MPROC_EBUILD: the object is here with another build-id; MPROC_EFUNCTION: it is
 * not here at all, or has no such place. */
int mproc__function_find(const struct mproc__function_ref *ref, mproc__function *fn);

/* Says on stderr what mproc__function_find() could not find, and what is here in its place. */
void mproc__function_complain(const struct mproc__function_ref *ref, int error);

#endif
