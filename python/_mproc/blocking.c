/*
 * blocking.c - how a waiting thread looks for signals
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Inside BLOCKING a thread has given the interpreter's lock away and remembers its
 * thread state. Between two slices of a sleep the core calls look(): the thread takes the lock,
 * lets Python's handlers run, and sleeps on. If a handler raised, the exception stays set and the
 * core ends the wait. A handler may itself wait for something: nothing is remembered while it runs.
 */
#include "blocking.h"

static _Thread_local PyThreadState *waiting; /* NULL: this thread is not inside BLOCKING */

PyThreadState *blocking_begin(void) {
    waiting = PyEval_SaveThread();
    return waiting;
}

void blocking_end(PyThreadState *thread) {
    waiting = NULL;
    PyEval_RestoreThread(thread);
}

/* Non-zero: a handler raised. */
static int look(void) {
    PyThreadState *thread = waiting;
    if (thread == NULL) {
        return 0;
    }
    blocking_end(thread);
    int raised = PyErr_CheckSignals() < 0;
    (void)blocking_begin();
    return raised;
}

void blocking_init(void) {
    mproc_wait_hook(look);
}
