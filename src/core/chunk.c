/*
 * chunk.c - the arena's big pieces: runs of 64 KiB chunks
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The arena behind its tables is an array of chunks. A run of adjacent chunks is
 * allocated or free; free runs are either warm (pages resident) or cold (pages given back to the
 * system) and hang in bins by length. Neighbouring free runs of the same kind are merged at once
 * (boundary tags, Knuth, The Art of Computer Programming vol. 1, 2.5). Warm runs are taken first,
 * since touching a new page costs 20 times as much as reusing one; when more than a 64th of the
 * limit would be warm, a run's pages go back to the system before it is put away.
 *
 * The limit is looked up when it matters for the first time. To find the control groups and read
 * theirs takes longer than all else that a family begins with, and most families stay small. They
 * use up to UNASKED chunks, and keep up to UNASKED_WARM warm, without knowing.
 *
 * Under strict accounting (overcommit_memory is 2) the system sends SIGBUS when it has no page for
 * an address that is touched. So a run's pages are fetched when the run is taken, and a lack of
 * them is -ENOMEM. Whether that is so is looked up with the limit: before that, UNASKED chunks are
 * touched without asking. So are the descriptions of chunks, a page for each 4 MiB.
 *
 * Shared state: struct mproc__chunks and the chunks' descriptions, under `guard`; `table` and
 * `first` never change. `room` only falls, and not below `top`: when a member gives up the end of
 * its mapping. `limit` changes once, from 0 to what the first member finds that looks: by
 * compare-and-swap, without the guard; `strict` is set before it, by whoever looks. A description's
 * small-block fields belong to its class (heap.c) while its kind is SMALL; a run of length 1 turns
 * from RUN to SMALL and back under the class' guard.
 *
 * Invariants.
 *   C1  The chunks below `top` are a gapless sequence of runs; above it all are VIRGIN.
 *   C2  A free run of length n >= 2 ends in a TAIL with the same length; its inside is VIRGIN.
 *   C3  Each free run is in exactly the bin of its kind and length; links agree in both directions.
 *   C4  No two free runs of one kind are adjacent.
 *   C5  `used` and `warm` are the sums over the runs of these kinds.
 *   C6  `used` is no more than `limit`, or than UNASKED while that is 0.
 *
 * If a member dies here: the guard's undo record puts everything back; a run that was being taken
 * is free, one that was being given back is still the caller's word's. The system calls that
 * release pages run outside the section, on a run that is allocated.
 */
#include "core/chunk.h"

#include "system/os.h"

#define WARM 0
#define COLD 1
#define EXACT_BINS 32 /* lengths 1..32 have a bin each; longer ones share one per power of two */
#define WARM_SHARE ((uint64_t)64) /* one part of the limit may be warm */
#define UNASKED ((uint64_t)64)    /* chunks that may be in use before the limit is known */
#define UNASKED_WARM ((uint64_t)16)

static struct mproc__chunks *chunks;

static uint64_t chunk_up(uint64_t address) {
    return (address + MPROC__CHUNK - 1) & ~(uint64_t)(MPROC__CHUNK - 1);
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* The first chunk's place depends on the number of chunks, whose descriptions lie before it. */
void mproc__chunks_init(struct mproc__chunks *all, uint64_t table, uint64_t end, uint64_t limit) {
    uint64_t most = (end - table) / (MPROC__CHUNK + sizeof(struct mproc__chunk)) - 1;
    mproc__guard_init(&all->guard, all->log, MPROC__CHUNK_UNDO);
    all->table = table;
    all->first = chunk_up(table + most * sizeof(struct mproc__chunk));
    all->room = (end - all->first) >> MPROC__CHUNK_SHIFT;
    all->limit = smaller(limit, all->room);
}

void mproc__chunks_enter(struct mproc__chunks *all) {
    chunks = all;
}

struct mproc__chunk *mproc__chunk(uint64_t number) {
    return (struct mproc__chunk *)(uintptr_t)chunks->table + number;
}

void *mproc__chunk_address(uint64_t number) {
    return (void *)(uintptr_t)(chunks->first + (number << MPROC__CHUNK_SHIFT));
}

uint64_t mproc__chunk_number(const void *address) {
    return ((uint64_t)(uintptr_t)address - chunks->first) >> MPROC__CHUNK_SHIFT;
}

bool mproc__chunks_contain(const void *address) {
    return chunks != NULL && (uint64_t)(uintptr_t)address >= chunks->first &&
           mproc__chunk_number(address) < mproc__chunks_top();
}

uint64_t mproc__chunks_top(void) {
    return mproc__peek64(&chunks->top);
}

/* Three quarters of the memory that the machine or the control groups have, but never less than
 * what may be in use already. */
static uint64_t find_limit(void) {
    uint64_t most = (mproc__os_memory_total() / 4 * 3) >> MPROC__CHUNK_SHIFT;
    return smaller(most > UNASKED ? most : UNASKED, chunks->room);
}

uint64_t mproc__chunks_limit(void) {
    uint64_t limit = mproc__load64(&chunks->limit); /* SYNC(chunks.limit) */
    if (mproc__unlikely(limit == 0)) {
        uint64_t found = find_limit();
        mproc__poke64(&chunks->strict, mproc__os_memory_is_strict());
        /* SYNC(chunks.limit): the first member's finding is everybody's. */
        limit = mproc__cas64(&chunks->limit, &limit, found) ? found : limit;
    }
    return smaller(limit, mproc__peek64(&chunks->room));
}

/* Chunks that may be in use as far as is known. */
static uint64_t allowed(void) {
    uint64_t limit = mproc__load64(&chunks->limit); /* SYNC(chunks.limit) */
    return limit != 0 ? limit : smaller(UNASKED, chunks->room);
}

static bool may_be_warm(uint64_t n) {
    bool unasked = mproc__load64(&chunks->limit) == 0; /* SYNC(chunks.limit) */
    return (unasked && n <= UNASKED_WARM) || n <= mproc__chunks_limit() / WARM_SHARE;
}

size_t mproc__chunks_warm(void) {
    return mproc__peek64(&chunks->warm) << MPROC__CHUNK_SHIFT;
}

bool mproc__chunks_have_half(uint64_t n) {
    return mproc__peek64(&chunks->used) + n <= mproc__chunks_limit() / 2;
}

bool mproc__chunks_may_have(uint64_t n) {
    return n <= allowed() || n <= mproc__chunks_limit();
}

static unsigned bin_of(uint64_t length) {
    if (length <= EXACT_BINS) {
        return (unsigned)length - 1;
    }
    unsigned bin = EXACT_BINS + (63u - (unsigned)__builtin_clzll(length)) - 5;
    return bin < MPROC__CHUNK_BINS ? bin : MPROC__CHUNK_BINS - 1;
}

static unsigned kind_of(uint64_t number) {
    return mproc__chunk_kind(mproc__peek64(&mproc__chunk(number)->state));
}

static uint64_t length_of(uint64_t number) {
    return mproc__chunk_length(mproc__peek64(&mproc__chunk(number)->state));
}

static void set(uint64_t *word, uint64_t value) {
    mproc__guard_set(&chunks->guard, word, value);
}

static void bin_insert(int warmth, uint64_t number, uint64_t length) {
    uint64_t *head = &chunks->bins[warmth][bin_of(length)];
    struct mproc__chunk *c = mproc__chunk(number);
    set(&c->next, *head);
    set(&c->prev, 0);
    if (*head != 0) {
        set(&mproc__chunk(*head - 1)->prev, number + 1);
    }
    set(head, number + 1);
}

static void bin_remove(int warmth, uint64_t number, uint64_t length) {
    struct mproc__chunk *c = mproc__chunk(number);
    if (c->prev != 0) {
        set(&mproc__chunk(c->prev - 1)->next, c->next);
    } else {
        set(&chunks->bins[warmth][bin_of(length)], c->next);
    }
    if (c->next != 0) {
        set(&mproc__chunk(c->next - 1)->prev, c->prev);
    }
}

static void write_free_run(int warmth, uint64_t number, uint64_t length) {
    unsigned kind = warmth == WARM ? MPROC__CHUNK_WARM : MPROC__CHUNK_COLD;
    set(&mproc__chunk(number)->state, mproc__chunk_state(kind, 0, length));
    if (length > 1) {
        set(&mproc__chunk(number + length - 1)->state,
            mproc__chunk_state(MPROC__CHUNK_TAIL, 0, length));
    }
    bin_insert(warmth, number, length);
}

static void erase_tail(uint64_t number, uint64_t length) {
    if (length > 1) {
        set(&mproc__chunk(number + length - 1)->state, 0);
    }
}

/* ---------------------------------------------------------------- taking */

/* The first run of at least n chunks in the bins of one warmth: number + 1, or 0. */
static uint64_t find(int warmth, uint64_t n) {
    for (unsigned bin = bin_of(n); bin < MPROC__CHUNK_BINS; bin++) {
        for (uint64_t i = chunks->bins[warmth][bin]; i != 0; i = mproc__chunk(i - 1)->next) {
            if (length_of(i - 1) >= n) {
                return i;
            }
        }
    }
    return 0;
}

static void split(int warmth, uint64_t number, uint64_t n) {
    uint64_t length = length_of(number);
    bin_remove(warmth, number, length);
    erase_tail(number, length);
    if (length > n) {
        write_free_run(warmth, number + n, length - n);
    }
    if (warmth == WARM) {
        set(&chunks->warm, chunks->warm - n);
    }
}

/* Under the guard. The number + 1 of a run of n chunks that is nobody's now, or 0. */
static uint64_t carve(uint64_t n) {
    for (int warmth = WARM; warmth <= COLD; warmth++) {
        uint64_t i = find(warmth, n);
        if (i != 0) {
            split(warmth, i - 1, n);
            return i;
        }
    }
    uint64_t top = chunks->top;
    if (n > chunks->room - top) {
        return 0;
    }
    set(&chunks->top, top + n);
    return top + 1;
}

static int try_take(struct mproc__hand *hand, uint64_t n, uint64_t *word) {
    struct mproc__chunks *all = chunks;
    int r = -ENOMEM;
    if (!mproc__guard_enter_within(&all->guard, hand, MPROC__PATIENCE)) {
        return -ETIMEDOUT;
    }
    if (n <= allowed() - all->used) {
        uint64_t i = carve(n);
        if (i != 0) {
            set(&mproc__chunk(i - 1)->state, mproc__chunk_state(MPROC__CHUNK_RUN, 0, n));
            set(&all->used, all->used + n);
            set(word, (uint64_t)(uintptr_t)mproc__chunk_address(i - 1));
            r = 0;
        }
    }
    mproc__guard_leave(&all->guard, hand);
    return r;
}

uint64_t mproc__chunks_bound(struct mproc__hand *hand, uint64_t end) {
    struct mproc__chunks *all = chunks;
    uint64_t most = end > all->first ? (end - all->first) >> MPROC__CHUNK_SHIFT : 0;
    mproc__guard_enter(&all->guard, hand);
    most = most > all->top ? most : all->top;
    if (most < all->room) {
        set(&all->room, most);
    }
    most = all->room;
    mproc__guard_leave(&all->guard, hand);
    return all->first + (most << MPROC__CHUNK_SHIFT);
}

/* ---------------------------------------------------------------- giving back */

/* Grows [*number, *number + *length) over a free neighbour of the same warmth, taking that out. */
static void merge(int warmth, uint64_t *number, uint64_t *length) {
    unsigned kind = warmth == WARM ? MPROC__CHUNK_WARM : MPROC__CHUNK_COLD;
    uint64_t after = *number + *length;
    if (after < chunks->top && kind_of(after) == kind) {
        uint64_t n = length_of(after);
        bin_remove(warmth, after, n);
        set(&mproc__chunk(after)->state, 0);
        erase_tail(after, n);
        *length += n;
    }
    if (*number == 0) {
        return;
    }
    unsigned before = kind_of(*number - 1);
    uint64_t n = before == MPROC__CHUNK_TAIL ? length_of(*number - 1) : 1;
    uint64_t first = *number - n;
    if ((before == MPROC__CHUNK_TAIL || before == kind) && kind_of(first) == kind &&
        length_of(first) == n) {
        bin_remove(warmth, first, n);
        erase_tail(first, n);
        set(&mproc__chunk(*number)->state, 0);
        *number = first;
        *length += n;
    }
}

static void give(struct mproc__hand *hand, int warmth, uint64_t *word) {
    struct mproc__chunks *all = chunks;
    mproc__guard_enter(&all->guard, hand);
    uint64_t number = mproc__chunk_number((void *)(uintptr_t)*word);
    uint64_t length = length_of(number);
    set(&all->used, all->used - length);
    if (warmth == WARM) {
        set(&all->warm, all->warm + length);
    }
    set(&mproc__chunk(number)->state, 0);
    merge(warmth, &number, &length);
    write_free_run(warmth, number, length);
    set(word, 0);
    mproc__guard_leave(&all->guard, hand);
}

static void give_cold(struct mproc__hand *hand, uint64_t *word) {
    void *address = (void *)(uintptr_t)*word;
    size_t size = length_of(mproc__chunk_number(address)) << MPROC__CHUNK_SHIFT;
    int warmth = mproc__os_memory_release(address, size) == 0 ? COLD : WARM;
    give(hand, warmth, word);
}

void mproc__chunks_give(struct mproc__hand *hand, uint64_t *word) {
    uint64_t number = mproc__chunk_number((void *)(uintptr_t)*word);
    if (may_be_warm(mproc__peek64(&chunks->warm) + length_of(number))) {
        give(hand, WARM, word);
    } else {
        give_cold(hand, word);
    }
}

/* Takes any warm run into *word; false: there is none. */
static bool take_warm(struct mproc__hand *hand, uint64_t *word) {
    struct mproc__chunks *all = chunks;
    mproc__guard_enter(&all->guard, hand);
    uint64_t i = find(WARM, 1);
    if (i != 0) {
        uint64_t n = length_of(i - 1);
        split(WARM, i - 1, n);
        set(&mproc__chunk(i - 1)->state, mproc__chunk_state(MPROC__CHUNK_RUN, 0, n));
        set(&all->used, all->used + n);
        set(word, (uint64_t)(uintptr_t)mproc__chunk_address(i - 1));
    }
    mproc__guard_leave(&all->guard, hand);
    return i != 0;
}

/* Warm and cold neighbours do not merge; when nothing fits, all free memory is made cold, so that
 * fragments of both kinds become whole runs. */
static void consolidate(struct mproc__hand *hand, uint64_t *word) {
    while (take_warm(hand, word)) {
        give_cold(hand, word);
    }
}

/* The run that was just taken gets its pages, or is given back. */
static MPROC__NOINLINE int secure(struct mproc__hand *hand, uint64_t n, uint64_t *word) {
    int r = mproc__os_memory_secure((void *)(uintptr_t)*word, n << MPROC__CHUNK_SHIFT);
    if (r != 0) {
        give_cold(hand, word);
    }
    return r;
}

static int take_secured(struct mproc__hand *hand, uint64_t n, uint64_t *word) {
    int r = try_take(hand, n, word);
    if (r == 0 && mproc__unlikely(mproc__peek64(&chunks->strict) != 0)) {
        r = secure(hand, n, word);
    }
    return r;
}

int mproc__chunks_take(struct mproc__hand *hand, uint64_t n, uint64_t *word) {
    int r = take_secured(hand, n, word);
    if (r == -ENOMEM && mproc__chunks_limit() > UNASKED) {
        r = take_secured(hand, n, word);
    }
    if (r == -ENOMEM && mproc__peek64(&chunks->warm) != 0) {
        consolidate(hand, word);
        r = take_secured(hand, n, word);
    }
    return r;
}

/* ---------------------------------------------------------------- check */

struct census {
    uint64_t used, warm, free_runs[2];
};

static int check_run(uint64_t number, unsigned previous, struct census *seen, char *why,
                     size_t size) {
    uint64_t length = length_of(number);
    unsigned kind = kind_of(number);
    if (kind == MPROC__CHUNK_RUN || kind == MPROC__CHUNK_SMALL) {
        seen->used += length;
        return 0;
    }
    if (kind != MPROC__CHUNK_WARM && kind != MPROC__CHUNK_COLD) {
        return mproc__corrupt(why, size, "C1: chunk %llu has kind %u", (unsigned long long)number,
                              kind);
    }
    if (length > 1 && mproc__peek64(&mproc__chunk(number + length - 1)->state) !=
                          mproc__chunk_state(MPROC__CHUNK_TAIL, 0, length)) {
        return mproc__corrupt(why, size, "C2: run %llu has no tail", (unsigned long long)number);
    }
    if (kind == previous) {
        return mproc__corrupt(why, size, "C4: run %llu is not merged", (unsigned long long)number);
    }
    seen->warm += kind == MPROC__CHUNK_WARM ? length : 0;
    seen->free_runs[kind == MPROC__CHUNK_COLD]++;
    return 0;
}

static int check_bin(int warmth, unsigned bin, struct census *seen, char *why, size_t size) {
    uint64_t before = 0;
    for (uint64_t i = chunks->bins[warmth][bin]; i != 0; i = mproc__chunk(i - 1)->next) {
        unsigned kind = kind_of(i - 1);
        if (kind != (warmth == WARM ? MPROC__CHUNK_WARM : MPROC__CHUNK_COLD) ||
            bin_of(length_of(i - 1)) != bin || mproc__chunk(i - 1)->prev != before ||
            seen->free_runs[warmth]-- == 0) {
            return mproc__corrupt(why, size, "C3: bin %d/%u is wrong at chunk %llu", warmth, bin,
                                  (unsigned long long)(i - 1));
        }
        before = i;
    }
    return 0;
}

static int check_all(char *why, size_t size) {
    struct mproc__chunks *all = chunks;
    struct census seen = {0};
    unsigned previous = 0;
    uint64_t number = 0;
    while (number < all->top) {
        int r = check_run(number, previous, &seen, why, size);
        if (r != 0) {
            return r;
        }
        previous = kind_of(number);
        number += length_of(number);
    }
    if (number != all->top) {
        return mproc__corrupt(why, size, "C1: the last run ends behind the top");
    }
    if (seen.used != all->used || seen.warm != all->warm) {
        return mproc__corrupt(why, size, "C5: used %llu, counted %llu; warm %llu, counted %llu",
                              (unsigned long long)all->used, (unsigned long long)seen.used,
                              (unsigned long long)all->warm, (unsigned long long)seen.warm);
    }
    if (all->used > allowed()) {
        return mproc__corrupt(why, size, "C6: %llu chunks are in use, and %llu may be",
                              (unsigned long long)all->used, (unsigned long long)allowed());
    }
    for (int warmth = WARM; warmth <= COLD; warmth++) {
        for (unsigned bin = 0; bin < MPROC__CHUNK_BINS; bin++) {
            int r = check_bin(warmth, bin, &seen, why, size);
            if (r != 0) {
                return r;
            }
        }
    }
    if (seen.free_runs[WARM] != 0 || seen.free_runs[COLD] != 0) {
        return mproc__corrupt(why, size, "C3: a free run is in no bin");
    }
    return 0;
}

int mproc__chunks_check(struct mproc__hand *hand, char *why, size_t size) {
    mproc__guard_enter(&chunks->guard, hand);
    int r = check_all(why, size);
    mproc__guard_leave(&chunks->guard, hand);
    return r;
}
