/*
 * embed.h - the interpreter inside a fuzz target
 *
 * SPDX-License-Identifier: MIT
 *
 * The interpreter is the one of .venv, the package is the source tree's. Objects come from malloc(), so
 * that AddressSanitizer knows the bounds of each and sees what is never freed.
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

#endif
