/*
 * make.h - making an object of the arena, whole or not at all
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_MAKE_H
#define MPROC_MAKE_H

#include "core/object.h"

/* Puts an object's insides into it, between the two steps. 0, or a negative code: then what it has
 * put there so far is destroyed with the object. */
typedef int (*mproc__fill_fn)(struct mproc__hand *hand, void *object, const void *arg);

/* Both steps, and fill() between them (NULL: the object stays all zero behind the header). `out` is
 * the address of the constructor's result, a pointer to the noun: it is set to an object that the
 * caller holds once and has not shown to anybody yet. `where`: the code that asked for it. The
 * errors of joining, -ENOMEM, those of fill(). */
int mproc__object_build_for(void *out, enum mproc__kind kind, size_t size, mproc__fill_fn fill,
                            const void *arg, const void *where);

/* For a public constructor, whose caller is who asked. */
#define mproc__object_build(out, kind, size, fill, arg)                                            \
    mproc__object_build_for((out), (kind), (size), (fill), (arg), __builtin_return_address(0))

#endif
