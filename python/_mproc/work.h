/*
 * work.h - what a pool's worker does with a task: it reads the call, makes it, hands the result in
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_WORK_H
#define MPROC_PYTHON_WORK_H

#include "call.h"
#include "module.h"

#include <sys/uio.h>

struct work {
    struct module_state *state;
    PyObject *known; /* dict: a function's message -> the function */
    char last[128];  /* of these, the message that came last; last_size 0: none, or too large */
    size_t last_size;
    PyObject *last_function;
    PyObject *describe; /* callable: (exception, whether the function was called, where) -> what to
                           send; where: (function, number of the item) in a map, else None */
    PyObject *excuse; /* callable: (value, exception, first) -> what to send for a value that cannot
                         be; first: the number of a map's first item, else None */
    int everything;   /* what is no Exception is described, too, if the function raised it */
    int called;       /* the task was read, and its function called */
    PyObject *where;  /* of the map that has failed, else NULL */
    int64_t first;    /* the number of the map's first item; -1: no map */

    /* Hands in the result of the task in hand: 0 or a code of the core. */
    int (*hand_in)(void *worker, const struct iovec *lent, int n);
    /* The same with buffers. */
    int (*hand_in_with)(void *worker, const struct iovec *lent, int n, const struct parts *parts);
    /* Says which function the task in hand runs, if somebody records; NULL: nobody ever does. */
    int (*is_traced)(const void *worker);
    void (*runs)(void *worker, const char *function);
    /* Says that it has failed, before its result is handed in; NULL: nobody wants to know. */
    void (*fails)(void *worker);
    PyObject *told; /* the function that was said last, and its name; else NULL */
    PyObject *told_name;
    struct parts_source source; /* of what tasks bring */
    void *worker;
};

/* Makes a task's call, or those of a map's part: what they return, or a list. NULL with an
 * exception; *failed: the place in the part of the item that has it, or -1. */
PyObject *work_call(enum call_kind kind, PyObject *function, PyObject *arguments,
                    Py_ssize_t *failed);

/* Does a task: struct call_head and what follows. 0, or -1 with an exception that ends the
 * worker. */
int work_do(struct work *work, const void *task, size_t size);

#endif
