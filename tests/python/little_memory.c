/*
 * little_memory.c - malloc() that has no blocks of one size: LD_PRELOAD, and REFUSED=BYTES
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

static size_t refused;
static void *(*given)(size_t size);

static void __attribute__((constructor)) begin(void) {
    const char *size = getenv("REFUSED");
    refused = size != NULL ? (size_t)strtoul(size, NULL, 10) : 0;
}

void *malloc(size_t size) {
    if (given == NULL) {
        given = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    }
    return size != 0 && size == refused ? NULL : given(size);
}
