/*
 * call.h - the tasks of pools: calls of Python functions as messages
 *
 * SPDX-License-Identifier: MIT
 *
 * A task:    kind, flags, u32 length of the function's message, u64 number of a map's first item,
 *            the function's message, the arguments'.
 * A result:  status (job.h), the value's message.
 *
 * A function that pickles as a mere name is sent as that name, and a worker looks the name up once.
 * Anything with a state of its own is unpickled afresh for each task, as if the task were alone.
 */
#ifndef MPROC_PYTHON_CALL_H
#define MPROC_PYTHON_CALL_H

#include "job.h"
#include "message.h"

enum call_kind { CALL_ONCE = 0, CALL_MAP = 1, CALL_STARMAP = 2 };
enum call_flags { CALL_NAMED = 1 };

struct call_head {
    uint8_t kind;
    uint8_t flags;
    uint8_t unused[2];
    uint32_t function_size;
    uint64_t first; /* of a map: the number of the first item, for the error of one */
};

/* A task that is about to be put; the pieces lie in it and in what it was made of. */
struct call {
    struct call_head head;
    struct message arguments;
    struct iovec pieces[MESSAGE_PIECES + 2];
    int n;
};

/* How tasks that stand for parts of a job are put: 0, or -1 with an exception. The interpreter's
 * lock is held until a task is in the books: no other thread may book its result before. */
struct call_puts {
    int (*one)(PyObject *self, const struct call *lent, struct job *job, Py_ssize_t part,
               PyObject *options);
    /* Tasks of a piece each, from the part `first` on. *put: how many have been put, all or those
     * before the one that has the error. */
    int (*many)(PyObject *self, const struct iovec *lent, size_t n, struct job *job,
                Py_ssize_t first, PyObject *options, size_t *put);
    /* Collects until at most so many parts of the job beyond one a worker are under way, while
     * `unput` of them are not put: 0, or -1 with an exception, a signal handler's for example. */
    int (*collect)(PyObject *self, struct job *job, Py_ssize_t unput, Py_ssize_t ahead);
};

/* Has a job expect a map of n items, so many of them a part: the number of the first part, or -1
 * with an exception. *parts: how many there are. Without any the job is ready at once. */
Py_ssize_t call_divide(struct job *job, Py_ssize_t n, Py_ssize_t chunk, Py_ssize_t *parts);

/* The methods submit() and submit_map() of a type that puts tasks. */
PyObject *call_submit(PyObject *self, PyObject *args, const struct call_puts *puts);
PyObject *call_submit_map(PyObject *self, PyObject *args, const struct call_puts *puts);

#define CALL_SUBMIT(function)                                                                      \
    {                                                                                              \
        "submit", function, METH_VARARGS,                                                          \
            "submit($self, job, function, named, arguments, options=None, /)\n--\n\n"              \
            "Queue one call. function: dumps() of it; named: it is a mere name; arguments:\n"      \
            "(args, kwargs); options: None or (timeout in ns, bytes of memory, retries,\n"         \
            "priority), where the last may be missing."                                            \
    }
#define CALL_SUBMIT_MAP(function)                                                                  \
    {                                                                                              \
        "submit_map", function, METH_VARARGS,                                                      \
            "submit_map($self, job, function, named, star, items, chunksize, first=0, "            \
            "options=None, awaited=False, /)\n"                                                    \
            "--\n\n"                                                                               \
            "Queue a call per item of a list, chunksize of them per task. first: the number of\n"  \
            "the first item, for the error of one. Of a Stream that ends in an exception, what\n"  \
            "comes before is queued. awaited: the caller waits for the job next, so results may\n" \
            "be collected before the last of many large parts is queued."                          \
    }

#endif
