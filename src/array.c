/*
 * array.c - typed arrays of numbers, and a lock with each
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A header and the elements stand in one block. The functions that read and write
 * take the array's lock, which is recursive: a thread that holds it may go on using them. The
 * atomic functions need no lock, and do not wait for one that another thread holds.
 *
 * Shared state.
 *   header    constant once made.
 *   elements  under the array's lock, or by atomic operations, as the program decides.
 *
 * Invariants.
 *   A1  type is one of mproc_type, item its size, count at most what the block has room for.
 *   A2  lock is 0 in a raw array, and names a lock that goes with the array in any other.
 *
 * If a member dies here: an element of up to 8 bytes is old or new, since it is written by one
 * store. A member that dies in mproc_array_write() may leave some elements new and others old; the
 * thread that uses the array next is told by -EOWNERDEAD.
 */
#include <string.h>

#include "core/facts.h"
#include "core/family.h"
#include "core/kinds.h"
#include "core/make.h"
#include "lock.h"

struct mproc_array {
    struct mproc__object object;
    uint32_t type;
    uint32_t item;
    uint64_t count;
    uint64_t lock; /* mproc_rlock *, an object inside this one */
    uint64_t pad[5];
};

static_assert(sizeof(struct mproc_array) == 2 * MPROC__LINE,
              "elements are as aligned as the block");

void mproc__array_destroy(struct mproc__hand *hand, void *object) {
    struct mproc_array *array = object;
    mproc__object_destroy(hand, &array->lock);
}

/* ---------------------------------------------------------------- types */

size_t mproc_type_size(mproc_type type) {
    switch (type) {
    case MPROC_INT8:
    case MPROC_UINT8: return 1;
    case MPROC_INT16:
    case MPROC_UINT16: return 2;
    case MPROC_INT32:
    case MPROC_UINT32:
    case MPROC_FLOAT: return 4;
    case MPROC_INT64:
    case MPROC_UINT64:
    case MPROC_DOUBLE: return 8;
    }
    return 0;
}

static bool is_integer(mproc_type type) {
    return type >= MPROC_INT8 && type <= MPROC_UINT64;
}

/* The bits of an integer of that type as the widest one. */
static int64_t widen(mproc_type type, uint64_t bits) {
    switch (type) {
    case MPROC_INT8: return (int8_t)bits;
    case MPROC_UINT8: return (uint8_t)bits;
    case MPROC_INT16: return (int16_t)bits;
    case MPROC_UINT16: return (uint16_t)bits;
    case MPROC_INT32: return (int32_t)bits;
    case MPROC_UINT32: return (uint32_t)bits;
    default: return (int64_t)bits;
    }
}

/* ---------------------------------------------------------------- atomic operations */

static int check_place(mproc_type type, const void *at) {
    return is_integer(type) && (uintptr_t)at % mproc_type_size(type) == 0 ? 0 : -EINVAL;
}

int mproc_atomic_add(mproc_type type, void *at, int64_t n, int64_t *old) {
    uint64_t was, by = (uint64_t)n;
    int r = check_place(type, at);
    if (r != 0) {
        return r;
    }
    switch (mproc_type_size(type)) {
    case 1: was = mproc__add8(at, (uint8_t)by); break;
    case 2: was = mproc__add16(at, (uint16_t)by); break;
    case 4: was = mproc__add32(at, (uint32_t)by); break;
    default: was = mproc__add64(at, by); break;
    }
    if (old != NULL) {
        *old = widen(type, was);
    }
    return 0;
}

int mproc_atomic_exchange(mproc_type type, void *at, int64_t value, int64_t *old) {
    uint64_t was, is = (uint64_t)value;
    int r = check_place(type, at);
    if (r != 0) {
        return r;
    }
    switch (mproc_type_size(type)) {
    case 1: was = mproc__exchange8(at, (uint8_t)is); break;
    case 2: was = mproc__exchange16(at, (uint16_t)is); break;
    case 4: was = mproc__exchange32(at, (uint32_t)is); break;
    default: was = mproc__exchange64(at, is); break;
    }
    if (old != NULL) {
        *old = widen(type, was);
    }
    return 0;
}

#define COMPARE_EXCHANGE(bits)                                                                     \
    {                                                                                              \
        uint##bits##_t seen = (uint##bits##_t) * was;                                              \
        bool done = mproc__cas##bits(at, &seen, (uint##bits##_t)desired);                          \
        *was = seen;                                                                               \
        return done;                                                                               \
    }

static bool compare_exchange(size_t size, void *at, uint64_t *was, uint64_t desired) {
    switch (size) {
    case 1: COMPARE_EXCHANGE(8)
    case 2: COMPARE_EXCHANGE(16)
    case 4: COMPARE_EXCHANGE(32)
    default: COMPARE_EXCHANGE(64)
    }
}

/* What the type cannot hold is never there: the value is merely read then, by adding nothing. */
int mproc_atomic_compare_exchange(mproc_type type, void *at, int64_t *expected, int64_t desired) {
    uint64_t was = (uint64_t)*expected;
    int r = check_place(type, at);
    if (r != 0) {
        return r;
    }
    if (widen(type, was) != *expected) {
        return mproc_atomic_add(type, at, 0, expected);
    }
    bool done = compare_exchange(mproc_type_size(type), at, &was, (uint64_t)desired);
    if (!done) {
        *expected = widen(type, was);
    }
    return done ? 1 : 0;
}

/* ---------------------------------------------------------------- making */

struct plan {
    mproc_type type;
    size_t item;
    size_t count;
    bool locked;
};

static int fill(struct mproc__hand *hand, void *object, const void *arg) {
    const struct plan *plan = arg;
    struct mproc_array *array = object;
    array->type = plan->type;
    array->item = (uint32_t)plan->item;
    array->count = plan->count;
    return plan->locked ? mproc__rlock_make(hand, &array->lock) : 0;
}

static int make(mproc_array **out, mproc_type type, size_t n, bool locked) {
    const struct plan plan = {type, mproc_type_size(type), n, locked};
    if (plan.item == 0) {
        return -EINVAL;
    }
    if (n > (SIZE_MAX - sizeof(mproc_array)) / plan.item) {
        return MPROC_ETOOBIG;
    }
    size_t size = sizeof(mproc_array) + n * plan.item;
    return mproc__object_build(out, MPROC__KIND_ARRAY, size, fill, &plan);
}

int mproc_array_new(mproc_array **out, mproc_type type, size_t n) {
    return make(out, type, n, true);
}

int mproc_array_new_raw(mproc_array **out, mproc_type type, size_t n) {
    return make(out, type, n, false);
}

/* ---------------------------------------------------------------- looking */

size_t mproc_array_count(const mproc_array *array) {
    if (!mproc__expect(array, MPROC__KIND_ARRAY)) {
        return 0;
    }
    return array->count;
}

mproc_type mproc_array_type(const mproc_array *array) {
    if (!mproc__expect(array, MPROC__KIND_ARRAY)) {
        return (mproc_type)0;
    }
    return (mproc_type)array->type;
}

void *mproc_array_data(mproc_array *array) {
    if (!mproc__expect(array, MPROC__KIND_ARRAY)) {
        return NULL;
    }
    return array + 1;
}

mproc_rlock *mproc_array_lock(mproc_array *array) {
    if (!mproc__expect(array, MPROC__KIND_ARRAY)) {
        return NULL;
    }
    return (mproc_rlock *)(uintptr_t)array->lock;
}

static mproc_rlock *lock_of(const mproc_array *array) {
    return (mproc_rlock *)(uintptr_t)array->lock;
}

static void *element(mproc_array *array, size_t i) {
    return (char *)(array + 1) + i * array->item;
}

/* ---------------------------------------------------------------- reading and writing */

/* 0 or -EOWNERDEAD: the lock is held; other errors: it is not. */
static int enter(mproc_array *array) {
    return array->lock != 0 ? mproc_rlock_acquire(lock_of(array), MPROC_FOREVER) : 0;
}

static void leave(mproc_array *array) {
    if (array->lock != 0) {
        (void)mproc_rlock_release(lock_of(array));
    }
}

static int check_range(const mproc_array *array, size_t first, size_t n) {
    return first <= array->count && n <= array->count - first ? 0 : -ERANGE;
}

int mproc_array_get(mproc_array *array, size_t i, void *out) {
    if (!mproc__expect(array, MPROC__KIND_ARRAY)) {
        return MPROC_EOTHER;
    }
    const mproc_rlock *lock = lock_of(array);
    if (i < array->count && lock != NULL &&
        mproc__rlock_load(lock, array->item, element(array, i), out) == 0) {
        return 0;
    }
    int r = i < array->count ? enter(array) : -ERANGE;
    if (r == 0 || r == -EOWNERDEAD) {
        mproc__copy_number(out, element(array, i), array->item);
        leave(array);
    }
    return r;
}

int mproc_array_set(mproc_array *array, size_t i, const void *lent) {
    if (!mproc__expect(array, MPROC__KIND_ARRAY)) {
        return MPROC_EOTHER;
    }
    mproc_rlock *lock = lock_of(array);
    if (i < array->count && lock != NULL &&
        mproc__rlock_store(lock, array->item, element(array, i), lent) == 0) {
        return 0;
    }
    int r = i < array->count ? enter(array) : -ERANGE;
    if (r == 0 || r == -EOWNERDEAD) {
        mproc__copy_number(element(array, i), lent, array->item);
        leave(array);
    }
    return r;
}

int mproc_array_read(mproc_array *array, size_t first, size_t n, void *out) {
    if (!mproc__expect(array, MPROC__KIND_ARRAY)) {
        return MPROC_EOTHER;
    }
    int r = check_range(array, first, n);
    if (r == 0) {
        r = enter(array);
    }
    if (r == 0 || r == -EOWNERDEAD) {
        memcpy(out, element(array, first), n * array->item);
        leave(array);
    }
    return r;
}

int mproc_array_write(mproc_array *array, size_t first, size_t n, const void *lent) {
    if (!mproc__expect(array, MPROC__KIND_ARRAY)) {
        return MPROC_EOTHER;
    }
    int r = check_range(array, first, n);
    if (r == 0) {
        r = enter(array);
    }
    if (r == 0 || r == -EOWNERDEAD) {
        memcpy(element(array, first), lent, n * array->item);
        leave(array);
    }
    return r;
}

int mproc_array_add(mproc_array *array, size_t i, int64_t n, int64_t *old) {
    if (!mproc__expect(array, MPROC__KIND_ARRAY)) {
        return MPROC_EOTHER;
    }
    return i < array->count ? mproc_atomic_add((mproc_type)array->type, element(array, i), n, old)
                            : -ERANGE;
}

int mproc_array_exchange(mproc_array *array, size_t i, int64_t value, int64_t *old) {
    if (!mproc__expect(array, MPROC__KIND_ARRAY)) {
        return MPROC_EOTHER;
    }
    return i < array->count
               ? mproc_atomic_exchange((mproc_type)array->type, element(array, i), value, old)
               : -ERANGE;
}

int mproc_array_compare_exchange(mproc_array *array, size_t i, int64_t *expected, int64_t desired) {
    if (!mproc__expect(array, MPROC__KIND_ARRAY)) {
        return MPROC_EOTHER;
    }
    return i < array->count ? mproc_atomic_compare_exchange((mproc_type)array->type,
                                                            element(array, i), expected, desired)
                            : -ERANGE;
}

/* ---------------------------------------------------------------- check */

int mproc_array_check(const mproc_array *array, char *why, size_t size) {
    if (!mproc__object_is(array, MPROC__KIND_ARRAY)) {
        return mproc__corrupt(why, size, "A: %p is no array", (const void *)array);
    }
    size_t room = mproc__heap_size(array) - sizeof *array;
    if (array->item == 0 || array->item != mproc_type_size((mproc_type)array->type) ||
        array->count > room / array->item) {
        return mproc__corrupt(why, size, "A1: %llu elements of type %u, %u bytes each",
                              (unsigned long long)array->count, array->type, array->item);
    }
    if (array->lock != 0) {
        return mproc_rlock_check((const mproc_rlock *)(uintptr_t)array->lock, why, size);
    }
    return 0;
}

/* ---------------------------------------------------------------- from outside */

bool mproc__array_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_array *array = copy;
    if (size < sizeof *array) {
        return false;
    }
    out->count = array->count;
    out->bytes = array->count * array->item;
    out->inside[0] = array->lock;
    return true;
}
