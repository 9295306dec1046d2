/*
 * fuzz_function.c - names of functions, as a spawned child finds them in its arguments
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. A function's name (offset, build-id, object): the bytes of the input, or the true
 * name of a function of this program into which the input scribbles.
 *
 * What must hold. The name is found, or MPROC_EFUNCTION or MPROC_EBUILD says that it is not; what
 * is found lies in code and has that name again. The complaint about a name, whatever is in it, is
 * one line on stderr and reads no byte behind the name, which is a block of its own.
 */
#include "fuzz.h"

#include "process/function.h"

static bool complained;

int __real_fputs(const char *text, FILE *stream);
int __wrap_fputs(const char *text, FILE *stream);

/* What goes to stderr is looked at and not said. */
int __wrap_fputs(const char *text, FILE *stream) {
    if (stream != stderr) {
        return __real_fputs(text, stream);
    }
    size_t size = strlen(text);
    MUST(size > 0 && size < 512 && strncmp(text, "mproc: ", 7) == 0);
    complained = true;
    return 0;
}

static void scribble(struct mproc__function_ref *ref, struct feed *input) {
    size_t n = feed_below(input, 8);
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)ref)[feed_below(input, sizeof *ref)] = feed_byte(input);
    }
}

static void fill(struct mproc__function_ref *ref, struct feed *input) {
    if (feed_byte(input) & 1) {
        (void)feed_bytes(input, ref, sizeof *ref);
        return;
    }
    MUST(mproc__function_name((mproc__function)LLVMFuzzerTestOneInput, ref) == 0);
    scribble(ref, input);
}

static void find(const struct mproc__function_ref *ref) {
    struct mproc__function_ref again = {0};
    mproc__function fn = NULL;
    int r = mproc__function_find(ref, &fn);
    MUST(r == 0 ? fn != NULL : (r == MPROC_EFUNCTION || r == MPROC_EBUILD) && fn == NULL);
    if (r == 0) {
        MUST(mproc__function_name(fn, &again) == 0);
        MUST(again.offset == ref->offset && again.id_size == ref->id_size);
        size_t n = ref->id_size < MPROC__BUILD_ID_MAX ? ref->id_size : MPROC__BUILD_ID_MAX;
        MUST(memcmp(again.id, ref->id, n) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct feed input = {data, size};
    struct mproc__function_ref *ref = calloc(1, sizeof *ref);
    fill(ref, &input);
    find(ref);
    complained = false;
    mproc__function_complain(ref, MPROC_EBUILD);
    MUST(complained);
    free(ref);
    return 0;
}
