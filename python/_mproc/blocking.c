/*
 * blocking.c - how a waiting thread looks for signals
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Inside BLOCKING a thread has given the interpreter's lock away and remembers its
 * thread state. Between two slices of a sleep the core calls look(): the thread takes the lock,
 * lets Python's handlers run, and sleeps on. If a handler raised, the exception stays set and the
 * core ends the wait, as it does for one that a function which the core called has left. A handler
 * may itself wait for something: nothing is remembered while it runs.
 *
 * Inside TRYING a thread has the interpreter's lock, because the call does not wait. It is held up
 * all the same where another process is stopped in the middle of a section; then the core calls
 * leave() and back(), and other threads run.
 */
#include "blocking.h"

#include <pthread.h>

BLOCKING_THREAD PyThreadState *blocking_waiting;
static unsigned long main_thread; /* the one in which handlers run */

bool blocking_runs_handlers(void) {
    return PyThread_get_thread_ident() == main_thread;
}

/* Positive: a handler raised; negative: none ever runs in this thread. */
static int look(void) {
    PyThreadState *thread = blocking_waiting;
    if (!blocking_runs_handlers()) {
        return -1;
    }
    if (thread == NULL) {
        return 0;
    }
    blocking_end(thread);
    int raised = PyErr_Occurred() != NULL || PyErr_CheckSignals() < 0;
    (void)blocking_begin();
    return raised;
}

BLOCKING_THREAD bool blocking_trying;
static BLOCKING_THREAD PyThreadState *held_up;

static int leave(void) {
    if (blocking_trying) {
        held_up = PyEval_SaveThread();
    }
    return blocking_trying;
}

/* The interpreter may end the thread here, as it does with one that comes back from a wait. */
static void back(void) {
    PyEval_RestoreThread(held_up);
}

/* The thread that forks is the child's main thread. */
static void after_fork_in_child(void) {
    main_thread = PyThread_get_thread_ident();
}

/* The interpreter's first thread is the last one in its list. */
static void find_main_thread(void) {
    PyThreadState *thread = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
    for (; thread != NULL; thread = PyThreadState_Next(thread)) {
        main_thread = thread->thread_id;
    }
}

void blocking_init(void) {
    if (main_thread == 0) {
        find_main_thread();
        (void)pthread_atfork(NULL, NULL, after_fork_in_child);
    }
    mproc_wait_hook(look);
    mproc_stall_hook(leave, back);
}
