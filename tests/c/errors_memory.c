/*
 * errors_memory.c - errors of numbers, arrays, segments and lists
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/join.h"
#include "core/shm_register.h"
#include "errors.h"

#include <fcntl.h>

static char room[64];
static size_t size_seen;

static void take_rlock(void *lock) {
    CHECK_OK(mproc_rlock_acquire(lock, MPROC_FOREVER));
}

/* ---------------------------------------------------------------- numbers */

static int64_t number;

PROVOKE(mproc_atomic_add, -EINVAL) {
    return mproc_atomic_add(MPROC_FLOAT, &number, 1, NULL);
}

PROVOKE(mproc_atomic_exchange, -EINVAL) {
    return mproc_atomic_exchange(MPROC_DOUBLE, &number, 1, NULL);
}

PROVOKE(mproc_atomic_compare_exchange, -EINVAL) {
    return mproc_atomic_compare_exchange(MPROC_INT32, (char *)&number + 1, &number, 1);
}

static mproc_array *array;

PROVOKE(mproc_array_new, -EINVAL) {
    return mproc_array_new(&array, (mproc_type)99, 1);
}

PROVOKE(mproc_array_new, MPROC_ETOOBIG) {
    return mproc_array_new(&array, MPROC_INT64, SIZE_MAX / 4);
}

PROVOKE(mproc_array_new, -ENOMEM) {
    begin_small();
    fill_arena();
    return mproc_array_new(&array, MPROC_INT64, 1);
}

PROVOKE(mproc_array_new_raw, -EINVAL) {
    return mproc_array_new_raw(&array, (mproc_type)0, 1);
}

PROVOKE(mproc_array_new_raw, MPROC_ETOOBIG) {
    return mproc_array_new_raw(&array, MPROC_INT64, SIZE_MAX / 4);
}

PROVOKE(mproc_array_new_raw, -ENOMEM) {
    begin_small();
    fill_arena();
    return mproc_array_new_raw(&array, MPROC_INT64, 1);
}

static mproc_buffer *buffer;

PROVOKE(mproc_buffer_new, MPROC_ETOOBIG) {
    return mproc_buffer_new(&buffer, SIZE_MAX);
}

PROVOKE(mproc_buffer_new, -ENOMEM) {
    begin_small();
    fill_arena();
    return mproc_buffer_new(&buffer, 1);
}

PROVOKE(mproc_view_new, -ENOMEM) {
    if (TEST_ASAN) {
        return -ENOMEM; /* its allocator does not know limits of the address space */
    }
    mproc_view *view;
    begin();
    buffer = made_buffer(1);
    no_malloc();
    return mproc_view_new(&view, buffer);
}

PROVOKE(mproc_buffer_check, MPROC_ECORRUPT) {
    return mproc_buffer_check((mproc_buffer *)(void *)made_lock(0), NULL, 0);
}

static mproc_array *numbers(void) {
    return made_array(MPROC_INT64, 3);
}

static mproc_array *numbers_locked(void) {
    mproc_array *made = numbers();
    live_after(take_rlock, mproc_array_lock(made));
    interrupt();
    return made;
}

static mproc_array *numbers_of_the_dead(void) {
    mproc_array *made = numbers();
    die_after(take_rlock, mproc_array_lock(made));
    return made;
}

PROVOKE(mproc_array_get, -ERANGE) {
    return mproc_array_get(numbers(), 3, room);
}

PROVOKE(mproc_array_get, -EINTR) {
    return mproc_array_get(numbers_locked(), 0, room);
}

PROVOKE(mproc_array_get, -EOWNERDEAD) {
    return mproc_array_get(numbers_of_the_dead(), 0, room);
}

PROVOKE(mproc_array_set, -ERANGE) {
    return mproc_array_set(numbers(), 3, room);
}

PROVOKE(mproc_array_set, -EINTR) {
    return mproc_array_set(numbers_locked(), 0, room);
}

PROVOKE(mproc_array_set, -EOWNERDEAD) {
    return mproc_array_set(numbers_of_the_dead(), 0, room);
}

PROVOKE(mproc_array_read, -ERANGE) {
    return mproc_array_read(numbers(), 2, 2, room);
}

PROVOKE(mproc_array_read, -EINTR) {
    return mproc_array_read(numbers_locked(), 0, 1, room);
}

PROVOKE(mproc_array_read, -EOWNERDEAD) {
    return mproc_array_read(numbers_of_the_dead(), 0, 1, room);
}

PROVOKE(mproc_array_write, -ERANGE) {
    return mproc_array_write(numbers(), 2, 2, room);
}

PROVOKE(mproc_array_write, -EINTR) {
    return mproc_array_write(numbers_locked(), 0, 1, room);
}

PROVOKE(mproc_array_write, -EOWNERDEAD) {
    return mproc_array_write(numbers_of_the_dead(), 0, 1, room);
}

PROVOKE(mproc_array_add, -EINVAL) {
    return mproc_array_add(made_array(MPROC_DOUBLE, 3), 0, 1, NULL);
}

PROVOKE(mproc_array_add, -ERANGE) {
    return mproc_array_add(numbers(), 3, 1, NULL);
}

PROVOKE(mproc_array_exchange, -EINVAL) {
    return mproc_array_exchange(made_array(MPROC_DOUBLE, 3), 0, 1, NULL);
}

PROVOKE(mproc_array_exchange, -ERANGE) {
    return mproc_array_exchange(numbers(), 3, 1, NULL);
}

PROVOKE(mproc_array_compare_exchange, -EINVAL) {
    return mproc_array_compare_exchange(made_array(MPROC_DOUBLE, 3), 0, &number, 1);
}

PROVOKE(mproc_array_compare_exchange, -ERANGE) {
    return mproc_array_compare_exchange(numbers(), 3, &number, 1);
}

PROVOKE(mproc_array_check, MPROC_ECORRUPT) {
    return mproc_array_check((mproc_array *)(void *)made_lock(0), NULL, 0);
}

/* ---------------------------------------------------------------- named shared memory */

static char longest[300];

static const char *too_long(void) {
    memset(longest, 'x', sizeof longest - 1);
    return longest;
}

/* A name of this test's own that nobody has. */
static const char *own_name(void) {
    static char name[64];
    snprintf(name, sizeof name, "mproc-errors-%d", (int)getpid());
    return name;
}

static const char *own_path(void) {
    static char path[80];
    snprintf(path, sizeof path, "/dev/shm/%s", own_name());
    return path;
}

/* The family unlinks it. */
static mproc_shm *segment(size_t size) {
    mproc_shm *shm = NULL;
    CHECK_OK(mproc_shm_create(&shm, NULL, size, NULL));
    return shm;
}

static int create(const char *name, size_t size) {
    mproc_shm *shm;
    return mproc_shm_create(&shm, name, size, NULL);
}

static int attach(const char *name) {
    mproc_shm *shm;
    return mproc_shm_open(&shm, name);
}

PROVOKE(mproc_shm_create, -EEXIST) {
    return create(mproc_shm_name(segment(8)), 8);
}

PROVOKE(mproc_shm_create, -EINVAL) {
    return create(NULL, 0);
}

PROVOKE(mproc_shm_create, -ENAMETOOLONG) {
    return create(too_long(), 8);
}

PROVOKE(mproc_shm_create, -ENOSPC) {
    (void)segment(8);
    deny(SYS_ftruncate, -1, ENOSPC);
    return create(NULL, 8);
}

PROVOKE(mproc_shm_create, -ENOMEM) {
    return create(NULL, SIZE_MAX);
}

PROVOKE(mproc_shm_create, -EMFILE) {
    (void)segment(8);
    no_descriptors();
    return create(NULL, 8);
}

PROVOKE(mproc_shm_create, -ENFILE) {
    (void)segment(8);
    deny(SYS_openat, -1, ENFILE);
    return create(NULL, 8);
}

PROVOKE(mproc_shm_create, -EACCES) {
    (void)segment(8);
    deny(SYS_openat, -1, EACCES);
    return create(NULL, 8);
}

PROVOKE(mproc_shm_create, -EAGAIN) {
    begin();
    no_processes();
    return create(NULL, 8);
}

PROVOKE(mproc_shm_open, -ENOENT) {
    return attach(own_name());
}

PROVOKE(mproc_shm_open, -EINVAL) {
    return attach("a/b");
}

PROVOKE(mproc_shm_open, -ENAMETOOLONG) {
    return attach(too_long());
}

PROVOKE(mproc_shm_open, -EACCES) {
    deny(SYS_openat, -1, EACCES);
    return attach(own_name());
}

PROVOKE(mproc_shm_open, -ELOOP) {
    CHECK_OK(symlink("/dev/null", own_path()));
    int r = attach(own_name());
    CHECK_OK(unlink(own_path()));
    return r;
}

PROVOKE(mproc_shm_open, -ENODATA) {
    int fd = open(own_path(), O_CREAT | O_EXCL | O_RDWR, 0600);
    CHECK_GE(fd, 0);
    int r = attach(own_name());
    CHECK_OK(unlink(own_path()));
    return r;
}

PROVOKE(mproc_shm_open, -ENOMEM) {
    if (TEST_ASAN) {
        return -ENOMEM; /* its allocator does not know limits of the address space */
    }
    no_malloc();
    return attach("none");
}

PROVOKE(mproc_shm_open, -EMFILE) {
    no_descriptors();
    return attach(own_name());
}

PROVOKE(mproc_shm_open, -ENFILE) {
    deny(SYS_openat, -1, ENFILE);
    return attach(own_name());
}

static int map(mproc_shm *shm) {
    void *data;
    return mproc_shm_data(shm, &data);
}

PROVOKE(mproc_shm_data, -ENOSPC) {
    mproc_shm *shm = segment(8);
    deny(SYS_fallocate, -1, ENOSPC);
    return map(shm);
}

PROVOKE(mproc_shm_data, -ENOMEM) {
    mproc_shm *shm = segment(8);
    deny(SYS_mmap, -1, ENOMEM);
    return map(shm);
}

PROVOKE(mproc_shm_unlink, -ENOENT) {
    return mproc_shm_unlink(own_name());
}

PROVOKE(mproc_shm_unlink, -EINVAL) {
    return mproc_shm_unlink("..");
}

PROVOKE(mproc_shm_unlink, -ENAMETOOLONG) {
    return mproc_shm_unlink(too_long());
}

PROVOKE(mproc_shm_unlink, -EPERM) {
#if defined(SYS_unlink)
    deny(SYS_unlink, -1, EPERM);
#endif
    deny(SYS_unlinkat, -1, EPERM);
    return mproc_shm_unlink(own_name());
}

PROVOKE(mproc_shm_keep, -ENOENT) {
    return mproc_shm_keep(own_name());
}

PROVOKE(mproc_shm_keep, -EINVAL) {
    return mproc_shm_keep("");
}

PROVOKE(mproc_shm_keep, -ENAMETOOLONG) {
    return mproc_shm_keep(too_long());
}

PROVOKE(mproc_shm_claim, -ENOENT) {
    return mproc_shm_claim(own_name());
}

PROVOKE(mproc_shm_claim, -EINVAL) {
    return mproc_shm_claim("/");
}

PROVOKE(mproc_shm_claim, -ENAMETOOLONG) {
    return mproc_shm_claim(too_long());
}

PROVOKE(mproc_shm_claim, -ENOMEM) {
    begin_small();
    mproc_shm *shm = segment(8);
    CHECK_OK(mproc_shm_keep(mproc_shm_name(shm)));
    fill_arena();
    int r = mproc_shm_claim(mproc_shm_name(shm));
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(shm)));
    return r;
}

PROVOKE(mproc_shm_claim, -EAGAIN) {
    begin();
    no_processes();
    return mproc_shm_claim(own_name());
}

PROVOKE(mproc_shm_check, MPROC_ECORRUPT) {
    mproc_shm *shm = segment(8);
    mproc__family->shms.count++;
    int r = mproc_shm_check(NULL, 0);
    mproc__family->shms.count--;
    mproc_shm_drop(shm);
    return r;
}

/* ---------------------------------------------------------------- shareable list */

static const mproc_item none = {.kind = MPROC_ITEM_NONE};
static const mproc_item text = {.kind = MPROC_ITEM_STR, .data = "hello", .size = 5};
static const mproc_item no_item = {.kind = (enum mproc_item_kind)99};
static const mproc_item huge = {.kind = MPROC_ITEM_BYTES, .data = "x", .size = 10000000};

static mproc_shm *list_of(const mproc_item *item) {
    mproc_shm *list = NULL;
    CHECK_OK(mproc_shareable_list_create(&list, NULL, item, 1, NULL));
    return list;
}

static mproc_shm *no_list(void) {
    mproc_shm *shm = segment(64);
    void *data;
    CHECK_OK(mproc_shm_data(shm, &data));
    memset(data, 0xff, 64);
    return shm;
}

static int get_item(mproc_shm *list, size_t i, size_t size) {
    mproc_item item;
    return mproc_shareable_list_get(list, i, &item, room, size);
}

PROVOKE(mproc_shareable_list_create, -EMSGSIZE) {
    mproc_shm *list;
    return mproc_shareable_list_create(&list, NULL, &huge, 1, NULL);
}

PROVOKE(mproc_shareable_list_create, -EINVAL) {
    mproc_shm *list;
    return mproc_shareable_list_create(&list, NULL, &no_item, 1, NULL);
}

PROVOKE(mproc_shareable_list_length, -EBADMSG) {
    return mproc_shareable_list_length(no_list(), &size_seen);
}

PROVOKE(mproc_shareable_list_get, -EBADMSG) {
    return get_item(no_list(), 0, sizeof room);
}

PROVOKE(mproc_shareable_list_get, -ERANGE) {
    return get_item(list_of(&none), 1, sizeof room);
}

PROVOKE(mproc_shareable_list_get, -ENOBUFS) {
    return get_item(list_of(&text), 0, 1);
}

PROVOKE(mproc_shareable_list_get, -EPROTO) {
    mproc_shm *list = list_of(&text);
    void *data;
    CHECK_OK(mproc_shm_data(list, &data));
    char *format = memmem(data, mproc_shm_size(list), "8s", 3);
    CHECK(format != NULL);
    memcpy(format, "??", 2);
    return get_item(list, 0, sizeof room);
}

PROVOKE(mproc_shareable_list_set, -EBADMSG) {
    return mproc_shareable_list_set(no_list(), 0, &none);
}

PROVOKE(mproc_shareable_list_set, -ERANGE) {
    return mproc_shareable_list_set(list_of(&none), 1, &none);
}

PROVOKE(mproc_shareable_list_set, -EMSGSIZE) {
    return mproc_shareable_list_set(list_of(&none), 0, &huge);
}

PROVOKE(mproc_shareable_list_set, -EINVAL) {
    return mproc_shareable_list_set(list_of(&none), 0, &no_item);
}

PROVOKE(mproc_shareable_list_room, -EBADMSG) {
    return mproc_shareable_list_room(no_list(), 0, &size_seen);
}

PROVOKE(mproc_shareable_list_room, -ERANGE) {
    return mproc_shareable_list_room(list_of(&none), 1, &size_seen);
}

PROVOKE(mproc_shareable_list_format, -EBADMSG) {
    return mproc_shareable_list_format(no_list(), 0, room);
}

PROVOKE(mproc_shareable_list_format, -ERANGE) {
    return mproc_shareable_list_format(list_of(&none), 1, room);
}

PROVOKE(mproc_shareable_list_check, MPROC_ECORRUPT) {
    return mproc_shareable_list_check(no_list(), NULL, 0);
}
