/*
 * interrupt.c - SIGINT, held back from a thread and from the programs that it starts
 *
 * SPDX-License-Identifier: MIT
 *
 * Ctrl-C goes to every process of a terminal. A worker that is interrupted while its interpreter
 * begins or ends would print a traceback that says nothing to the user. So a worker is started with
 * SIGINT blocked, and lets it in while it runs: then it can end without a word. The starter's own
 * mask is changed here, where no Python code runs in between that could leave it so.
 */
#include "interrupt.h"

#include <pthread.h>

static void change(int how, sigset_t *before) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    (void)pthread_sigmask(how, &set, before);
}

void interrupt_hold(sigset_t *before) {
    change(SIG_BLOCK, before);
}

void interrupt_restore(const sigset_t *before) {
    (void)pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* hold_interrupts(hold): one that was held back is raised by the call that lets it in. */
static PyObject *hold_interrupts(PyObject *Py_UNUSED(module), PyObject *hold) {
    int held = PyObject_IsTrue(hold);
    if (held < 0) {
        return NULL;
    }
    change(held ? SIG_BLOCK : SIG_UNBLOCK, NULL);
    if (PyErr_CheckSignals() < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"hold_interrupts", hold_interrupts, METH_O,
     "hold_interrupts($module, hold, /)\n--\n\n"
     "Block SIGINT in this thread, or let it in; then what was held back is handled at once."},
    {NULL, NULL, 0, NULL},
};

int interrupt_add(PyObject *module) {
    return PyModule_AddFunctions(module, functions);
}
