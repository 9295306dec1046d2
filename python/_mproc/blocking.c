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
 * A wait that has lasted for 50 ms tells where it is in Python (mproc_stack_new()), for those who
 * look at the family from outside; blocking_end() takes that back. So a thread in which no handlers
 * run takes the interpreter's lock once in a long wait, and a short one pays nothing. A child that
 * a handler forks meanwhile has a hold of its own on those words, which its blocking_end() gives
 * back.
 *
 * wait_while() gives the calling thread a check of its own, which look() calls, too: what it raises
 * ends the wait in the same way.
 *
 * Inside TRYING a thread has the interpreter's lock, because the call does not wait. It is held up
 * all the same where another process is stopped in the middle of a section; then the core calls
 * leave() and back(), and other threads run.
 */
#include "blocking.h"

#include "module.h"

#include <pthread.h>

#define TELL_AFTER (40 * MPROC_MSEC) /* from the first look on, which is after some ms */

#if PY_VERSION_HEX < 0x030d0000
#define Py_IsFinalizing _Py_IsFinalizing
#endif

BLOCKING_THREAD PyThreadState *blocking_waiting;
static unsigned long main_thread; /* the one in which handlers run */

bool blocking_runs_handlers(void) {
    return PyThread_get_thread_ident() == main_thread;
}

static BLOCKING_THREAD PyObject *check; /* of the innermost wait_while(); NULL: there is none */

/* What waits inside the check has none. */
static bool check_raises(void) {
    PyObject *mine = check;
    if (mine == NULL) {
        return false;
    }
    check = NULL;
    PyObject *result = PyObject_CallNoArgs(mine);
    check = mine;
    Py_XDECREF(result);
    return result == NULL;
}

/* ---------------------------------------------------------------- where it waits */

BLOCKING_THREAD mproc_stack *blocking_told;
BLOCKING_THREAD int64_t blocking_looked;

void blocking_untell(void) {
    (void)mproc_drop(blocking_told);
    blocking_told = NULL;
}

/* The words are taken with the interpreter's lock and written without it: that may wait for another
 * process. There may be no words, no memory, and no family. */
static void tell(const char *words) {
    if (mproc_stack_new(&blocking_told, words) != 0) {
        blocking_told = NULL;
    }
}

/* Not before the wait has lasted for some slices, the first of which are short. */
static bool has_to_tell(void) {
    int64_t now = blocking_now();
    if (blocking_looked == 0) {
        blocking_looked = now;
    }
    return blocking_told == NULL && now - blocking_looked >= TELL_AFTER && !Py_IsFinalizing();
}

/* ---------------------------------------------------------------- between two slices */

static bool handlers_raise(void) {
    return PyErr_Occurred() != NULL || PyErr_CheckSignals() < 0 || check_raises();
}

/* What is called may wait, too, and tell of that: what this wait has told is laid aside. */
static bool call_back(PyThreadState *thread, bool handles, bool tells) {
    char words[MPROC_STACK_MOST + 1] = "";
    mproc_stack *told = blocking_told;
    int64_t looked = blocking_looked;
    blocking_told = NULL;
    blocking_waiting = NULL;
    PyEval_RestoreThread(thread);
    bool raised = handles && handlers_raise();
    if (tells && !raised) {
        (void)label_stack(words, sizeof words);
    }
    (void)blocking_begin();
    blocking_told = told;
    blocking_looked = looked;
    if (words[0] != 0) {
        tell(words);
    }
    return raised;
}

/* Positive: a handler or the check raised; negative: there is nothing to call in this thread any
 * more. */
static int look(void) {
    PyThreadState *thread = blocking_waiting;
    bool handles = check != NULL || blocking_runs_handlers();
    if (thread == NULL) {
        return handles ? 0 : -1;
    }
    bool tells = has_to_tell();
    bool raised = (handles || tells) && call_back(thread, handles, tells);
    return raised ? 1 : handles || !tells ? 0 : -1;
}

/* wait_while(check, call, *args) */
static PyObject *wait_while(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t n) {
    if (n < 2) {
        PyErr_SetString(PyExc_TypeError, "wait_while() takes a check and what it calls");
        return NULL;
    }
    PyObject *outer = check;
    check = args[0]; /* the caller's */
    PyObject *result = PyObject_Vectorcall(args[1], args + 2, (size_t)n - 2, NULL);
    check = outer;
    return result;
}

static PyMethodDef functions[] = {
    {"wait_while", MODULE_METHOD(wait_while), METH_FASTCALL,
     "wait_while($module, check, call, /, *args)\n--\n\n"
     "Return call(*args). While that waits, check() is called several times a second; what it "
     "raises\n"
     "ends the wait, and nothing has happened."},
    {NULL, NULL, 0, NULL},
};

int blocking_add(PyObject *module) {
    return PyModule_AddFunctions(module, functions);
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

#ifdef Py_GIL_DISABLED

/* A thread in the interpreter's list could end while it is looked at. */
static void find_main_thread(void) {
    PyObject *module = PyImport_ImportModule("_thread");
    PyObject *number =
        module != NULL ? PyObject_CallMethod(module, "_get_main_thread_ident", NULL) : NULL;
    main_thread = number != NULL ? PyLong_AsUnsignedLong(number) : 0;
    PyErr_Clear();
    Py_XDECREF(number);
    Py_XDECREF(module);
}

#else

/* The interpreter's first thread is the last one in its list. */
static void find_main_thread(void) {
    PyThreadState *thread = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
    for (; thread != NULL; thread = PyThreadState_Next(thread)) {
        main_thread = thread->thread_id;
    }
}

#endif

void blocking_init(void) {
    if (main_thread == 0) {
        find_main_thread();
        (void)pthread_atfork(NULL, NULL, after_fork_in_child);
    }
    mproc_wait_hook(look);
    mproc_stall_hook(leave, back);
}
