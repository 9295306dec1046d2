/*
 * job.h - mproc._mproc.Job: the result of one call or map, in the making
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_PYTHON_JOB_H
#define MPROC_PYTHON_JOB_H

#include "module.h"

#include <stdbool.h>

/* The first byte of a result. */
enum result_status { RESULT_VALUE = 0, RESULT_ERROR = 1 };

/* What AsyncResult is made of: one value, or the list of a map in the making. Changed under the
 * interpreter's lock, or under `lock` where there is none. */
struct job {
    PyObject_HEAD PyObject *value; /* the result, the list, or the exception */
    Py_ssize_t left;               /* parts that have not come yet */
    Py_ssize_t chunk;              /* items per part; 0: a single value */
    char ready;
    char failed;
    char finishing; /* all has been booked, and its callback is called, or was */
    char watched;   /* another thread than the collecting one waits for it */
    PyObject *weakrefs;
    PyObject *dict;
    PyObject *future;                    /* whose result it is, or NULL */
    PyObject *pool;                      /* what it was made for; or NULL */
    PyObject *callback, *error_callback; /* called with the value when all is booked; or NULL */
    /* Books a part where that is done otherwise: a stream's. NULL: it is not. As job_take(). */
    int (*book)(struct job *job, Py_ssize_t part, int failed, PyObject *value);
#ifdef Py_GIL_DISABLED
    PyMutex lock;
#endif
};

static inline bool job_is_ready(const struct job *job) {
    return THREADS_LOAD(job->ready) != 0;
}

/* Has the threads told that wait for the job, from now on: whether it is ready already. */
static inline bool job_watch(struct job *job) {
    THREADS_LOCK(&job->lock);
    job->watched = 1;
    bool ready = job->ready != 0;
    THREADS_UNLOCK(&job->lock);
    return ready;
}

/* The job is ready: whether job_tell() is due. Under the lock. */
static inline bool job_become_ready(struct job *job) {
    THREADS_STORE(job->ready, 1);
    return job->watched != 0;
}

/* For types that are derived from Job in C. */
int job_traverse(PyObject *self, visitproc visit, void *arg);
int job_clear(PyObject *self);
void job_dealloc(PyObject *self);

/* A new job of a class that is derived from Job, for the result of a future. What its
 * _error(value) makes of a part's failure is the exception of the future. New reference; NULL with
 * MemoryError. */
PyObject *job_for_future(PyTypeObject *type, PyObject *future);

/* A part's result, once it has been read. */
struct job_result {
    int failed;          /* the value is an exception */
    PyObject *value;     /* owned; NULL: with an exception that is the caller's */
    PyObject *interrupt; /* owned, or NULL: it came while the result was read */
};

/* So many parts are expected, of `chunk` items each; 0: a single value. */
void job_begin(struct job *job, Py_ssize_t parts, Py_ssize_t chunk);

/* The functions below return 0, or -1 with an exception that is the caller's. */

/* All parts of a map of nothing have come. */
int job_finish_empty(struct job *job);

/* Tells the threads that wait for a job which has become ready. */
int job_tell(struct job *job);

/* Fails the whole job, unless it is ready. */
int job_fail_all(struct job *job, PyObject *error);

/* Reads what a worker has handed in for a part of the job: its status and the value's message,
 * which may have brought buffers. */
struct job_result job_read(struct module_state *state, struct job *job, const void *data,
                           size_t size, struct parts_source source);

/* Books what has been read, and uses it up. */
int job_take(struct job *job, Py_ssize_t part, struct job_result *owned);

#endif
