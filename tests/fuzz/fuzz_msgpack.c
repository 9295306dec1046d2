/*
 * fuzz_msgpack.c - the reader of messages, on arbitrary bytes
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. The input is a message. The first byte says whether the dict keys that earlier
 * inputs left behind are kept.
 *
 * What must hold. The reader makes an object or raises ValueError, nothing else, and reads no byte
 * beyond the message, which is a block of its own. What it has made can be written again if it is
 * plain enough, and the written bytes are read to an object that is written in the same bytes.
 * Whether a message is a pickle is told for each message; the pickle's bytes end where the message
 * ends. Nothing is left over: LeakSanitizer looks.
 */
#include "embed.h"

#include "module.h"
#include "written.h"

static struct module_state state;

/* What would import numpy: a list of what it is given stands for the array. */
static void make_arrays_plainly(void) {
    PyObject *names = PyDict_New();
    MUST(names != NULL);
    state.buffers.make =
        PyRun_String("lambda items, *rest: [bytes(items), *rest]", Py_eval_input, names, names);
    MUST(state.buffers.make != NULL);
    Py_DECREF(names);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    embed_python();
    make_arrays_plainly();
    return 0;
}

static PyObject *read_object(const void *data, size_t size) {
    PyObject *object = msgpack_read(&state, data, size, NULL);
    MUST((object == NULL) == (PyErr_Occurred() != NULL));
    if (object == NULL) {
        MUST(PyErr_ExceptionMatches(PyExc_ValueError));
        MUST(!PyErr_ExceptionMatches(PyExc_UnicodeError));
        PyErr_Clear();
    }
    return object;
}

static void ask_for_pickle(const uint8_t *data, size_t size) {
    size_t header = 4711;
    int r = msgpack_is_pickle(data, size, &header);
    MUST(r == 0 || r == 1 || r == -1);
    MUST((r == -1) == (PyErr_Occurred() != NULL));
    if (r == -1) {
        MUST(PyErr_ExceptionMatches(PyExc_ValueError));
        PyErr_Clear();
    }
    MUST(r == 1 ? header <= size && header <= MSGPACK_PICKLE_HEADER : header == 4711);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    size_t n = size - 1;
    uint8_t *message = malloc(n);
    if (n > 0) {
        memcpy(message, data + 1, n);
    }
    if (data[0] & 1) {
        msgpack_keys_clear(&state.keys);
    }
    ask_for_pickle(message, n);
    PyObject *object = read_object(message, n);
    free(message);
    if (object != NULL) {
        write_and_read(object, msgpack_write, read_object);
        Py_DECREF(object);
    }
    return 0;
}
