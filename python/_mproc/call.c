/*
 * call.c - the tasks of pools: calls of Python functions as messages
 *
 * SPDX-License-Identifier: MIT
 */
#include "call.h"

#include "codec.h"
#include "error.h"
#include "stream.h"

#include <stdbool.h>
#include <string.h>

#define BATCH 64
#define LARGE ((size_t)1 << 20) /* of a part: what is sent is new memory, unless old is free */
#define LARGE_AHEAD ((size_t)8 << 20) /* bytes of large parts that wait beside those at work */
#define BATCH_BYTES ((size_t)8192)

struct function {
    const char *data; /* its message */
    Py_ssize_t size;
    int named;
};

/* What all parts of a submission have in common. */
struct submission {
    const struct call_puts *puts;
    enum call_kind kind;
    struct function function;
    PyObject *job;
    PyObject *options;
    Py_ssize_t parts; /* of a map */
    Py_ssize_t put;   /* of them, so far */
    int awaited;      /* the caller waits for the results next */
};

/* A task that is begun anew is to find its arguments as they were, so none of them is the worker's
 * own to write to. */
static enum parts_allowed parts_for(PyObject *options) {
    bool once = !PyTuple_Check(options) || PyTuple_GET_SIZE(options) < 3 ||
                PyObject_Not(PyTuple_GET_ITEM(options, 2)) == 1;
    return once ? PARTS_ALL : PARTS_SHARED;
}

/* Completes a call whose arguments are there: the head, the function's message, the arguments'
 * message. */
static void make_call(const struct submission *s, Py_ssize_t first, struct call *call) {
    const struct function *function = &s->function;
    call->head = (struct call_head){(uint8_t)s->kind,
                                    function->named ? CALL_NAMED : 0,
                                    {0, 0},
                                    (uint32_t)function->size,
                                    (uint64_t)first};
    call->pieces[0] = (struct iovec){&call->head, sizeof call->head};
    call->pieces[1] = (struct iovec){(void *)(uintptr_t)function->data, (size_t)function->size};
    call->n = call->arguments.niov + 2;
    memcpy(call->pieces + 2, call->arguments.iov,
           (size_t)call->arguments.niov * sizeof *call->pieces);
}

PyObject *call_submit(PyObject *self, PyObject *args, const struct call_puts *puts) {
    struct module_state *state = module_state_of(self);
    struct submission s = {.puts = puts, .kind = CALL_ONCE, .options = Py_None};
    PyObject *arguments;
    if (state == NULL ||
        !PyArg_ParseTuple(args, "O!y#pO|O:submit", state->job_type, &s.job, &s.function.data,
                          &s.function.size, &s.function.named, &arguments, &s.options)) {
        return NULL;
    }
    job_begin((struct job *)s.job, 1, 0);
    struct call call;
    if (codec_encode_with_parts(state, arguments, &call.arguments, parts_for(s.options)) < 0) {
        return NULL;
    }
    make_call(&s, 0, &call);
    int r = puts->one(self, &call, (struct job *)s.job, 0, s.options);
    message_clear(&call.arguments);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

static bool is_stream(const struct submission *s) {
    return ((const struct job *)s->job)->book != NULL;
}

static Py_ssize_t parts_of(Py_ssize_t items, Py_ssize_t chunk) {
    return items / chunk + (items % chunk != 0);
}

/* Small calls that are put together. */
struct batch {
    struct iovec pieces[BATCH];
    size_t n;
    Py_ssize_t first; /* the part that comes first */
    size_t used;
    char bytes[BATCH_BYTES];
};

static int flush(PyObject *self, struct submission *s, struct batch *batch) {
    size_t n = batch->n, put;
    batch->n = batch->used = 0;
    if (n == 0) {
        return 0;
    }
    int r =
        s->puts->many(self, batch->pieces, n, (struct job *)s->job, batch->first, s->options, &put);
    s->put += (Py_ssize_t)put;
    return r;
}

static void add(struct batch *batch, const struct call *call, size_t size, Py_ssize_t part) {
    char *to = batch->bytes + batch->used;
    if (batch->n == 0) {
        batch->first = part;
    }
    batch->pieces[batch->n++] = (struct iovec){to, size};
    batch->used += size;
    for (int i = 0; i < call->n; i++) {
        memcpy(to, call->pieces[i].iov_base, call->pieces[i].iov_len);
        to += call->pieces[i].iov_len;
    }
}

static size_t size_of_buffers(const struct parts *parts) {
    size_t size = 0;
    for (size_t i = 0; i < parts->nbuffers; i++) {
        size += mproc_buffer_size(parts->buffers[i]);
    }
    return size;
}

/* To put many large parts at once would take new memory for each, and for their results, which
 * costs several times as much as the copy. A caller that waits for the results next takes those
 * that are there, and the memory serves again. */
static int stay_near(PyObject *self, const struct submission *s, const struct call *call) {
    size_t size = call->arguments.size + size_of_buffers(&call->arguments.parts);
    if (!s->awaited || size < LARGE) {
        return 0;
    }
    return s->puts->collect(self, (struct job *)s->job, s->parts - s->put,
                            (Py_ssize_t)(LARGE_AHEAD / size));
}

/* Puts a call by itself, behind those that wait; or lets a small one wait for others. */
static int put_or_add(PyObject *self, struct submission *s, const struct call *call,
                      Py_ssize_t part, struct batch *batch) {
    size_t size = sizeof call->head + (size_t)s->function.size + call->arguments.size;
    if (size <= BATCH_BYTES / 4 && call->arguments.parts.nbuffers == 0) {
        if ((batch->n == BATCH || size > BATCH_BYTES - batch->used) && flush(self, s, batch) < 0) {
            return -1;
        }
        add(batch, call, size, part);
        return 0;
    }
    if (flush(self, s, batch) < 0 || stay_near(self, s, call) < 0 ||
        s->puts->one(self, call, (struct job *)s->job, part, s->options) < 0) {
        return -1;
    }
    s->put++;
    return 0;
}

/* Items of a list as a part; first: the number of the first of them. */
struct slice {
    PyObject *list;
    Py_ssize_t at, n, part, first;
};

static int put_slice(PyObject *self, struct submission *s, const struct slice *slice,
                     struct batch *batch) {
    struct module_state *state = module_state_of(self);
    struct call call;
    if (state == NULL || codec_encode_items(state, slice->list, slice->at, slice->n,
                                            &call.arguments, parts_for(s->options)) < 0) {
        return -1;
    }
    make_call(s, slice->first, &call);
    int r = put_or_add(self, s, &call, slice->part, batch);
    message_clear(&call.arguments);
    return r;
}

/* A part of a stream cannot be sent: those before it are put all the same. */
static void flush_stream(PyObject *self, struct submission *s, struct batch *batch) {
    PyObject *error = error_take();
    if (flush(self, s, batch) < 0) {
        PyErr_Clear(); /* the first error counts */
    }
    error_give_back(error);
}

/* The first n items; begin: the number of the first part; first: that of the first item. */
static int put_parts(PyObject *self, struct submission *s, PyObject *items, Py_ssize_t n,
                     Py_ssize_t chunk, Py_ssize_t begin, Py_ssize_t first) {
    struct batch batch;
    batch.n = batch.used = 0;
    chunk = chunk < n ? chunk : n;
    for (Py_ssize_t at = 0; at < n; at += chunk) {
        const struct slice slice = {items, at, chunk < n - at ? chunk : n - at, begin + at / chunk,
                                    first + at};
        if (put_slice(self, s, &slice, &batch) < 0) {
            if (is_stream(s)) {
                flush_stream(self, s, &batch);
            }
            return -1;
        }
    }
    return flush(self, s, &batch);
}

/* The job expects a list of n results. */
static int begin_map(struct job *job, Py_ssize_t n, Py_ssize_t chunk) {
    PyObject *results = PyList_New(n);
    if (results == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_INCREF(Py_None);
        PyList_SET_ITEM(results, i, Py_None);
    }
    Py_XSETREF(job->value, results);
    job_begin(job, parts_of(n, chunk), chunk);
    return 0;
}

Py_ssize_t call_divide(struct job *job, Py_ssize_t n, Py_ssize_t chunk, Py_ssize_t *parts) {
    if (chunk < 1) {
        PyErr_Format(PyExc_ValueError, "chunksize %zd for %zd items", chunk, n);
        return -1;
    }
    *parts = parts_of(n, chunk);
    if (job->book != NULL) {
        return stream_open(job, *parts);
    }
    return begin_map(job, n, chunk) < 0 || (n == 0 && job_finish_empty(job) < 0) ? -1 : 0;
}

/* The list is a program's, which another thread may change: its length is asked for once. */
static int put_items(PyObject *self, struct submission *s, PyObject *items, Py_ssize_t chunk,
                     Py_ssize_t first) {
    struct job *job = (struct job *)s->job;
    Py_ssize_t n = PyList_GET_SIZE(items), parts, begin = call_divide(job, n, chunk, &parts);
    if (begin < 0) {
        return -1;
    }
    s->parts = parts;
    int r = put_parts(self, s, items, n, chunk, begin, first);
    if (is_stream(s)) {
        stream_cut(job, parts - s->put);
    }
    return r;
}

PyObject *call_submit_map(PyObject *self, PyObject *args, const struct call_puts *puts) {
    struct module_state *state = module_state_of(self);
    struct submission s = {.puts = puts, .options = Py_None};
    PyObject *items;
    Py_ssize_t chunk, first = 0;
    int star, r;
    if (state == NULL ||
        !PyArg_ParseTuple(args, "O!y#ppO!n|nOp:submit_map", state->job_type, &s.job,
                          &s.function.data, &s.function.size, &s.function.named, &star,
                          &PyList_Type, &items, &chunk, &first, &s.options, &s.awaited)) {
        return NULL;
    }
    s.kind = star ? CALL_STARMAP : CALL_MAP;
    r = put_items(self, &s, items, chunk, first);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}
