/*
 * handle.h - private handles: is a pointer one of its kind, and live?
 *
 * SPDX-License-Identifier: MIT
 *
 * A handle (of a process, a template, a segment, a view, a writer) is memory of the process that
 * made it. Its first word says which kind it is, from its making until it is dropped.
 */
#ifndef MPROC_HANDLE_H
#define MPROC_HANDLE_H

#include "system/base.h"

enum mproc__handle_kind {
    MPROC__HANDLE_PROCESS = 0x68700001,
    MPROC__HANDLE_TEMPLATE,
    MPROC__HANDLE_SHM,
    MPROC__HANDLE_POOL,
    MPROC__HANDLE_TASK,
    MPROC__HANDLE_WORKER,
    MPROC__HANDLE_VIEW,
    MPROC__HANDLE_WRITER,
    MPROC__HANDLE_WATCH,
    MPROC__HANDLE_SNAPSHOT,
    MPROC__HANDLE_LIST_SNAPSHOT,
    MPROC__HANDLE_INSPECTION,
    MPROC__HANDLE_ENGINE
};

static inline bool mproc__handle_is(const void *pointer, enum mproc__handle_kind kind) {
    return pointer != NULL && *(const uint32_t *)pointer == (uint32_t)kind;
}

/* What a public function asks of the handle that it is given, as mproc__expect() of an object. */
#define mproc__expect_handle(pointer, kind)                                                        \
    (assert(mproc__handle_is((pointer), (kind))),                                                  \
     mproc__likely(mproc__handle_is((pointer), (kind))))

/* The handle is no more; its memory is freed next, and the store must not be taken for idle. */
static inline void mproc__handle_wreck(void *pointer) {
    *(volatile uint32_t *)pointer = 0;
}

#endif
