/*
 * fuzz_authentication.c - handshakes with a peer that may send anything
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed and what must hold stands in fuzz_authentication.py: the half in Python. The lines of
 * the package that run are what libFuzzer sees as coverage.
 */
#include "embed.h"

PyMODINIT_FUNC PyInit__mproc(void);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    MUST(PyImport_AppendInittab("mproc._mproc", PyInit__mproc) == 0);
    embed_half("fuzz_authentication");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    embed_feed(data, size);
    return 0;
}
