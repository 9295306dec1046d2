/*
 * interrupt.c - signals that are held back: from a thread, from what it starts, from Python's hooks
 *
 * SPDX-License-Identifier: MIT
 *
 * Ctrl-C goes to every process of a terminal. A worker that is interrupted while its interpreter
 * begins or ends would print a traceback that says nothing to the user. So a worker is started with
 * SIGINT blocked, and lets it in while it runs: then it can end without a word. The starter's own
 * mask is changed here, where no Python code runs in between that could leave it so.
 *
 * While signals are delayed, all are blocked in the main thread, the only one in which Python runs
 * handlers. The kernel may give SIGINT to another thread then, and Python would run its handler in
 * the main thread all the same. So SIGINT has another action meanwhile, which records it.
 */
#include "interrupt.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* ---------------------------------------------------------------- delayed */

static volatile sig_atomic_t recorded; /* SIGINT has come */

static void record(int number) {
    (void)number;
    recorded = 1;
}

static bool is_main_thread(void) {
    return syscall(SYS_gettid) == getpid();
}

/* Not those that an instruction of this thread may raise. */
static void block_all(sigset_t *before) {
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        sigdelset(&set, own[i]);
    }
    (void)pthread_sigmask(SIG_BLOCK, &set, before);
}

/* If somebody handles it at all. */
static bool record_interrupts(struct sigaction *before) {
    if (sigaction(SIGINT, NULL, before) != 0 || before->sa_handler == SIG_DFL ||
        before->sa_handler == SIG_IGN || before->sa_handler == record) {
        return false;
    }
    struct sigaction action = {.sa_handler = record, .sa_flags = SA_RESTART};
    return sigaction(SIGINT, &action, NULL) == 0;
}

int interrupt_delay(struct interrupt_delay *delay) {
    delay->active = is_main_thread();
    if (!delay->active) {
        return 0;
    }
    if (PyErr_CheckSignals() < 0) {
        return -1;
    }
    block_all(&delay->mask);
    delay->recording = record_interrupts(&delay->action);
    if (PyErr_CheckSignals() < 0) { /* it came before it could be blocked */
        interrupt_resume(delay);
        return -1;
    }
    return 0;
}

void interrupt_resume(const struct interrupt_delay *delay) {
    if (!delay->active) {
        return;
    }
    if (delay->recording) {
        (void)sigaction(SIGINT, &delay->action, NULL);
        if (recorded) {
            recorded = 0;
            PyErr_SetInterrupt();
        }
    }
    interrupt_restore(&delay->mask);
}

void interrupt_forget(void) {
    recorded = 0;
}

/* ---------------------------------------------------------------- for Python */

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
