/*
 * fuzz_pickle.c - the reader of plain values' pickles, on arbitrary bytes
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. The input is a pickle without its head. The first byte says whether the dict keys
 * that earlier inputs left behind are kept.
 *
 * What must hold. The reader makes an object or gives up without an exception, and reads no byte
 * beyond the pickle, which is a block of its own. An object that it has made is what pickle.loads()
 * makes of the same bytes. What it has made is written again without pickle, and the written bytes
 * are read to an object that is written in the same bytes. Nothing is left over: LeakSanitizer
 * looks.
 */
#include "embed.h"

#include "module.h"
#include "written.h"

static struct module_state state;
static PyObject *loads;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    embed_python();
    PyObject *pickle = PyImport_ImportModule("_pickle");
    MUST(pickle != NULL);
    loads = PyObject_GetAttrString(pickle, "loads");
    MUST(loads != NULL);
    Py_DECREF(pickle);
    return 0;
}

/* The text of an object; NULL: it is nested too deeply. */
static PyObject *text_of(PyObject *object) {
    PyObject *text = PyObject_Repr(object);
    if (text == NULL) {
        MUST(PyErr_ExceptionMatches(PyExc_RecursionError));
        PyErr_Clear();
    }
    return text;
}

/* Texts are compared, since no NaN is equal to itself. */
static void compare(PyObject *ours, PyObject *theirs) {
    MUST(Py_TYPE(ours) == Py_TYPE(theirs));
    PyObject *our_text = text_of(ours), *their_text = text_of(theirs);
    MUST((our_text == NULL) == (their_text == NULL));
    MUST(our_text == NULL || PyUnicode_Compare(our_text, their_text) == 0);
    Py_XDECREF(our_text);
    Py_XDECREF(their_text);
}

static void read_with_pickle(PyObject *ours, const void *data, size_t size) {
    PyObject *theirs = PyObject_CallFunction(loads, "y#", (const char *)data, (Py_ssize_t)size);
    MUST(theirs != NULL);
    compare(ours, theirs);
    Py_DECREF(theirs);
}

static PyObject *read_object(const void *data, size_t size) {
    return pickle_read_plain(&state.keys, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    size_t n = size + 1; /* two bytes of a head for one that is a flag */
    uint8_t *pickle = malloc(n);
    pickle[0] = 0x80;
    pickle[1] = PICKLE_PROTOCOL;
    memcpy(pickle + 2, data + 1, size - 1);
    if (data[0] & 1) {
        msgpack_keys_clear(&state.keys);
    }
    PyObject *object = read_object(pickle, n);
    MUST(!PyErr_Occurred());
    if (object != NULL) {
        read_with_pickle(object, pickle, n);
        write_and_read(object, pickle_write_plain, read_object);
        Py_DECREF(object);
    }
    free(pickle);
    return 0;
}
