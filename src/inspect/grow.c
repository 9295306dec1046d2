/*
 * grow.c - arrays that grow, of which a picture is made
 *
 * SPDX-License-Identifier: MIT
 */
#include "inspect/grow.h"

#include <stdlib.h>
#include <string.h>

#define TEXTS_MOST ((uint64_t)1 << 30)

/* The next power of two is allocated when n is one. */
void *mproc__grow(void **array, uint64_t n, size_t size) {
    if ((n & (n - 1)) == 0) {
        void *more = realloc(*array, (n == 0 ? 1 : 2 * n) * size);
        if (more == NULL) {
            return NULL;
        }
        *array = more;
    }
    return (char *)*array + n * size;
}

uint32_t mproc__picture_text(struct mproc__picture *p, const char *text) {
    uint64_t at = p->ntexts, size = strlen(text) + 1;
    if (at + size > TEXTS_MOST) {
        return 0;
    }
    for (uint64_t i = 0; i < size; i++) {
        char *place = MPROC__GROW(p->texts, p->ntexts);
        if (place == NULL) {
            p->ntexts = at;
            return 0;
        }
        *place = text[i];
        p->ntexts++;
    }
    return (uint32_t)at;
}
