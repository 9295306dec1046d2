/*
 * atomic.h - the only file that names memory orders
 *
 * SPDX-License-Identifier: MIT
 *
 * Shared words are plain fixed-width fields, read and written through these functions, so that the
 * undo record can save any of them. Besides the usual orders there is one that only a crash-safe
 * program needs: mproc__program_order(). A killed process has executed a prefix of its
 * instructions. The process that takes over its work learns of the death from the kernel, and by
 * then every store of that prefix is visible. So it is enough to keep the compiler from moving
 * stores: no fence instruction is needed.
 */
#ifndef MPROC_ATOMIC_H
#define MPROC_ATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

static inline uint32_t mproc__load32(const uint32_t *p) {
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline uint64_t mproc__load64(const uint64_t *p) {
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* For hints and statistics, and for words that the caller's lock protects. */
static inline uint32_t mproc__peek32(const uint32_t *p) {
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline uint64_t mproc__peek64(const uint64_t *p) {
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline void mproc__store32(uint32_t *p, uint32_t v) {
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline void mproc__store64(uint64_t *p, uint64_t v) {
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline void mproc__poke32(uint32_t *p, uint32_t v) {
    __atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline void mproc__poke64(uint64_t *p, uint64_t v) {
    __atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline unsigned char mproc__load_byte(const unsigned char *p) {
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void mproc__store_byte(unsigned char *p, unsigned char v) {
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline bool mproc__cas64(uint64_t *p, uint64_t *expected, uint64_t desired) {
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

static inline bool mproc__cas32(uint32_t *p, uint32_t *expected, uint32_t desired) {
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

static inline uint64_t mproc__exchange64(uint64_t *p, uint64_t v) {
    return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL);
}

static inline uint32_t mproc__exchange32(uint32_t *p, uint32_t v) {
    return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL);
}

static inline uint64_t mproc__add64(uint64_t *p, uint64_t v) {
    return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL);
}

static inline uint32_t mproc__add32(uint32_t *p, uint32_t v) {
    return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL);
}

/* Takes bits away; what was written before is seen by whoever then finds them gone. */
static inline uint32_t mproc__clear32(uint32_t *p, uint32_t bits) {
    return __atomic_fetch_and(p, ~bits, __ATOMIC_ACQ_REL);
}

/* ---- process ids, which the system itself writes into shared memory, too */

static inline pid_t mproc__load_pid(const pid_t *p) {
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void mproc__store_pid(pid_t *p, pid_t v) {
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline bool mproc__cas_pid(pid_t *p, pid_t *expected, pid_t desired) {
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

/* ---- for the numbers of programs, of any size */

#define MPROC__ATOMIC_NUMBER(bits)                                                                 \
    static inline void mproc__copy##bits(void *to, const void *from) {                             \
        uint##bits##_t v;                                                                          \
        __atomic_load((const uint##bits##_t *)from, &v, __ATOMIC_ACQUIRE);                         \
        __atomic_store((uint##bits##_t *)to, &v, __ATOMIC_RELEASE);                                \
    }
MPROC__ATOMIC_NUMBER(8)
MPROC__ATOMIC_NUMBER(16)
MPROC__ATOMIC_NUMBER(32)
MPROC__ATOMIC_NUMBER(64)
#undef MPROC__ATOMIC_NUMBER

/* One load and one store of `size` bytes: 1, 2, 4 or 8, aligned as is fit. */
static inline void mproc__copy_number(void *to, const void *from, size_t size) {
    switch (size) {
    case 1: mproc__copy8(to, from); break;
    case 2: mproc__copy16(to, from); break;
    case 4: mproc__copy32(to, from); break;
    default: mproc__copy64(to, from); break;
    }
}

#define MPROC__ATOMIC_SMALL(bits)                                                                  \
    static inline uint##bits##_t mproc__add##bits(uint##bits##_t *p, uint##bits##_t v) {           \
        return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL);                                         \
    }                                                                                              \
    static inline uint##bits##_t mproc__exchange##bits(uint##bits##_t *p, uint##bits##_t v) {      \
        return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL);                                        \
    }                                                                                              \
    static inline bool mproc__cas##bits(uint##bits##_t *p, uint##bits##_t *expected,               \
                                        uint##bits##_t desired) {                                  \
        return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_ACQ_REL,          \
                                           __ATOMIC_ACQUIRE);                                      \
    }
MPROC__ATOMIC_SMALL(8)
MPROC__ATOMIC_SMALL(16)
#undef MPROC__ATOMIC_SMALL

/* Orders a store before a later load of another word: the two halves of "announce, then look". */
static inline void mproc__full_fence(void) {
#if defined(__SANITIZE_THREAD__)
    /* ThreadSanitizer does not model fences; a read-modify-write on a private word is one for
     * it. */
    static uint32_t word;
    __atomic_fetch_add(&word, 1, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* The same where an atomic read-modify-write stands between the two: on x86 that is a fence
 * already. */
static inline void mproc__fence_after_rmw(void) {
#if defined(__x86_64__)
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
    mproc__full_fence();
#endif
}

/* Orders the stores before it, as others see them, before those after it: x86 does so by itself. */
static inline void mproc__store_fence(void) {
#if defined(__x86_64__)
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
    mproc__full_fence();
#endif
}

/* Orders the loads before it before those after it: x86 does so by itself. */
static inline void mproc__load_fence(void) {
#if defined(__x86_64__)
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
    mproc__full_fence();
#endif
}

/* Stores before this point are executed before stores after it: see the head comment. */
static inline void mproc__program_order(void) {
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void mproc__pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Fetches the cache line that has this address, to write it: a hint, whatever the address. On
 * x86-64 the compiler's builtin fetches it to read it, and the write has to fetch it again. */
static inline void mproc__fetch_to_write(uint64_t address) {
#ifdef __x86_64__
    __asm__ __volatile__("prefetchw (%0)" : : "r"(address));
#else
    __builtin_prefetch((const void *)(uintptr_t)address, 1);
#endif
}

#endif
