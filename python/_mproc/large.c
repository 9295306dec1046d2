/*
 * large.c - bytes objects whose contents are many pages
 *
 * SPDX-License-Identifier: MIT
 *
 * What a received object of some megabytes costs is not the copy: it is that its memory is new, and
 * each page of it is found by a fault, cleared, and then written again. The system is asked to give
 * such memory in huge pages, of which there are 512 times fewer. That is a hint: where it is
 * refused, or there are no huge pages, nothing else is different. Only pages that lie wholly in the
 * object are asked for, so it takes no more memory than it would otherwise.
 */
#include "large.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((uintptr_t)1 << 16)   /* the largest that any system has */
#define LEAST ((Py_ssize_t)4 << 20) /* at least one aligned huge page of 2 MiB lies in it */

static void ask_for_huge_pages(char *start, size_t size) {
    uintptr_t first = ((uintptr_t)start + PAGE - 1) & ~(PAGE - 1);
    uintptr_t end = ((uintptr_t)start + size) & ~(PAGE - 1);
    (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
}

PyObject *large_bytes(const void *data, Py_ssize_t size) {
    if (size < LEAST) {
        return PyBytes_FromStringAndSize(data, size);
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes != NULL) {
        ask_for_huge_pages(PyBytes_AS_STRING(bytes), (size_t)size);
        if (data != NULL) {
            memcpy(PyBytes_AS_STRING(bytes), data, (size_t)size);
        }
    }
    return bytes;
}
