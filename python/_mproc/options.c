/*
 * options.c - Python's arguments for starting a program, as mproc_process_options
 *
 * SPDX-License-Identifier: MIT
 */
#include "options.h"

#include "error.h"

#include <errno.h>
#include <limits.h>

/* Puts the strings of a sequence into an array that ends with NULL; options->strings keeps them. */
static int fill_strings(struct options *options, const char **array, PyObject *items) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); i++) {
        PyObject *bytes = NULL;
        if (!PyUnicode_FSConverter(PySequence_Fast_GET_ITEM(items, i), &bytes)) {
            return -1;
        }
        int r = PyList_Append(options->strings, bytes);
        array[i] = PyBytes_AS_STRING(bytes);
        Py_DECREF(bytes);
        if (r < 0) {
            return -1;
        }
    }
    return 0;
}

static int take_strings(struct options *options, const char ***out, PyObject *sequence) {
    if (sequence == NULL || sequence == Py_None) {
        return 0;
    }
    /* A copy: a conversion may run Python code that changes the caller's list. */
    PyObject *items = PySequence_Tuple(sequence);
    if (items == NULL) {
        return -1;
    }
    int r = -1;
    *out = PyMem_Calloc((size_t)PyTuple_GET_SIZE(items) + 1, sizeof **out);
    if (*out == NULL) {
        PyErr_NoMemory();
    } else {
        r = fill_strings(options, *out, items);
    }
    Py_DECREF(items);
    return r;
}

static int take_fds(struct options *options, PyObject *sequence) {
    if (sequence == NULL || sequence == Py_None) {
        return 0;
    }
    PyObject *items = PySequence_Tuple(sequence); /* a copy, as above */
    if (items == NULL) {
        return -1;
    }
    Py_ssize_t n = PyTuple_GET_SIZE(items), i = 0;
    options->fds = PyMem_New(int, (size_t)n + 1);
    if (options->fds == NULL) {
        PyErr_NoMemory();
        i = -1;
    }
    while (i >= 0 && i < n) {
        options->fds[i] = PyObject_AsFileDescriptor(PyTuple_GET_ITEM(items, i));
        i = options->fds[i] < 0 ? -1 : i + 1;
    }
    Py_DECREF(items);
    options->core.fds = options->fds;
    options->core.nfds = i < 0 ? 0 : (size_t)n;
    return i < 0 ? -1 : 0;
}

int options_fill(struct options *options, PyObject *fds, PyObject *argv, PyObject *envp) {
    options->strings = PyList_New(0);
    if (options->strings == NULL || take_fds(options, fds) < 0 ||
        take_strings(options, &options->argv, argv) < 0 ||
        take_strings(options, &options->envp, envp) < 0) {
        return -1;
    }
    options->core.argv = options->argv;
    options->core.envp = options->envp;
    return 0;
}

void options_clear(struct options *options) {
    PyMem_Free(options->fds);
    PyMem_Free((void *)options->argv);
    PyMem_Free((void *)options->envp);
    Py_XDECREF(options->strings);
    *options = (struct options){0};
}

/* ---------------------------------------------------------------- what starts the program */

static PyObject *list_of_strings(const char *const *strings) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && strings[i] != NULL; i++) {
        PyObject *bytes = PyBytes_FromString(strings[i]);
        if (bytes == NULL || PyList_Append(list, bytes) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(bytes);
    }
    return list;
}

static PyObject *list_of_fds(const mproc_program *program) {
    PyObject *list = PyList_New((Py_ssize_t)program->nfds);
    for (size_t i = 0; list != NULL && i < program->nfds; i++) {
        PyObject *fd = PyLong_FromLong(program->fds[i]);
        if (fd == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, fd);
        }
    }
    return list;
}

/* The core's maker->spawn. The caller waits without the interpreter's lock (see blocking.h), and
 * finds the exception there. */
static pid_t spawn_by(void *by, const mproc_program *program) {
    PyGILState_STATE locked = PyGILState_Ensure();
    PyObject *argv = list_of_strings(program->argv), *envp = list_of_strings(program->envp);
    PyObject *fds = list_of_fds(program), *pid = NULL;
    long r = -1;
    if (argv != NULL && envp != NULL && fds != NULL) {
        pid = PyObject_CallFunction(by, "yOOO", program->path, argv, envp, fds);
        r = pid != NULL ? PyLong_AsLong(pid) : -1;
    }
    int raised = PyErr_Occurred() != NULL;
    Py_XDECREF(pid);
    Py_XDECREF(fds);
    Py_XDECREF(envp);
    Py_XDECREF(argv);
    PyGILState_Release(locked);
    return raised ? -ECANCELED : r > 0 && r <= INT_MAX ? (pid_t)r : -EINVAL;
}

void options_start_by(struct options *options, PyObject *by) {
    if (by != NULL && by != Py_None) {
        options->maker = (mproc_process_maker){.spawn = spawn_by, .context = by};
        options->core.maker = &options->maker;
    }
}

PyObject *options_raise(const struct options *options, int code) {
    return error_raise_for(code, options->argv != NULL ? options->argv[0] : NULL);
}
