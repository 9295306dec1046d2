/*
 * label.c - names of shared objects, the lines of Python that made them, and where threads wait
 *
 * SPDX-License-Identifier: MIT
 *
 * With MPROC_ORIGIN=1 the core asks for each object where it is made. The answer is the line of the
 * innermost frame that is none of the package's own. A thread that waits for long says the lines of
 * all such frames (blocking.c).
 */
#include "blocking.h"
#include "error.h"
#include "module.h"
#include "mproc.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define FAMILIES_MOST 1024

static void *address_of(PyObject *address) {
    void *object = PyLong_AsVoidPtr(address);
    if (object == NULL && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "0 is no address of this family's arena");
    }
    return object;
}

static PyObject *refuse(int code, PyObject *address) {
    if (code == -EINVAL) {
        return PyErr_Format(PyExc_ValueError, "there is no object at %R that this process has",
                            address);
    }
    if (code == -ENAMETOOLONG) {
        return PyErr_Format(PyExc_ValueError, "a name has at most %d bytes", MPROC_NAME_MOST);
    }
    return error_raise(code);
}

static PyObject *set_name(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t n) {
    if (n != 2 || !(PyUnicode_Check(args[1]) || args[1] == Py_None)) {
        PyErr_SetString(PyExc_TypeError, "a name is a str, or None");
        return NULL;
    }
    Py_ssize_t size = 0;
    const char *name = args[1] != Py_None ? PyUnicode_AsUTF8AndSize(args[1], &size) : "";
    void *object = name != NULL ? address_of(args[0]) : NULL;
    if (object == NULL) {
        return NULL;
    }
    if (strlen(name) != (size_t)size) {
        PyErr_SetString(PyExc_ValueError, "a name has no null character");
        return NULL;
    }
    int r = mproc_name(object, name);
    return r == 0 ? Py_NewRef(Py_None) : refuse(r, args[0]);
}

typedef int (*read_fn)(const void *object, char *out, size_t size);

static PyObject *text_of(PyObject *address, read_fn ask) {
    char text[LABEL_ORIGIN];
    const void *object = address_of(address);
    if (object == NULL) {
        return NULL;
    }
    int r = ask(object, text, sizeof text);
    if (r < 0) {
        return refuse(r, address);
    }
    return r == 0 ? Py_NewRef(Py_None)
                  : PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

static PyObject *get_name(PyObject *Py_UNUSED(module), PyObject *address) {
    return text_of(address, mproc_name_of);
}

static PyObject *get_origin(PyObject *Py_UNUSED(module), PyObject *address) {
    return text_of(address, mproc_origin_of);
}

/* ---------------------------------------------------------------- where the program is */

static int is_own(PyFrameObject *frame) {
    PyObject *globals = PyFrame_GetGlobals(frame);
    PyObject *key = PyUnicode_InternFromString("__name__");
    PyObject *name = key != NULL ? threads_value(globals, key) : NULL;
    const char *text = name != NULL && PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
    int own = text != NULL && (strcmp(text, "mproc") == 0 || strncmp(text, "mproc.", 6) == 0);
    Py_XDECREF(name);
    Py_XDECREF(key);
    Py_DECREF(globals);
    PyErr_Clear();
    return own;
}

/* A new reference, or NULL. */
static PyFrameObject *frame_of_program(void) {
    PyFrameObject *frame = PyEval_GetFrame();
    Py_XINCREF(frame);
    while (frame != NULL && is_own(frame)) {
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    return frame;
}

/* The end of a path says more than its beginning. */
static void say_line(PyFrameObject *frame, char *out, size_t size) {
    PyCodeObject *code = PyFrame_GetCode(frame);
    const char *file = PyUnicode_AsUTF8(code->co_filename);
    size_t length = file != NULL ? strlen(file) : 0, most = size - 16;
    PyOS_snprintf(out, size, "%s:%d",
                  file == NULL    ? "?"
                  : length > most ? file + length - most
                                  : file,
                  PyFrame_GetLineNumber(frame));
    Py_DECREF(code);
}

static bool asked; /* MPROC_ORIGIN=1 */

static BLOCKING_THREAD const char *kept; /* where() of a thread that gives the lock away */

/* Without the interpreter's lock nothing is known but what was kept. */
static int where(char *out, size_t size) {
    if (!Py_IsInitialized() || !PyGILState_Check()) {
        PyOS_snprintf(out, size, "%s", kept != NULL ? kept : "");
        return kept == NULL;
    }
    PyObject *error = error_take();
    PyFrameObject *frame = frame_of_program();
    if (frame != NULL) {
        say_line(frame, out, size);
        Py_DECREF(frame);
    }
    PyErr_Clear(); /* a name that is no text */
    error_give_back(error);
    return frame == NULL;
}

void label_keep_origin(char room[LABEL_ORIGIN]) {
    kept = asked && where(room, LABEL_ORIGIN) == 0 ? room : NULL;
}

void label_forget_origin(void) {
    kept = NULL;
}

#define FRAMES_MOST 40
#define FILE_MOST 150 /* of a file's name: its end */

/* A line of a stack; how many bytes. 0: it does not fit any more. */
static size_t say_frame(PyFrameObject *frame, char *out, size_t size) {
    PyCodeObject *code = PyFrame_GetCode(frame);
    const char *name = PyUnicode_AsUTF8(code->co_qualname);
    const char *file = PyUnicode_AsUTF8(code->co_filename);
    size_t length = file != NULL ? strlen(file) : 0;
    int n = snprintf(out, size, "%.100s (%s%s:%d)\n", name != NULL ? name : "?",
                     length > FILE_MOST ? "..." : "",
                     file == NULL ? "?" : file + (length > FILE_MOST ? length - FILE_MOST : 0),
                     PyFrame_GetLineNumber(frame));
    Py_DECREF(code);
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

size_t label_stack(char *out, size_t size) {
    PyObject *error = error_take();
    PyFrameObject *frame = frame_of_program();
    size_t used = 0, n = 1;
    for (int i = 0; frame != NULL && i < FRAMES_MOST && n > 0; i++) {
        PyFrameObject *back = PyFrame_GetBack(frame);
        if (!is_own(frame)) {
            n = say_frame(frame, out + used, size - used);
            used += n;
        }
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    PyErr_Clear(); /* a name that is no text */
    error_give_back(error);
    used -= used > 0; /* the last line's end */
    out[used] = 0;
    return used;
}

/* ---------------------------------------------------------------- watching */

static PyObject *log_deadlocks(PyObject *Py_UNUSED(module), PyObject *args) {
    double after;
    int abort, r;
    if (!PyArg_ParseTuple(args, "dp", &after, &abort)) {
        return NULL;
    }
    if (!(after >= 1e-9 && after < 1e9)) {
        PyErr_SetString(PyExc_ValueError, "after is a number of seconds, more than 0");
        return NULL;
    }
    PyThreadState *thread = PyEval_SaveThread();
    r = mproc_log_deadlocks((int64_t)(after * 1e9), abort);
    PyEval_RestoreThread(thread);
    return r == 0 ? Py_NewRef(Py_None) : error_raise_for(r, "the program mproc");
}

/* ---------------------------------------------------------------- looking */

static PyObject *inspect_json(PyObject *Py_UNUSED(module), PyObject *pid) {
    char *text = NULL;
    long n = PyLong_AsLong(pid);
    if (n == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (n <= 0 || n > INT_MAX) {
        return Py_BuildValue("is", -ESRCH, mproc_inspect_reason(-ESRCH));
    }
    PyThreadState *thread = PyEval_SaveThread();
    int r = mproc_inspect_json(&text, (pid_t)n);
    PyEval_RestoreThread(thread);
    PyObject *result = Py_BuildValue("is", r, r == 0 ? text : mproc_inspect_reason(r));
    free(text);
    return result;
}

static PyObject *inspect_families(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none)) {
    pid_t pids[FAMILIES_MOST];
    PyThreadState *thread = PyEval_SaveThread();
    int n = mproc_inspect_families(pids, FAMILIES_MOST);
    PyEval_RestoreThread(thread);
    if (n < 0) {
        return error_raise(n);
    }
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < n && i < FAMILIES_MOST; i++) {
        PyObject *pid = PyLong_FromLong(pids[i]);
        if (pid == NULL || PyList_Append(list, pid) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(pid);
    }
    return list;
}

static PyMethodDef label_functions[] = {
    {"inspect_json", inspect_json, METH_O,
     "inspect_json($self, pid, /)\n--\n\n"
     "0 and the family of a process as JSON, or an error's number and its words."},
    {"inspect_families", inspect_families, METH_NOARGS,
     "inspect_families($self, /)\n--\n\n"
     "One pid of each family that this user may look at. OSError."},
    {"log_deadlocks", log_deadlocks, METH_VARARGS,
     "log_deadlocks($self, after, abort, /)\n--\n\n"
     "Have the family watched, see mproc_log_deadlocks(). ValueError: no time. OSError."},
    {"set_name", (PyCFunction)(void (*)(void))set_name, METH_FASTCALL,
     "set_name($self, address, name, /)\n--\n\n"
     "Give the object there a name; None: none any more. ValueError: it is too long, or this\n"
     "process has no such object. TypeError."},
    {"get_name", get_name, METH_O,
     "get_name($self, address, /)\n--\n\n"
     "The name of the object there, or None. ValueError: there is no object."},
    {"get_origin", get_origin, METH_O,
     "get_origin($self, address, /)\n--\n\n"
     "Where the object there was made, or None: MPROC_ORIGIN=1 was not set. ValueError."},
    {NULL, NULL, 0, NULL},
};

int label_add(PyObject *module) {
    const char *origin = getenv("MPROC_ORIGIN");
    if (origin != NULL && *origin != 0) {
        asked = true;
        mproc_origin_hook(where);
    }
    return PyModule_AddFunctions(module, label_functions);
}
