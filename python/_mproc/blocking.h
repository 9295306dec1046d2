/*
 * blocking.h - how the extension waits
 *
 * SPDX-License-Identifier: MIT
 *
 * The core returns -EINTR from a blocking call when a signal handler ran. BLOCKING then lets
 * Python's own handlers run, and calls again with the time that is left, unless a handler raised:
 *
 *     int64_t timeout, deadline;
 *     if (blocking_timeout(seconds, &timeout) < 0) {
 *         return NULL;
 *     }
 *     deadline = blocking_deadline(timeout);
 *     BLOCKING(r, mproc_process_join(process, blocking_left(deadline)));
 *     if (r == BLOCKING_RAISED) {
 *         return NULL;
 *     }
 */
#ifndef MPROC_PYTHON_BLOCKING_H
#define MPROC_PYTHON_BLOCKING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "mproc.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <time.h>

#define BLOCKING_RAISED (-9999)      /* no code of the core: a signal handler raised */
#define BLOCKING_LONGEST 9000000000. /* seconds that still fit into nanoseconds: 285 years */

/* `r` is the result of `call`, an expression that is evaluated without the interpreter's lock. */
#define BLOCKING(r, call)                                                                          \
    do {                                                                                           \
        Py_BEGIN_ALLOW_THREADS;                                                                    \
        (r) = (call);                                                                              \
        Py_END_ALLOW_THREADS;                                                                      \
        if ((r) == -EINTR && PyErr_CheckSignals() < 0) {                                           \
            (r) = BLOCKING_RAISED;                                                                 \
        }                                                                                          \
    } while ((r) == -EINTR)

static inline int64_t blocking_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * MPROC_SEC + now.tv_nsec;
}

/* Seconds as Python gives them, None for ever, negative for not at all. 0; -1 with an exception. */
static inline int blocking_timeout(PyObject *seconds, int64_t *timeout) {
    if (seconds == NULL || seconds == Py_None) {
        *timeout = MPROC_FOREVER;
        return 0;
    }
    double value = PyFloat_AsDouble(seconds);
    if (value == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (isnan(value)) {
        PyErr_SetString(PyExc_ValueError, "Invalid value NaN (not a number)");
        return -1;
    }
    if (value > BLOCKING_LONGEST) {
        PyErr_SetString(PyExc_OverflowError, "timeout is too large");
        return -1;
    }
    *timeout = value <= 0 ? 0 : (int64_t)ceil(value * 1e9);
    return 0;
}

/* The point in time at which a timeout passes; MPROC_FOREVER: never. 0 stays 0: no clock is read
 * for a mere try. */
static inline int64_t blocking_deadline(int64_t timeout) {
    return timeout <= 0 ? timeout : blocking_now() + timeout;
}

static inline int64_t blocking_left(int64_t deadline) {
    if (deadline <= 0) {
        return deadline;
    }
    int64_t left = deadline - blocking_now();
    return left > 0 ? left : 0;
}

#endif
