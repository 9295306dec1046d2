/*
 * embed.h - the interpreter inside a fuzz target
 *
 * SPDX-License-Identifier: MIT
 *
 * The interpreter is the one of .venv, the package is the source tree's. Objects come from
 * malloc(), so that AddressSanitizer knows the bounds of each and sees what is never freed.
 */
#ifndef MPROC_FUZZ_EMBED_H
#define MPROC_FUZZ_EMBED_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "fuzz.h"

static inline void embed_must(PyStatus status) {
    if (PyStatus_Exception(status)) {
        Py_ExitStatusException(status);
    }
}

static inline void embed_path(const char *path) {
    PyObject *entry = PyUnicode_FromString(path), *list = PySys_GetObject("path");
    MUST(entry != NULL && list != NULL && PyList_Insert(list, 0, entry) == 0);
    Py_DECREF(entry);
}

static inline void embed_python(void) {
    PyPreConfig before;
    PyConfig config;
    PyPreConfig_InitPythonConfig(&before);
    before.allocator = PYMEM_ALLOCATOR_MALLOC;
    embed_must(Py_PreInitialize(&before));
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    config.write_bytecode = 0;
    embed_must(PyConfig_SetBytesString(&config, &config.program_name, FUZZ_PYTHON));
    embed_must(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    embed_path(FUZZ_PACKAGE);
    embed_path(FUZZ_HALVES);
}

/* ---------------------------------------------------------------- a Python half */

#define EMBED_UNSEEN __attribute__((no_sanitize("coverage"))) /* the tracing itself */
#define EMBED_COUNTERS (1 << 16)
#define EMBED_CODES 4096

/* libFuzzer looks at these as at the edges of C code: one for each pair of lines that ran one after
 * the other. */
__attribute__((
    section("__libfuzzer_extra_counters"))) static uint8_t embed_counters[EMBED_COUNTERS];

static PyObject *embed_function;

/* Whether a frame runs code of the package. A code object that was met lately is remembered by its
 * address. */
EMBED_UNSEEN static inline bool embed_is_ours(PyFrameObject *frame) {
    static struct {
        PyCodeObject *code;
        bool ours;
    } known[EMBED_CODES];
    PyCodeObject *code = PyFrame_GetCode(frame);
    size_t i = ((uintptr_t)code >> 5) % EMBED_CODES;
    if (known[i].code != code) {
        const char *file = PyUnicode_AsUTF8(code->co_filename);
        known[i].code = code;
        known[i].ours = file != NULL && strstr(file, "/python/mproc/") != NULL;
    }
    Py_DECREF(code);
    return known[i].ours;
}

EMBED_UNSEEN static inline int embed_trace(PyObject *unused, PyFrameObject *frame, int event,
                                           PyObject *argument) {
    static uint32_t before;
    (void)unused;
    (void)argument;
    if (event == PyTrace_CALL && !embed_is_ours(frame)) { /* its lines need not be told */
        (void)PyObject_SetAttrString((PyObject *)frame, "f_trace_lines", Py_False);
    }
    if (event == PyTrace_LINE && embed_is_ours(frame)) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        uint32_t place =
            (uint32_t)((uintptr_t)code >> 5) * 31 + (uint32_t)PyFrame_GetLineNumber(frame);
        uint8_t *counter = &embed_counters[(before ^ place) * 2654435761u >> 16];
        *counter += *counter < 255;
        before = place >> 1;
        Py_DECREF(code);
    }
    return 0;
}

/* From now on embed_feed() calls fuzz_<name>.feed(bytes), whose lines count as edges. */
static inline void embed_half(const char *name) {
    embed_python();
    PyObject *module = PyImport_ImportModule(name);
    if (module == NULL) {
        PyErr_Print();
        abort();
    }
    embed_function = PyObject_GetAttrString(module, "feed");
    MUST(embed_function != NULL);
    Py_DECREF(module);
    PyEval_SetTrace(embed_trace, NULL);
}

/* An exception that leaves the Python half is a broken property. */
static inline void embed_feed(const uint8_t *data, size_t size) {
    PyObject *result = PyObject_CallFunction(embed_function, "y#", data, (Py_ssize_t)size);
    if (result == NULL) {
        PyErr_Print();
        fprintf(stderr, "broken: see the exception above\n");
        abort();
    }
    Py_DECREF(result);
}

#endif
