/*
 * fuzz_shareable_list.c - lists in segments that strangers have scribbled on
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. A list: either the bytes of the input, whatever they are, or a true list of ours or
 * of the standard library's into which the input scribbles some words; cut or lengthened by some
 * bytes. Then operations on it. The segment is a block of the C heap of exactly that size, so that
 * AddressSanitizer sees every byte that is touched beyond it.
 *
 * What must hold. Each operation ends, with one of its documented codes; outputs are written on
 * success only. A list that _check calls good has items that can all be read. What was set can be
 * read again. Who waits for a writer waits for a process that is there: such a wait is ended here
 * by a jump.
 */
#include "fuzz.h"

#include <errno.h>
#include <setjmp.h>

#include "core/family.h"
#include "mproc.h"
#include "system/os.h"

#define SIZE_MAX_HERE 4096
#define ROOM 2048

struct mproc_shm {
    char *data;
    size_t size;
};

static jmp_buf waiting;
static bool judged_dead; /* what the last look at an owner said */
static bool judged;

int __wrap_mproc__shm_view(struct mproc_shm *shm, void **data, size_t *size);
int __real_mproc__os_process_is(pid_t pid, uint64_t when);
int __wrap_mproc__os_process_is(pid_t pid, uint64_t when);
int __wrap_mproc__os_futex_wait(const uint32_t *word, uint32_t value, int64_t timeout);
int __wrap_mproc__shm_make(struct mproc_shm **out, const char *name, const void *contents,
                           size_t size, const mproc_shm_options *options);

int __wrap_mproc__shm_view(struct mproc_shm *shm, void **data, size_t *size) {
    *data = shm->data;
    *size = shm->size;
    return 0;
}

int __wrap_mproc__os_process_is(pid_t pid, uint64_t when) {
    int r = __real_mproc__os_process_is(pid, when);
    judged = true;
    judged_dead = r != 1;
    return r;
}

/* The only sleep: for an owner that was looked at before and lives. */
int __wrap_mproc__os_futex_wait(const uint32_t *word, uint32_t value, int64_t timeout) {
    (void)word;
    (void)value;
    (void)timeout;
    MUST(judged && !judged_dead);
    longjmp(waiting, 1);
}

/* Where mproc_shareable_list_create() makes its segment. */
int __wrap_mproc__shm_make(struct mproc_shm **out, const char *name, const void *contents,
                           size_t size, const mproc_shm_options *options) {
    (void)name;
    (void)options;
    *out = malloc(sizeof **out);
    **out = (struct mproc_shm){malloc(size), size};
    memcpy((*out)->data, contents, size);
    return 0;
}

static void drop(struct mproc_shm *shm) {
    free(shm->data);
    free(shm);
}

/* ---------------------------------------------------------------- making */

static mproc_item next_item(struct feed *input, char room[ROOM]) {
    mproc_item item = {.kind = (enum mproc_item_kind)feed_below(input, 7)};
    item.integer = (int64_t)feed_u64(input);
    item.data = room;
    item.size = (size_t)feed_byte(input) << feed_below(input, 4);
    feed_bytes(input, room, item.size);
    return item;
}

static struct mproc_shm *true_list(struct feed *input) {
    static char room[8][ROOM];
    mproc_item items[8];
    struct mproc_shm *made = NULL;
    size_t n = feed_below(input, 9);
    for (size_t i = 0; i < n; i++) {
        items[i] = next_item(input, room[i]);
    }
    int r = mproc_shareable_list_create(&made, NULL, items, n, NULL);
    MUST(r == 0 || r == -EINVAL);
    return made;
}

static void scribble(struct mproc_shm *shm, struct feed *input) {
    size_t words = feed_below(input, 8);
    for (size_t i = 0; i < words && shm->size >= 8; i++) {
        size_t at = feed_u32(input) % (shm->size / 8) * 8;
        uint64_t value = feed_byte(input) & 1 ? feed_byte(input) : feed_u64(input);
        memcpy(shm->data + at, &value, 8);
    }
}

static void resize(struct mproc_shm *shm, struct feed *input) {
    size_t size = shm->size, change = feed_byte(input);
    if (change < 128) {
        size -= change < size ? change : size - 1;
    } else {
        size += change - 128;
    }
    char *data = calloc(1, size);
    memcpy(data, shm->data, size < shm->size ? size : shm->size);
    free(shm->data);
    *shm = (struct mproc_shm){data, size};
}

static struct mproc_shm *raw_list(struct feed *input) {
    struct mproc_shm *made = malloc(sizeof *made);
    size_t size = 1 + (feed_u32(input) % SIZE_MAX_HERE);
    *made = (struct mproc_shm){malloc(size), size};
    (void)feed_bytes(input, made->data, size < input->left ? size : input->left);
    if (size > 0) {
        size_t n = size < input->left ? size : input->left;
        memset(made->data + n, 0, size - n);
    }
    return made;
}

/* ---------------------------------------------------------------- operations */

static bool is_error(int r) {
    return r == -EBADMSG || r == -ERANGE || r == -EPROTO || r == -ENOBUFS;
}

static int get(struct mproc_shm *shm, size_t i, mproc_item *item, char *room, size_t size) {
    const mproc_item before = {.kind = MPROC_ITEM_NONE, .integer = 4711, .size = 4712};
    *item = before;
    int r = mproc_shareable_list_get(shm, i, item, room, size);
    MUST(r == 0 || is_error(r));
    if (r != 0) {
        MUST(item->integer == before.integer && item->size == before.size);
    } else if (item->kind == MPROC_ITEM_STR || item->kind == MPROC_ITEM_BYTES) {
        MUST(item->data == room && item->size <= size);
    }
    return r;
}

static bool same(const mproc_item *set, const mproc_item *got) {
    if (set->kind != got->kind) {
        return false;
    }
    switch (set->kind) {
    case MPROC_ITEM_INT: return set->integer == got->integer;
    case MPROC_ITEM_BOOL: return (set->integer != 0) == (got->integer != 0);
    case MPROC_ITEM_FLOAT: return memcmp(&set->number, &got->number, 8) == 0;
    case MPROC_ITEM_STR:
    case MPROC_ITEM_BYTES:
        return set->size == got->size && memcmp(set->data, got->data, got->size) == 0;
    case MPROC_ITEM_NONE: return true;
    }
    return false;
}

/* The look at the item before takes a change back that is under way, and what that leaves is
 * judged. */
static void set(struct mproc_shm *shm, size_t i, struct feed *input) {
    static char text[ROOM], room[ROOM * 2];
    char why[64];
    mproc_item item = next_item(input, text), got;
    (void)get(shm, i, &got, room, sizeof room);
    bool good = mproc_shareable_list_check(shm, why, sizeof why) == 0;
    int r = mproc_shareable_list_set(shm, i, &item);
    MUST(r == 0 || is_error(r) || r == -EINVAL || r == -EMSGSIZE);
    if (r == 0 && good) {
        MUST(get(shm, i, &got, room, sizeof room) == 0);
        MUST(same(&item, &got));
        MUST(mproc_shareable_list_check(shm, why, sizeof why) == 0);
    }
}

static void questions(struct mproc_shm *shm, size_t i) {
    size_t length = 4711, slot = 4711;
    char format[9];
    int r = mproc_shareable_list_length(shm, &length);
    MUST(r == 0 ? length <= shm->size / 8 : r == -EBADMSG && length == 4711);
    r = mproc_shareable_list_room(shm, i, &slot);
    MUST(r == 0 ? slot % 8 == 0 && slot > 0 && slot <= shm->size : is_error(r) && slot == 4711);
    r = mproc_shareable_list_format(shm, i, format);
    MUST(r == 0 ? strlen(format) <= 8 : is_error(r));
}

static void check(struct mproc_shm *shm) {
    static char room[64 << 10];
    char why[64] = {0};
    mproc_item item;
    size_t n = 0;
    (void)get(shm, 0, &item, room, sizeof room); /* takes a change back that is under way */
    int r = mproc_shareable_list_check(shm, why, sizeof why);
    MUST(r == 0 || (r == MPROC_ECORRUPT && why[0] == 'L'));
    if (r == 0) {
        MUST(mproc_shareable_list_length(shm, &n) == 0);
        for (size_t i = 0; i < n; i++) {
            MUST(get(shm, i, &item, room, sizeof room) == 0);
        }
    }
}

static void operate(struct mproc_shm *shm, struct feed *input) {
    static char room[ROOM];
    mproc_item item;
    for (int steps = 0; steps < 16; steps++) {
        uint8_t what = feed_byte(input);
        size_t i = what & 0x80 ? feed_u32(input) : (what >> 2) % 8;
        switch (what & 3) {
        case 0: (void)get(shm, i, &item, room, feed_byte(input) * 8u); break;
        case 1: set(shm, i, input); break;
        case 2: questions(shm, i); break;
        default: scribble(shm, input); break;
        }
    }
    check(shm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct mproc_shm *volatile shm; /* a jump must find it */
    struct feed input = {data, size};
    uint8_t how = feed_byte(&input);
    shm = how & 1 ? raw_list(&input) : true_list(&input);
    if (shm == NULL) {
        return 0;
    }
    if (how & 2) {
        resize(shm, &input);
    }
    if (how & 4) {
        scribble(shm, &input);
    }
    judged = false;
    if (setjmp(waiting) == 0) {
        operate(shm, &input);
    }
    drop(shm);
    return 0;
}
