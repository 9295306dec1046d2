/*
 * blocking.h - how the extension waits
 *
 * SPDX-License-Identifier: MIT
 *
 * Python's handlers in C only note that a signal has come; its handlers in Python run when the main
 * thread looks. The core returns -EINTR from a blocking call that a signal has interrupted.
 * BLOCKING then looks, and calls again with the time that is left, unless a handler raised. A
 * signal that comes between a look and the thread's sleep interrupts nothing, so the core also has
 * each waiting thread look between two slices of its sleep (blocking.c).
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
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define BLOCKING_RAISED (-9999)      /* no code of the core: a signal handler raised */
#define BLOCKING_LONGEST 9000000000. /* seconds that still fit into nanoseconds: 285 years */
#define BLOCKING_SECONDS 0x1p63      /* beyond what a time_t holds: no locks of Python's take it */

/* The extension is loaded late. glibc's loader keeps some bytes for late comers, into which these
 * fit: to find them takes no call. musl's keeps none, and refuses what asks for them. */
#if defined(__GLIBC__)
#define BLOCKING_THREAD _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define BLOCKING_THREAD _Thread_local
#endif

/* What the calling thread goes on as; NULL: it is not inside BLOCKING. */
extern BLOCKING_THREAD PyThreadState *blocking_waiting;

/* When this wait was first looked after; 0: it has not been. */
extern BLOCKING_THREAD int64_t blocking_looked;

/* Gives the interpreter's lock away until blocking_end(); meanwhile the thread looks for signals
 * when the core asks it to. */
static inline PyThreadState *blocking_begin(void) {
    blocking_looked = 0;
    blocking_waiting = PyEval_SaveThread();
    return blocking_waiting;
}

/* Where the calling thread waits, as it has told; NULL: it has told nothing. */
extern BLOCKING_THREAD mproc_stack *blocking_told;

/* It waits no longer. Without the interpreter's lock. */
void blocking_untell(void);

static inline void blocking_end(PyThreadState *thread) {
    blocking_waiting = NULL;
    if (blocking_told != NULL) {
        blocking_untell();
    }
    PyEval_RestoreThread(thread);
}

/* True: the calling thread makes a call of the core that does not wait, and that could be made
 * without the interpreter's lock: if it is held up, the thread gives that away. */
extern BLOCKING_THREAD bool blocking_trying;

/* `r` is the result of `call`, which does not wait, and is made with the interpreter's lock. */
#define TRYING(r, call)                                                                            \
    do {                                                                                           \
        blocking_trying = true;                                                                    \
        (r) = (call);                                                                              \
        blocking_trying = false;                                                                   \
    } while (0)

/* Whether Python's signal handlers run in the calling thread. */
bool blocking_runs_handlers(void);

/* Once a process: tells the core how to have a waiting thread look for signals. */
void blocking_init(void);

/* `r` is the result of `call`, an expression that is evaluated without the interpreter's lock. */
#define BLOCKING(r, call)                                                                          \
    do {                                                                                           \
        PyThreadState *blocking_outer = blocking_begin();                                          \
        (r) = (call);                                                                              \
        blocking_end(blocking_outer);                                                              \
        if (PyErr_Occurred() || ((r) == -EINTR && PyErr_CheckSignals() < 0)) {                     \
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
    if (value >= BLOCKING_SECONDS) {
        PyErr_SetString(PyExc_OverflowError, "timeout is too large");
        return -1;
    }
    if (value > BLOCKING_LONGEST) {
        *timeout = MPROC_FOREVER;
        return 0;
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
