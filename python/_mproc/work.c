/*
 * work.c - what a pool's worker does with a task: it reads the call, makes it, hands the result in
 *
 * SPDX-License-Identifier: MIT
 *
 * What goes wrong is handed in, too: the exception of the function, of the reading before it, or of
 * the sending afterwards. Only what is no Exception may end the worker.
 */
#include "work.h"

#include "blocking.h"
#include "codec.h"
#include "error.h"
#include "name.h"

#include <stdbool.h>
#include <string.h>

#define COPY_UNLOCKED (1 << 16)

/* ---------------------------------------------------------------- what is said of a task */

/* Does it have a name that can be asked for without running code of the program? */
static bool has_own_name(PyObject *function) {
    return PyFunction_Check(function) || PyCFunction_Check(function) ||
           PyType_CheckExact(function) ||
           (PyMethod_Check(function) && PyFunction_Check(PyMethod_GET_FUNCTION(function)));
}

/* A function's name: its own, or that of its type. New reference; NULL: exception. */
static PyObject *name_of(PyObject *function) {
    return has_own_name(function) ? PyObject_GetAttrString(function, "__qualname__")
                                  : PyUnicode_FromString(Py_TYPE(function)->tp_name);
}

/* For those who look from outside, and for a record of what happens. What cannot be named has no
 * name there. */
static void tell_function(struct work *w, PyObject *function) {
    if (w->told != function) {
        Py_XSETREF(w->told_name, name_of(function));
        Py_XSETREF(w->told, Py_NewRef(function));
    }
    const char *text = w->told_name != NULL && PyUnicode_Check(w->told_name)
                           ? PyUnicode_AsUTF8(w->told_name)
                           : NULL;
    w->runs(w->worker, text);
    PyErr_Clear();
}

/* Only if it is another one than that of the task before, or is asked for: that costs the others
 * nothing. */
static void say_function(struct work *w, PyObject *function) {
    if (w->runs != NULL && (w->told != function || w->is_traced(w->worker))) {
        tell_function(w, function);
    }
}

/* The next function has to be found first, which may take long: the last one's name is not its. */
static void forget_function(struct work *w) {
    if (w->runs != NULL && w->told != NULL) {
        Py_CLEAR(w->told);
        w->runs(w->worker, NULL);
    }
}

/* ---------------------------------------------------------------- reading a call */

/* A function that goes by its name: that is what is sent, or its pickle. New reference. */
static PyObject *read_function(struct work *w, const char *data, size_t size) {
    PyObject *function = codec_decode(w->state, data, size);
    if (function != NULL && PyUnicode_CheckExact(function)) {
        PyObject *name = function;
        function = name_find(name);
        Py_DECREF(name);
    }
    return function;
}

/* The function that a task names. New reference. */
static PyObject *find_function(struct work *w, const char *data, size_t size, int named) {
    if (!named) {
        forget_function(w);
        return codec_decode(w->state, data, size);
    }
    if (w->last_size == size && size > 0 && memcmp(w->last, data, size) == 0) {
        return Py_NewRef(w->last_function);
    }
    PyObject *key = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
    if (key == NULL) {
        return NULL;
    }
    PyObject *function = PyDict_GetItemWithError(w->known, key);
    Py_XINCREF(function);
    if (function == NULL && !PyErr_Occurred()) {
        forget_function(w);
        function = read_function(w, data, size);
        if (function != NULL && PyDict_SetItem(w->known, key, function) < 0) {
            Py_CLEAR(function);
        }
    }
    if (function != NULL && size <= sizeof w->last) {
        memcpy(w->last, data, size);
        w->last_size = size;
        w->last_function = function; /* which `known` keeps */
    }
    Py_DECREF(key);
    return function;
}

static PyObject *call_star(PyObject *function, PyObject *item) {
    PyObject *args = PySequence_Tuple(item);
    PyObject *result = args == NULL ? NULL : PyObject_Call(function, args, NULL);
    Py_XDECREF(args);
    return result;
}

/* Keeps for describe() where a map has failed. The exception that is set stays. */
static void note_where(struct work *w, PyObject *function, uint64_t number) {
    PyObject *error = error_take();
    w->where = Py_BuildValue("(OK)", function, (unsigned long long)number);
    if (w->where == NULL) {
        PyErr_Clear();
    }
    error_give_back(error);
}

static PyObject *call_each(PyObject *function, PyObject *items, bool star, Py_ssize_t *failed) {
    Py_ssize_t n = PyList_GET_SIZE(items);
    PyObject *results = PyList_New(n);
    for (Py_ssize_t i = 0; results != NULL && i < n; i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        PyObject *r = star ? call_star(function, item) : PyObject_CallOneArg(function, item);
        if (r == NULL) {
            *failed = i;
            Py_CLEAR(results);
            break;
        }
        PyList_SET_ITEM(results, i, r);
    }
    return results;
}

static PyObject *call_one(PyObject *function, PyObject *arguments) {
    PyObject *args, *kwargs;
    if (!PyArg_ParseTuple(arguments, "O!O", &PyTuple_Type, &args, &kwargs)) {
        return NULL;
    }
    return PyObject_Call(function, args, kwargs == Py_None ? NULL : kwargs);
}

PyObject *work_call(enum call_kind kind, PyObject *function, PyObject *arguments,
                    Py_ssize_t *failed) {
    *failed = -1;
    if (PyErr_CheckSignals() < 0) { /* a function in C would begin, and sleep, say, without it */
        return NULL;
    }
    return kind == CALL_ONCE ? call_one(function, arguments)
                             : call_each(function, arguments, kind == CALL_STARMAP, failed);
}

static PyObject *read_arguments(struct work *w, const char *data, size_t size) {
    return codec_decode_with_parts(w->state, data, size, w->source);
}

static PyObject *run_task(struct work *w, const void *task, size_t size) {
    struct call_head head;
    memcpy(&head, task, sizeof head);
    const char *data = (const char *)task + sizeof head;
    size_t rest = size - sizeof head - head.function_size;
    PyObject *result = NULL;
    PyObject *function = find_function(w, data, head.function_size, head.flags & CALL_NAMED);
    if (function != NULL) {
        say_function(w, function);
    }
    PyObject *arguments =
        function == NULL ? NULL : read_arguments(w, data + head.function_size, rest);
    w->called = arguments != NULL;
    w->first = head.kind == CALL_ONCE ? -1 : (int64_t)head.first;
    if (arguments != NULL) {
        Py_ssize_t failed;
        result = work_call((enum call_kind)head.kind, function, arguments, &failed);
        if (failed >= 0) {
            note_where(w, function, head.first + (uint64_t)failed);
        }
    }
    Py_XDECREF(function);
    Py_XDECREF(arguments);
    return result;
}

static int hand_in(struct work *w, const struct iovec *lent, int n, const struct parts *parts) {
    return w->hand_in_with != NULL && parts->n > 0 ? w->hand_in_with(w->worker, lent, n, parts)
                                                   : w->hand_in(w->worker, lent, n);
}

static int send_result(struct work *w, int status, PyObject *value) {
    struct message message;
    if (codec_encode_with_parts(w->state, value, &message, PARTS_ALL) < 0) {
        return -1;
    }
    uint8_t head = (uint8_t)status;
    struct iovec pieces[MESSAGE_PIECES + 1];
    pieces[0] = (struct iovec){&head, sizeof head};
    memcpy(pieces + 1, message.iov, (size_t)message.niov * sizeof *pieces);
    int r;
    if (message.size < COPY_UNLOCKED) {
        r = hand_in(w, pieces, message.niov + 1, &message.parts);
    } else {
        BLOCKING(r, hand_in(w, pieces, message.niov + 1, &message.parts));
    }
    message_clear(&message);
    if (r != 0 && r != BLOCKING_RAISED) {
        error_raise(r);
    }
    return r == 0 ? 0 : -1;
}

/* What is to be sent for an exception: of a task (value is NULL), or of a value that cannot be
 * sent. */
static PyObject *put_in_words(struct work *w, PyObject *value, PyObject *error) {
    if (value != NULL) {
        return w->first < 0
                   ? PyObject_CallFunctionObjArgs(w->excuse, value, error, Py_None, NULL)
                   : PyObject_CallFunction(w->excuse, "OOL", value, error, (long long)w->first);
    }
    PyObject *where = w->where != NULL ? w->where : Py_None;
    return PyObject_CallFunctionObjArgs(w->describe, error, w->called ? Py_True : Py_False, where,
                                        NULL);
}

/* Sends what describe() or excuse() makes of the exception that is set. Others than Exceptions end
 * the worker, unless it is to survive those that functions raise. */
static int send_error(struct work *w, PyObject *value) {
    if (!PyErr_ExceptionMatches(PyExc_Exception) && !(w->everything && w->called)) {
        return -1;
    }
    PyObject *error = error_take();
    PyObject *wire = put_in_words(w, value, error);
    if (w->fails != NULL) {
        w->fails(w->worker);
    }
    int r = wire == NULL ? -1 : send_result(w, RESULT_ERROR, wire);
    if (r < 0 && value == NULL && wire != NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        r = send_error(w, wire); /* the exception itself cannot be sent */
    }
    Py_XDECREF(wire);
    Py_DECREF(error);
    return r;
}

int work_do(struct work *w, const void *task, size_t size) {
    PyObject *result = run_task(w, task, size);
    if (result == NULL) {
        int r = send_error(w, NULL);
        Py_CLEAR(w->where);
        return r;
    }
    int r = send_result(w, RESULT_VALUE, result);
    if (r < 0) {
        r = send_error(w, result);
    }
    Py_DECREF(result);
    return r;
}
