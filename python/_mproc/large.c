/*
 * large.c - bytes objects whose contents are many pages
 *
 * SPDX-License-Identifier: MIT
 *
 * What a received object of some megabytes costs is not the copy: it is that its memory is new, and
 * each page of it is found by a fault, cleared, and then written again. So pages are asked for
 * before they are written, many at once and without faults; and few enough that they are still in
 * the cache when they are written.
 *
 * Huge pages, of which there are 512 times fewer, are not asked for. The host of a virtual machine
 * takes back such blocks as soon as they are free, and then a new one costs four times as much as
 * its small pages, which come from blocks that are in use.
 *
 * Memory that was used before has its pages. To ask for them once more would cost half as much as
 * the copy, to look whether they are there costs a hundredth of that. (Pages that a fork shares are
 * there, too; the first write of each copies it, as it would in every other object.)
 *
 * It is a hint: a kernel that does not know it (before 5.14), or has no memory, leaves the pages to
 * the faults. Only pages that lie wholly in the object are asked for, so it takes no more memory
 * than it would otherwise.
 */
#include "large.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE ((uintptr_t)1 << 16)   /* the largest that any system has */
#define STEP ((uintptr_t)1 << 20)   /* of what is asked for, then written */
#define PAGES (STEP >> 12)          /* of the smallest that any system has */
#define LEAST ((Py_ssize_t)4 << 20) /* below it malloc() mostly has memory that was used before */

/* Whether each page of a range of a step at most has its memory. */
static bool has_pages(uintptr_t first, uintptr_t end) {
    unsigned char present[PAGES];
    memset(present, 1, sizeof present); /* mincore() sets one for each page, of whatever size */
    return mincore((void *)first, end - first, present) == 0 &&
           memchr(present, 0, sizeof present) == NULL;
}

static void ask_for_pages(uintptr_t start, uintptr_t end) {
    uintptr_t first = (start + PAGE - 1) & ~(PAGE - 1);
    uintptr_t last = end & ~(PAGE - 1);
    if (first < last && !has_pages(first, last)) {
        (void)madvise((void *)first, last - first, MADV_POPULATE_WRITE);
    }
}

static void fill(char *to, const char *data, size_t size) {
    for (size_t at = 0, n; at < size; at += n) {
        uintptr_t start = (uintptr_t)to + at;
        n = STEP - start % STEP;
        n = n < size - at ? n : size - at;
        ask_for_pages(start, start + n);
        memcpy(to + at, data + at, n);
    }
}

PyObject *large_bytes(const void *data, Py_ssize_t size) {
    if (size < LEAST || data == NULL) { /* what is only announced has no pages before it comes */
        return PyBytes_FromStringAndSize(data, size);
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes != NULL) {
        fill(PyBytes_AS_STRING(bytes), data, (size_t)size);
    }
    return bytes;
}
