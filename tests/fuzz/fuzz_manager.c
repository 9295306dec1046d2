/*
 * fuzz_manager.c - a manager's server and a client that may send anything
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed and what must hold stands in fuzz_manager.py, the half in Python. The extension is a
 * part of this program: PyInit__mproc() is known to the interpreter as a module of its own.
 */
#include "embed.h"

PyMODINIT_FUNC PyInit__mproc(void);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    MUST(PyImport_AppendInittab("mproc._mproc", PyInit__mproc) == 0);
    embed_half("fuzz_manager");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    embed_feed(data, size);
    return 0;
}
