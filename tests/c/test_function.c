/*
 * test_function.c - functions named by build-id and offset
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "process/function.h"
#include "test.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int twice(int x) {
    return 2 * x;
}

static int thrice(int x) {
    return 3 * x;
}

static struct mproc__function_ref ref_of(mproc__function fn) {
    struct mproc__function_ref ref;
    CHECK_OK(mproc__function_name(fn, &ref));
    return ref;
}

static int find(const struct mproc__function_ref *ref) {
    mproc__function fn;
    return mproc__function_find(ref, &fn);
}

TEST_BARE(function_static_of_the_program) {
    struct mproc__function_ref ref = ref_of((mproc__function)twice);
    mproc__function fn;

    CHECK_STR(ref.object, "");
    CHECK_GT(ref.id_size, 0);
    CHECK_OK(mproc__function_find(&ref, &fn));
    CHECK(fn == (mproc__function)twice);
    CHECK_EQ(((int (*)(int))fn)(21), 42);
}

TEST_BARE(function_names_tell_functions_apart) {
    for (int i = 0; i < 3; i++) { /* from the second round on, the answers are remembered */
        struct mproc__function_ref a = ref_of((mproc__function)twice);
        struct mproc__function_ref b = ref_of((mproc__function)thrice);
        mproc__function fn;
        CHECK_NE(a.offset, b.offset);
        CHECK_OK(mproc__function_find(&a, &fn));
        CHECK_EQ(((int (*)(int))fn)(5), 10);
        CHECK_OK(mproc__function_find(&b, &fn));
        CHECK_EQ(((int (*)(int))fn)(5), 15);
    }
}

TEST_BARE(function_of_a_shared_library) {
    /* A function that no sanitizer replaces by one of its own. */
    mproc__function in_libc = (mproc__function)dlsym(RTLD_DEFAULT, "labs"), fn;
    struct mproc__function_ref ref;

    CHECK(in_libc != NULL);
    if (mproc__function_name(in_libc, &ref) != 0) {
        test_skip("the C library has no build-id");
    }
    CHECK_NE(ref.object[0], 0);
    CHECK_OK(mproc__function_find(&ref, &fn));
    CHECK(fn == in_libc);
}

TEST_BARE(function_that_is_none) {
    struct mproc__function_ref ref = {0}, before = ref;
    static int data = 7;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(page != MAP_FAILED);
    CHECK_EQ(mproc__function_name(NULL, &ref), MPROC_EFUNCTION);
    CHECK_EQ(mproc__function_name((mproc__function)page, &ref), MPROC_EFUNCTION);
    CHECK_EQ(mproc__function_name((mproc__function)(uintptr_t)&data, &ref), MPROC_EFUNCTION);
    CHECK_EQ(mproc__function_name((mproc__function)(uintptr_t)&ref, &ref), MPROC_EFUNCTION);
    CHECK_MEM(&ref, &before, sizeof ref);
    munmap(page, 4096);
}

TEST_BARE(function_of_another_build) {
    struct mproc__function_ref ref = ref_of((mproc__function)twice);
    CHECK_OK(find(&ref));
    ref.id[3] ^= 1;
    CHECK_EQ(find(&ref), MPROC_EBUILD);
    ref.id[3] ^= 1;
    ref.id_size--;
    CHECK_EQ(find(&ref), MPROC_EBUILD);
}

TEST_BARE(function_of_an_unknown_object) {
    struct mproc__function_ref ref = ref_of((mproc__function)twice);
    ref.id[3] ^= 1;
    strcpy(ref.object, "libnowhere.so");
    CHECK_EQ(find(&ref), MPROC_EFUNCTION);
    memset(ref.object, 'x', sizeof ref.object); /* no terminating 0: a process wrote at random */
    CHECK_EQ(find(&ref), MPROC_EFUNCTION);
}

TEST_BARE(function_offset_outside_of_code) {
    struct mproc__function_ref ref = ref_of((mproc__function)twice);
    ref.offset = UINT64_MAX;
    CHECK_EQ(find(&ref), MPROC_EFUNCTION);
    ref.offset = 0; /* the ELF header: readable, not executable */
    CHECK_EQ(find(&ref), MPROC_EFUNCTION);
}

/* A library that comes with the C library and that no program loads. */
TEST_BARE(function_of_an_unloaded_library) {
    void *library = dlopen("libBrokenLocale.so.1", RTLD_NOW | RTLD_LOCAL);
    mproc__function fn = NULL;
    struct mproc__function_ref ref;

    if (library != NULL) {
        fn = (mproc__function)dlsym(library, "__ctype_get_mb_cur_max");
    }
    if (fn == NULL || mproc__function_name(fn, &ref) != 0) {
        test_skip("no library to load here");
    }
    if (strncmp(ref.object, "libBrokenLocale", 15) != 0) {
        test_skip("its function is %s's", ref.object);
    }
    CHECK_OK(find(&ref));
    dlclose(library);
    CHECK_EQ(find(&ref), MPROC_EFUNCTION);
    CHECK_EQ(mproc__function_name(fn, &ref), MPROC_EFUNCTION);
}

/* Returns what mproc__function_complain() writes to stderr. */
static const char *complaint(const struct mproc__function_ref *ref, int error) {
    static char text[1024];
    int fd = memfd_create("stderr", MFD_CLOEXEC), old = dup(2);

    CHECK(fd >= 0 && old >= 0);
    dup2(fd, 2);
    mproc__function_complain(ref, error);
    fflush(stderr);
    dup2(old, 2);
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    CHECK_GT(n, 0);
    text[n] = 0;
    close(fd);
    close(old);
    return text;
}

static void hex(const struct mproc__function_ref *ref, char *out) {
    for (uint32_t i = 0; i < ref->id_size; i++) {
        sprintf(out + 2 * i, "%02x", ref->id[i]);
    }
}

TEST_BARE(function_complaint_names_both_builds) {
    struct mproc__function_ref ref = ref_of((mproc__function)twice);
    char here[2 * MPROC__BUILD_ID_MAX + 1], asked[2 * MPROC__BUILD_ID_MAX + 1], place[32];

    hex(&ref, here);
    ref.id[0] ^= 0xff;
    hex(&ref, asked);
    sprintf(place, "+0x%llx", (unsigned long long)ref.offset);
    const char *said = complaint(&ref, MPROC_EBUILD);
    CHECK(strstr(said, mproc_strerror(MPROC_EBUILD)) != NULL);
    CHECK(strstr(said, place) != NULL);
    CHECK(strstr(said, "the program") != NULL);
    CHECK(strstr(said, here) != NULL);
    CHECK(strstr(said, asked) != NULL);
    strcpy(ref.object, "libnowhere.so");
    said = complaint(&ref, MPROC_EFUNCTION);
    CHECK(strstr(said, "libnowhere.so") != NULL);
    CHECK(strstr(said, "not loaded here") != NULL);
}
