/*
 * family.c - the arena's mapping: founding a family, or entering one
 *
 * SPDX-License-Identifier: MIT
 *
 * The arena is a sealed memfd, mapped whole at one address in every member. The founder tries a
 * short list of addresses that programs, sanitizers included, leave free, and tells its children
 * the one that worked; a child maps it first thing, and an address that is taken there is
 * MPROC_EADDRESS.
 *
 * Pages come as they are touched. A memfd has no file system limit behind it, so touching raises
 * SIGBUS only where the system accounts strictly (vm.overcommit_memory is 2) and has no more; see
 * chunk.c. What bounds the family is `limit`, checked when memory is allocated. The mapping is much
 * larger than that, since a run of chunks needs adjacent ones. It is smaller where the user or the
 * system's limits say so.
 */
#include "core/family.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/member.h"
#include "core/reason.h"
#include "core/setting.h"
#include "core/witness.h"
#include "system/os.h"

static_assert(sizeof(struct mproc__slot) == 2048, "a slot is half a page");
static_assert(offsetof(struct mproc__slot, hands) % MPROC__LINE == 0, "a hand is a cache line");
static_assert(sizeof(struct mproc__hand) == MPROC__LINE, "a hand is a cache line");
static_assert(sizeof(struct mproc__class) % MPROC__LINE == 0, "classes share no cache line");
static_assert(offsetof(struct mproc__family, heap) % MPROC__LINE == 0, "classes are aligned");

struct mproc__family *mproc__family;

static int family_fd = -1;
static uint64_t mapped;       /* bytes that this process has mapped, from mproc__family on */
static bool attaching;        /* this process says that it is a member's, and was started as one */
static uint64_t family_inode; /* of the arena: the program may close the number, and use it again */

/* Free under plain, ASan and TSan programs alike (300 starts with ASLR each); the second is for
 * programs that map something large at the first; the last ones fail under TSan, or ASan. */
static const uint64_t candidates[] = {
    UINT64_C(0x7e8000000000),
    UINT64_C(0x7d8000000000),
    UINT64_C(0x7b8000000000),
    UINT64_C(0x200000000000),
};

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

#define SPAN_MAX ((uint64_t)64 << 30)
/* The members' table, and a MiB for what the family is about. */
#define SPAN_MIN                                                                                   \
    ((sizeof(struct mproc__family) + MIB + MPROC__CHUNK - 1) / MPROC__CHUNK * MPROC__CHUNK)
static_assert(SPAN_MIN <= 20000 * 512, "`ulimit -f 20000` is enough, in shells that count by 512");
/* Address space for each byte that a user allows: runs of many lengths leave gaps. */
#define SPAN_OF_LIMIT 16
#define SPAN_OF_LIMIT_MIN (64 * MIB)
/* A process whose address space is limited needs most of it for itself. */
#define SHARE_OF_SPACE 4

/* A file of another file system may have the inode, but not the size too. */
int mproc__family_fd(void) {
    size_t size = 0;
    uint64_t inode = 0;
    bool same = mproc__os_file_look(family_fd, &size, &inode) == 0 && inode == family_inode &&
                size == mproc__family->span;
    return same ? family_fd : MPROC_EARENA;
}

static void set_fd(int fd) {
    size_t size;
    family_fd = fd;
    (void)mproc__os_file_look(fd, &size, &family_inode); /* it is open: nothing can fail */
    mproc__witness_enter(fd);
}

/* ---------------------------------------------------------------- founding */

/* What a family is to be founded with. */
struct plan {
    uint64_t limit; /* bytes that it may use; 0: as the system's memory allows */
    uint64_t span;  /* bytes of address space */
};

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t span_of_limit(uint64_t limit) {
    return limit >= SPAN_MAX / SPAN_OF_LIMIT ? SPAN_MAX
                                             : larger(limit * SPAN_OF_LIMIT, SPAN_OF_LIMIT_MIN);
}

static int read_settings(struct plan *out) {
    uint64_t limit = 0, span = 0;
    int r = mproc__setting_bytes("MPROC_ARENA_LIMIT", MPROC__CHUNK, &limit);
    if (r == 0) {
        r = mproc__setting_bytes("MPROC_ARENA_SPAN", SPAN_MIN, &span);
    }
    if (r != 0) {
        return r;
    }
    uint64_t most = span != 0 ? mproc__os_space_left() : mproc__os_space_left() / SHARE_OF_SPACE;
    if (span == 0) {
        span = limit != 0 ? span_of_limit(limit) : SPAN_MAX;
    }
    out->limit = limit;
    out->span = larger(smaller(span, most), SPAN_MIN) & ~(uint64_t)(MPROC__CHUNK - 1);
    return 0;
}

/* Each mechanism learns where its part of the arena is; NULL: there is no arena any more. */
static void point_at(struct mproc__family *f) {
    mproc__family = f;
    mproc__table_enter(f != NULL ? &f->table : NULL);
    mproc__registry_enter(f != NULL ? &f->registry : NULL);
    mproc__members_enter(f != NULL ? &f->members : NULL);
    mproc__shms_enter(f != NULL ? &f->shms : NULL);
    mproc__labels_enter(f != NULL ? &f->labels : NULL);
    mproc__bells_enter(f != NULL ? &f->bells : NULL);
    mproc__chunks_enter(f != NULL ? &f->chunks : NULL);
    mproc__heap_enter(f != NULL ? &f->heap : NULL);
    mproc__trace_enter(f != NULL ? &f->trace : NULL);
}

static void lay_out(struct mproc__family *f, uint64_t span, uint64_t limit) {
    uint64_t base = (uint64_t)(uintptr_t)f;
    f->base = base;
    f->span = span;
    f->mapped = span;
    f->layout = mproc__layout;
    mproc__registry_init(&f->registry);
    mproc__members_init(&f->members);
    mproc__shms_init(&f->shms);
    mproc__labels_init(&f->labels);
    mproc__chunks_init(&f->chunks, base + sizeof *f, base + span, limit >> MPROC__CHUNK_SHIFT);
    mproc__heap_init(&f->heap);
    mproc__store64(&f->magic, MPROC__MAGIC); /* SYNC(family.magic): the layout, before it is one */
}

static int map_somewhere(int fd, uint64_t span, uint64_t *base) {
    int r = MPROC_EADDRESS;
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        r = mproc__os_memory_map(fd, (void *)(uintptr_t)candidates[i], span);
        if (r == 0) {
            mapped = span;
            *base = candidates[i];
            return 0;
        }
    }
    return r == -EEXIST ? MPROC_EADDRESS : r;
}

static int reserve_span(uint64_t span, uint64_t *base) {
    int fd = mproc__os_memory_new("mproc", span);
    if (fd < 0) {
        return fd;
    }
    int r = map_somewhere(fd, span, base);
    if (r != 0) {
        mproc__os_close(fd);
        return r;
    }
    set_fd(fd);
    return 0;
}

/* Half of it when it cannot be had, down to the least; the file behind it must be allowed, too. */
static int reserve_about(uint64_t *span, uint64_t *base) {
    uint64_t most = mproc__os_memory_most() & ~(uint64_t)(MPROC__CHUNK - 1);
    uint64_t size = smaller(*span, most);
    int r = -EFBIG;
    while (r != 0 && size >= SPAN_MIN) {
        r = reserve_span(size, base);
        *span = size;
        size = size == SPAN_MIN ? 0 : larger(size / 2, SPAN_MIN);
    }
    return r;
}

static int explain_space(void) {
    const uint64_t need = SPAN_MIN / KIB, left = mproc__os_space_left();
    if (left == UINT64_MAX) {
        return mproc__reason_say(-ENOMEM, "the system has no %" PRIu64 " KiB of address space",
                                 need);
    }
    return mproc__reason_say(-ENOMEM,
                             "the arena needs %" PRIu64 " KiB of address space, and RLIMIT_AS "
                             "(ulimit -v) leaves %" PRIu64 " KiB",
                             need, left / KIB);
}

static int explain_file(void) {
    const uint64_t need = SPAN_MIN / KIB, most = mproc__os_memory_most() / KIB;
    return mproc__reason_say(-ENOMEM,
                             "the arena's file needs %" PRIu64 " KiB, and the hard limit of "
                             "RLIMIT_FSIZE (ulimit -f) allows %" PRIu64 " KiB",
                             need, most);
}

/* A failure in words, and as one of the errors of joining. */
static int explain(int r) {
    switch (r) {
    case -EFBIG: return explain_file();
    case -ENOMEM: return explain_space();
    case -EAGAIN:
        return mproc__reason_say(-ENOMEM, "the process locks its memory (mlockall), and "
                                          "RLIMIT_MEMLOCK (ulimit -l) is too low for the arena");
    case -EMFILE:
        return mproc__reason_say(r, "the arena needs a descriptor, and RLIMIT_NOFILE (ulimit -n) "
                                    "leaves none");
    case -ENFILE: return mproc__reason_say(r, "the system has no file left for the arena");
    case MPROC_EADDRESS:
        return mproc__reason_say(r, "something is mapped at each address where the arena may be");
    default:
        return mproc__reason_say(r, "the system refuses the arena's memory, memfd_create(2): %s",
                                 mproc_strerror(r));
    }
}

static int found_family(void) {
    struct plan plan;
    uint64_t base = 0;
    int r = read_settings(&plan);
    if (r != 0) {
        return r;
    }
    r = reserve_about(&plan.span, &base);
    if (r != 0) {
        return explain(r);
    }
    lay_out((struct mproc__family *)(uintptr_t)base, plan.span, plan.limit);
    point_at((struct mproc__family *)(uintptr_t)base);
    return mproc__member_found();
}

/* ---------------------------------------------------------------- coming as a started child */

struct invitation {
    int fd;
    uint64_t base, span, token, starter, mapped;
    unsigned starter_pid; /* 0: not said */
};

void mproc__family_describe(uint64_t token, char out[MPROC__ENV_MAX]) {
    snprintf(out, MPROC__ENV_MAX,
             MPROC__ENV "=%x:%" PRIx64 ":%" PRIx64 ":%" PRIx64 ":%" PRIx64 ":%x:%" PRIx64,
             (unsigned)family_fd, mproc__family->base, mproc__family->span, token,
             mproc__self_token(), (unsigned)mproc__os_pid(), mproc__peek64(&mproc__family->mapped));
}

static bool read_invitation(struct invitation *out) {
    const char *text = getenv(MPROC__ENV);
    unsigned fd;
    *out = (struct invitation){0};
    bool good = text != NULL &&
                sscanf(text, "%x:%" SCNx64 ":%" SCNx64 ":%" SCNx64 ":%" SCNx64 ":%x:%" SCNx64, &fd,
                       &out->base, &out->span, &out->token, &out->starter, &out->starter_pid,
                       &out->mapped) >= 5;
    out->mapped = out->mapped != 0 ? smaller(out->mapped, out->span) : out->span;
    unsetenv(MPROC__ENV);
    out->fd = good ? (int)fd : -1;
    return good && out->token == mproc__token(mproc__token_number(out->token), out->token >> 32);
}

/* Is there a wrapper between the starter and this process? Only one that says that it is the member
 * which was started may come by another parent. */
static bool is_wrapped(const struct mproc__slot *slot, const struct invitation *t) {
    return attaching && (slot->flags & MPROC_WRAPPED) != 0 &&
           slot->ppid != mproc__os_parent_pid() && !mproc__token_dead(t->starter);
}

/* The mark is made while the slot is this process' own already, and read by it only. */
static int adopt_wrapped(struct mproc__slot *slot, uint64_t token) {
    int r = mproc__member_adopt(token);
    if (r == 0) {
        slot->flags |= MPROC__CAME_WRAPPED;
    }
    return r;
}

/* A stranger may have inherited the words in its environment: they mean nothing to it. But if the
 * starter of a child has died meanwhile (-ESRCH), the child must not take itself for a program that
 * the user has started. Only a detached child carries on without a starter. */
static int take_reserved_place(const struct invitation *t) {
    struct mproc__slot *slot = mproc__token_slot(t->token);
    pid_t told = slot != NULL ? mproc__load_pid(&slot->pid) : 0;
    if (slot != NULL && is_wrapped(slot, t)) {
        return adopt_wrapped(slot, t->token);
    }
    if (told != 0 && told != mproc__os_pid()) {
        return MPROC_ESTRANGER;
    }
    if (slot != NULL &&
        (slot->ppid == mproc__os_parent_pid() || (slot->flags & MPROC_DETACHED) != 0)) {
        return mproc__member_adopt(t->token);
    }
    return mproc__token_dead(t->starter) ? -ESRCH : MPROC_ESTRANGER;
}

static int accept_invitation(const struct invitation *t) {
    struct mproc__family *f = (struct mproc__family *)(uintptr_t)t->base;
    /* SYNC(family.magic) */
    if (mproc__load64(&f->magic) != MPROC__MAGIC || f->base != t->base || f->span != t->span) {
        return MPROC_ESTRANGER;
    }
    if (f->layout != mproc__layout) {
        mproc__log("this program was built with another version of mproc than the one that "
                   "started it");
        return MPROC_EBUILD;
    }
    point_at(f);
    int r = take_reserved_place(t);
    if (r != 0) {
        point_at(NULL);
    }
    return r;
}

/* The arena is not there. A stranger that inherited the words does without; but the starter's own
 * child must not take itself for a program that the user has started: it would start children as
 * its parent does, and so would they. */
static int arena_is_gone(const struct invitation *t) {
    if (t->starter_pid == 0 || (pid_t)t->starter_pid != mproc__os_parent_pid()) {
        return MPROC_ESTRANGER;
    }
    mproc__log("the arena's descriptor was closed on the way to a started process");
    return MPROC_EARENA;
}

static int enter_family(const struct invitation *t) {
    /* Another file under that number may be shorter than what is read of it here. */
    if (t->span < SPAN_MIN || t->mapped < SPAN_MIN || !mproc__os_memory_is(t->fd, t->span)) {
        return arena_is_gone(t);
    }
    int r = mproc__os_memory_map(t->fd, (void *)(uintptr_t)t->base, t->mapped);
    if (r != 0) {
        return MPROC_EADDRESS;
    }
    r = accept_invitation(t);
    if (r != 0) {
        (void)mproc__os_memory_unmap((void *)(uintptr_t)t->base, t->mapped);
        return r;
    }
    mapped = t->mapped;
    set_fd(t->fd);
    return mproc__os_close_on_exec(t->fd);
}

/* ---------------------------------------------------------------- with less address space */

/* Other members may be about to say the same. */
static void tell_newcomers(uint64_t size) {
    uint64_t now = mproc__peek64(&mproc__family->mapped);
    while (size < now && !mproc__cas64(&mproc__family->mapped, &now, size)) {
    }
}

void mproc__family_fit(uint64_t space) {
    uint64_t taken = mproc__os_space_taken(), others = taken > mapped ? taken - mapped : 0;
    uint64_t share = space > others ? (space - others) / SHARE_OF_SPACE : 0;
    if (share >= mapped) {
        return;
    }
    uint64_t base = (uint64_t)(uintptr_t)mproc__family;
    struct mproc__hand *hand = mproc__hand_get();
    uint64_t left = mproc__chunks_bound(hand, base + share) - base;
    mproc__hand_put(hand);
    tell_newcomers(left);
    if (left < mapped) {
        (void)mproc__os_memory_unmap((void *)(uintptr_t)(base + left), mapped - left);
        mapped = left;
    }
}

/* ---------------------------------------------------------------- beginning and forgetting */

void mproc__family_attaching(void) {
    attaching = true;
}

int mproc__family_begin(void) {
    struct invitation invitation;
    mproc__reason_forget();
    if (read_invitation(&invitation)) {
        int r = enter_family(&invitation);
        if (r != MPROC_ESTRANGER) {
            return r == 0 ? 1 : r;
        }
    }
    return found_family();
}

void mproc__family_forget(void) {
    void *base = mproc__family;
    int fd = mproc__family_fd();
    point_at(NULL);
    (void)mproc__os_memory_unmap(base, mapped);
    if (fd >= 0) {
        mproc__os_close(fd);
    }
    family_fd = -1;
    mproc__witness_enter(-1);
}
