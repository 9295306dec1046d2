/*
 * slice.h - several elements of a list are changed in one step
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_LIST_SLICE_H
#define MPROC_LIST_SLICE_H

#include "list/inside.h"

/* Which elements: a slice of step 1, or one element that has a version. */
struct mproc__list_where {
    int64_t start, stop;
    bool one;         /* element `start`, and `stop` does not count */
    uint64_t version; /* of that one, or MPROC_LIST_ANY */
};

/* What every call with values asks first. MPROC_EOTHER: no list, or no buffers; -EINVAL: a value of
 * a negative number of pieces. */
int mproc__list_expect(const mproc_list *list, const mproc_list_value *values, size_t n);

/* The n values come in the place of the elements. -ERANGE, -ESTALE (of one), -ENOMEM,
 * MPROC_ETOOBIG, -EINVAL (a buffer that nobody holds). */
int mproc__list_splice(mproc_list *list, struct mproc__hand *hand, struct mproc__list_where where,
                       const mproc_list_value *values, uint64_t n);

/* A hold on an element's large value, which was in the list when `taken` was that. -ESTALE: it is
 * not any more; -ENOMEM. */
int mproc__list_lend(const mproc_list *list, struct mproc__hand *hand, uint64_t taken,
                     struct mproc__object *large);

#endif
