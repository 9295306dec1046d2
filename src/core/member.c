/*
 * member.c - the processes of the family and what each has in its hands
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A starter reserves a slot for its child (UNBORN), copies or takes the child's holds
 * into it, then starts the child, which adopts the slot (LIVE). There is no orderly way out: a member
 * that exits is noticed and reaped exactly as one that was killed, by its parent when that collects
 * its status, or by whoever needs what it held. While it is reaped the slot is DYING.
 *
 * Shared state.
 *   slot->state   FREE -> UNBORN and DYING -> FREE under the table's guard; UNBORN -> LIVE by the child,
 *                 anything -> DYING by the reaper, each a compare-and-swap: one of two wins.
 *   slot->*       the starter's until the child adopts, the child's until it dies, then the reaper's.
 *   hands         the member's own; the reaper's once the member is dead.
 *
 * Invariants.
 *   P1  A serial is given once; a token therefore names at most one process, for ever.
 *   P2  A LIVE slot's pid is its process', and was at `born`; `life` is its first thread's, or nobody's.
 *   P3  A FREE slot holds nothing: no records, no args, empty hands.
 *
 * If a member dies here: reserved slots of a dead starter are reaped like members; a reaper that dies
 * leaves the slot DYING and the reaper mutex with a dead owner, and the next one goes on: each step
 * empties a word.
 *
 * Order of reaping: first the sections that the dead member was in, so that its hands are what the
 * last committed section left; then its hands; then its holds and its arguments.
 */
#include "core/member.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/family.h"
#include "system/os.h"

#define SHARED_HAND (MPROC__HANDS - 1) /* for threads that find no hand free; under `sharing` */
#define LOOK_AFTER 2                   /* members that every birth looks after */
#define CHILDREN_MAX 1024              /* of a process with more, an early death stays unnoticed */

struct mproc__self mproc__process_self;
MPROC__THREAD struct mproc__self *mproc__thread_self;
MPROC__THREAD uint64_t mproc__thread_id;
MPROC__THREAD struct mproc__hand *mproc__thread_hand;
static _Thread_local uint64_t next_fork;
static pthread_mutex_t sharing = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t hand_key;

uint64_t mproc__thread_ask(void) {
    mproc__thread_id = (uint64_t)getpid() << 32 | (uint32_t)mproc__os_tid();
    return mproc__thread_id;
}

static struct mproc__members *members(void) {
    return &mproc__family->members;
}

/* ---------------------------------------------------------------- tokens */

static uint64_t state_of(uint64_t token, enum mproc__slot_state state) {
    return token >> 32 << 8 | (uint64_t)state;
}

static pid_t pid_of(const struct mproc__slot *slot) {
    return __atomic_load_n(&slot->pid, __ATOMIC_ACQUIRE);
}

static bool has_slot(pid_t pid) {
    for (uint32_t i = 0; i < mproc__members_seen(); i++) {
        if (pid_of(&mproc__family->slots[i]) == pid) {
            return true;
        }
    }
    return false;
}

/* Is every living child of the process known by its own slot? */
static bool children_known(pid_t parent) {
    pid_t children[CHILDREN_MAX];
    int n = mproc__os_process_children(parent, children, CHILDREN_MAX);
    if (n < 0 || n > CHILDREN_MAX) {
        return false;
    }
    while (n-- > 0) {
        if (mproc__os_process_is(children[n], UINT64_MAX) != 0 && !has_slot(children[n])) {
            return false;
        }
    }
    return true;
}

/* A forked child that was killed before it could say its pid: it is not among its parent's children.
 * One that lives is, and has no slot of its own until it has said its pid. Twice, because a child whose
 * thread ends moves to another thread's list. */
static bool died_unknown(const struct mproc__slot *slot) {
    for (int i = 0; i < 2; i++) {
        if (!children_known(slot->ppid) || pid_of(slot) != MPROC__PID_UNKNOWN) {
            return false;
        }
    }
    return true;
}

/* Has the process of a LIVE slot, or of an UNBORN one whose starter told the pid, ended? */
static bool process_ended(const struct mproc__slot *slot, unsigned state) {
    pid_t pid = pid_of(slot);
    if (pid == 0 || pid == mproc__self_pid()) {
        return false;
    }
    if (pid == MPROC__PID_UNKNOWN) {
        return died_unknown(slot);
    }
    return mproc__os_process_is(pid, state == MPROC__SLOT_LIVE ? slot->born : UINT64_MAX) == 0;
}

/* What the slot says counts if it is still the same member's afterwards. */
bool mproc__token_alive(uint64_t token) {
    uint32_t number = mproc__token_number(token);
    if (number >= MPROC__MEMBERS) {
        return false;
    }
    struct mproc__slot *slot = &mproc__family->slots[number];
    bool certain = mproc__os_life_certain(&slot->life);
    return certain && mproc__load64(&slot->state) == state_of(token, MPROC__SLOT_LIVE);
}

bool mproc__token_dead(uint64_t token) {
    if (mproc__token_alive(token)) {
        return false;
    }
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot == NULL) {
        return true;
    }
    unsigned state = mproc__load64(&slot->state) & 0xff;
    if (state == MPROC__SLOT_DYING || process_ended(slot, state)) {
        return true;
    }
    /* A child that has a pid is on its way, and a detached one comes without its starter. */
    return state == MPROC__SLOT_UNBORN && pid_of(slot) <= 0 &&
           mproc__token_dead(mproc__peek64(&slot->parent));
}

/* ---------------------------------------------------------------- hands */

static void return_hand(void *hand) {
    struct mproc__self *me = mproc__self();
    ptrdiff_t i = (struct mproc__hand *)hand - me->slot->hands;
    if (i >= 0 && i < MPROC__HANDS) {
        __atomic_fetch_and(&me->taken, ~(1u << i), __ATOMIC_RELEASE);
    }
    mproc__thread_hand = NULL;
}

struct mproc__hand *mproc__hand_take(void) {
    struct mproc__self *me = mproc__self();
    uint32_t taken = mproc__load32(&me->taken);
    for (;;) {
        uint32_t free = ~taken & ((1u << SHARED_HAND) - 1);
        if (free == 0) {
            pthread_mutex_lock(&sharing);
            return &me->slot->hands[SHARED_HAND];
        }
        uint32_t i = (uint32_t)__builtin_ctz(free);
        if (mproc__cas32(&me->taken, &taken, taken | 1u << i)) {
            mproc__thread_hand = &me->slot->hands[i];
            pthread_setspecific(hand_key, mproc__thread_hand);
            return mproc__thread_hand;
        }
    }
}

void mproc__hand_return_shared(void) {
    pthread_mutex_unlock(&sharing);
}

/* ---------------------------------------------------------------- death */

void mproc__hand_move(struct mproc__hand *hand, uint64_t *from, uint64_t *to) {
    mproc__poke64(&hand->moving, (uint64_t)(uintptr_t)to);
    mproc__program_order();
    mproc__poke64(to, *from);
    mproc__program_order();
    mproc__poke64(from, 0);
    mproc__program_order();
    mproc__poke64(&hand->moving, 0);
}

/* A move that was cut short between its two stores is finished. */
static void finish_move(struct mproc__hand *dead) {
    uint64_t *to = (uint64_t *)(uintptr_t)dead->moving;
    if (to == NULL) {
        return;
    }
    if (to != &dead->block && dead->block == *to) {
        mproc__poke64(&dead->block, 0);
    }
    if (to != &dead->doomed && dead->doomed == *to) {
        mproc__poke64(&dead->doomed, 0);
    }
    mproc__poke64(&dead->moving, 0);
}

static void empty_hand(struct mproc__hand *mine, struct mproc__hand *dead) {
    finish_move(dead);
    if (dead->run != 0) {
        mproc__chunks_give(mine, &dead->run);
    }
    mproc__heap_free(mine, &dead->block);
    mproc__heap_free(mine, &dead->node);
    mproc__object_destroy(mine, &dead->doomed);
    mproc__object_destroy(mine, &dead->message);
}

static void finish_sections(struct mproc__hand *mine, struct mproc__slot *slot) {
    for (int i = 0; i < MPROC__HANDS; i++) {
        struct mproc__guard *guard = (struct mproc__guard *)(uintptr_t)slot->hands[i].guard;
        if (guard != NULL) {
            mproc__guard_enter(guard, mine); /* rolls back, or waits for who does */
            mproc__guard_leave(guard, mine);
            mproc__poke64(&slot->hands[i].guard, 0);
        }
    }
}

/* All under the guard, so that who lists members, or tells a pid, sees a slot whole or not at all. */
static void free_slot(struct mproc__hand *mine, struct mproc__slot *slot) {
    mproc__guard_enter(&members()->guard, mine);
    slot->parent = 0;
    __atomic_store_n(&slot->pid, 0, __ATOMIC_RELEASE);
    slot->ppid = 0;
    slot->born = 0;
    mproc__os_life_clear(&slot->life);
    slot->args_size = 0;
    slot->method = slot->flags = 0;
    memset(slot->name, 0, sizeof slot->name);
    mproc__guard_set(&members()->guard, &slot->state, MPROC__SLOT_FREE);
    mproc__guard_leave(&members()->guard, mine);
}

/* Under the reaper mutex; the slot is DYING. */
static void reap_slot(struct mproc__hand *mine, struct mproc__slot *slot) {
    finish_sections(mine, slot);
    for (int i = 0; i < MPROC__HANDS; i++) {
        empty_hand(mine, &slot->hands[i]);
    }
    mproc__holds_clear(mine, slot);
    mproc__shms_reap(mine, mproc__token((uint32_t)(slot - mproc__family->slots), slot->state >> 8));
    mproc__heap_free(mine, &slot->args);
    free_slot(mine, slot);
}

void mproc__member_bury(uint64_t token) {
    struct mproc__hand *hand = mproc__hand_get();
    (void)mproc__mutex_acquire(&members()->reaper, MPROC_FOREVER, MPROC__FOR_SECTION, NULL);
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot != NULL) {
        mproc__store64(&slot->state, state_of(token, MPROC__SLOT_DYING));
        reap_slot(hand, slot);
    }
    (void)mproc__mutex_release(&members()->reaper);
    mproc__hand_put(hand);
}

/* UNBORN and LIVE turn into DYING by compare-and-swap: an adopting child may be faster. */
static bool condemn(struct mproc__slot *slot, uint64_t token) {
    uint64_t state = mproc__load64(&slot->state);
    while (state >> 8 == token >> 32) {
        if ((state & 0xff) == MPROC__SLOT_DYING) {
            return true;
        }
        if ((state & 0xff) == MPROC__SLOT_FREE || !mproc__token_dead(token)) {
            return false;
        }
        if (mproc__cas64(&slot->state, &state, state_of(token, MPROC__SLOT_DYING))) {
            return true;
        }
    }
    return false;
}

bool mproc__member_reap(uint64_t token) {
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot == NULL) {
        return true;
    }
    if (!mproc__token_dead(token)) {
        return false;
    }
    struct mproc__hand *hand = mproc__hand_get();
    (void)mproc__mutex_acquire(&members()->reaper, MPROC_FOREVER, MPROC__FOR_SECTION, NULL);
    if (condemn(slot, token)) {
        reap_slot(hand, slot);
    }
    (void)mproc__mutex_release(&members()->reaper);
    mproc__hand_put(hand);
    return mproc__token_slot(token) == NULL;
}

static bool look_after(uint32_t number) {
    uint64_t state = mproc__load64(&mproc__family->slots[number].state);
    return (state & 0xff) != MPROC__SLOT_FREE &&
           mproc__member_reap(mproc__token(number, state >> 8));
}

size_t mproc_reap(void) {
    size_t found = 0;
    for (uint32_t i = 0; mproc__family != NULL && i < mproc__members_seen(); i++) {
        found += look_after(i);
    }
    return found;
}

/* ---------------------------------------------------------------- birth */

void mproc__members_init(void) {
    mproc__guard_init(&members()->guard, members()->log, MPROC__MEMBERS_UNDO);
}

/* Under the guard: a free slot's number, or MPROC__MEMBERS. Low ones first: they are warm. */
static uint32_t find_free(void) {
    uint32_t i = 0, top = mproc__members_seen();
    while (i < top && (mproc__peek64(&mproc__family->slots[i].state) & 0xff) != MPROC__SLOT_FREE) {
        i++;
    }
    return i;
}

static int reserve(struct mproc__hand *hand, uint64_t parent, enum mproc__slot_state state,
                   uint64_t *token) {
    struct mproc__members *all = members();
    mproc__guard_enter(&all->guard, hand);
    uint32_t i = find_free();
    if (i < MPROC__MEMBERS) {
        struct mproc__slot *slot = &mproc__family->slots[i];
        uint64_t serial = all->serial + 1;
        mproc__guard_set(&all->guard, &all->serial, serial);
        mproc__guard_set(&all->guard, &slot->parent, parent);
        mproc__guard_set(&all->guard, &slot->state, serial << 8 | state);
        if (i >= all->top) {
            mproc__guard_set(&all->guard, &all->top, i + 1);
        }
        *token = mproc__token(i, serial);
    }
    mproc__guard_leave(&all->guard, hand);
    return i < MPROC__MEMBERS ? 0 : MPROC_EMEMBERS;
}

/* Nobody may be waiting for a member that was forked by hand and died: births look after a few. */
static void look_after_some(void) {
    for (int i = 0; i < LOOK_AFTER; i++) {
        uint64_t turn = mproc__add64(&members()->hint, 1);
        look_after((uint32_t)(turn % mproc__members_seen()));
    }
}

int mproc__member_expect(const char *name, mproc_method method, unsigned flags, uint64_t *token) {
    look_after_some();
    struct mproc__hand *hand = mproc__hand_get();
    int r = reserve(hand, mproc__self_token(), MPROC__SLOT_UNBORN, token);
    mproc__hand_put(hand);
    if (r == MPROC_EMEMBERS && mproc_reap() > 0) {
        return mproc__member_expect(name, method, flags, token);
    }
    if (r == 0) {
        struct mproc__slot *slot = mproc__token_slot(*token);
        slot->method = method;
        slot->flags = flags;
        slot->ppid = getpid();
        strncpy(slot->name, name, sizeof slot->name - 1); /* the rest is zero */
    }
    return r;
}

/* Under the guard: the child may have lived and died already, and its slot must not be another's by the
 * time the pid is written. */
void mproc__member_expected_pid(uint64_t token, pid_t pid) {
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&members()->guard, hand);
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot != NULL && mproc__load64(&slot->state) == state_of(token, MPROC__SLOT_UNBORN)) {
        __atomic_store_n(&slot->pid, pid, __ATOMIC_RELEASE);
    }
    mproc__guard_leave(&members()->guard, hand);
    mproc__hand_put(hand);
}

static void become(uint64_t token) {
    mproc__process_self.token = token;
    mproc__process_self.slot = &mproc__family->slots[mproc__token_number(token)];
    mproc__process_self.taken = 0;
    mproc__thread_self = NULL;
    mproc__thread_hand = NULL;
    mproc__thread_id = 0;
}

static void identify(struct mproc__slot *slot) {
    slot->born = mproc__os_boot_now();
    slot->ppid = getppid();
    __atomic_store_n(&slot->pid, getpid(), __ATOMIC_RELEASE);
}

int mproc__member_adopt(uint64_t token) {
    struct mproc__slot *slot = mproc__token_slot(token);
    uint64_t state = state_of(token, MPROC__SLOT_UNBORN);
    if (slot == NULL || mproc__load64(&slot->state) != state) {
        return MPROC_ESTRANGER;
    }
    identify(slot);
    if (mproc__os_tid() == getpid()) { /* other threads may end before their process */
        mproc__os_life_begin(&slot->life);
    }
    if (!mproc__cas64(&slot->state, &state, state_of(token, MPROC__SLOT_LIVE))) {
        return MPROC_ESTRANGER;
    }
    become(token);
    return 0;
}

/* ---------------------------------------------------------------- fork() by anybody */

void mproc__member_next_fork(uint64_t token) {
    next_fork = token;
}

/* What the forking thread keeps between the handlers. */
static _Thread_local struct {
    uint64_t token; /* of the child, 0: none */
    bool ours;      /* reserved here, not by a starter that gives it up itself */
    int error;      /* errno as fork() found it */
} forking;

static void choose_slot(void) {
    forking.token = next_fork;
    forking.ours = next_fork == 0;
    next_fork = 0;
    if (mproc__family == NULL ||
        (forking.ours && mproc__member_expect("fork", (mproc_method)0, 0, &forking.token) != 0)) {
        forking.token = 0;
    }
}

/* A child for which there is no slot, or whose parent died meanwhile, goes on without a family. The
 * locks are taken in the order in which every other call takes them: a thread may have the shared hand
 * and want to change its holds. */
static void before_fork(void) {
    forking.error = errno;
    choose_slot();
    struct mproc__hand *hand = forking.token != 0 ? mproc__hand_get() : NULL;
    if (hand == NULL ||
        hand == mproc__thread_hand) { /* who has the shared one has locked this already */
        pthread_mutex_lock(&sharing);
    }
    mproc__holds_freeze();
    if (hand != NULL && mproc__holds_inherit(hand, forking.token) != 0) {
        fprintf(stderr, "mproc: no memory to give a forked child its parent's holds\n");
    }
    errno = 0;
}

/* From now on the child is there, or dead: see died_unknown(). It may have said its pid already. */
static void mark_forked(uint64_t token) {
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&members()->guard, hand);
    struct mproc__slot *slot = mproc__token_slot(token);
    int32_t nobody = 0;
    if (slot != NULL && mproc__load64(&slot->state) == state_of(token, MPROC__SLOT_UNBORN)) {
        (void)__atomic_compare_exchange_n(&slot->pid, &nobody, MPROC__PID_UNKNOWN, false,
                                          __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    mproc__guard_leave(&members()->guard, hand);
    mproc__hand_put(hand);
}

/* Nothing else says that fork() has failed; success leaves errno alone. */
static void after_fork_in_parent(void) {
    bool failed = errno == EAGAIN || errno == ENOMEM;
    int error = failed ? errno : forking.error;
    mproc__holds_thaw();
    pthread_mutex_unlock(&sharing);
    if (forking.ours && forking.token != 0) {
        if (failed) {
            mproc__member_bury(forking.token);
        } else {
            mark_forked(forking.token);
        }
    }
    if (errno != error) {
        errno = error;
    }
}

static void after_fork_in_child(void) {
    mproc__thread_id = 0;
    mproc__holds_thaw();
    pthread_mutex_unlock(&sharing);
    if (mproc__family == NULL) {
        return;
    }
    pthread_setspecific(hand_key, NULL);
    mproc__thread_hand = NULL;
    if (forking.token == 0 || mproc__member_adopt(forking.token) != 0) {
        mproc__family_forget();
    }
    errno = forking.error;
}

int mproc__member_after_fork_child(uint64_t token) {
    mproc__thread_id = 0;
    pthread_setspecific(hand_key, NULL);
    mproc__thread_hand = NULL;
    return mproc__member_adopt(token);
}

static void install_handlers(void) {
    pthread_key_create(&hand_key, return_hand);
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

int mproc__member_found(void) {
    struct mproc__hand cradle = {0}; /* nobody else is there to reap it */
    uint64_t token;
    int r = reserve(&cradle, 0, MPROC__SLOT_UNBORN, &token);
    if (r == 0) {
        snprintf(mproc__token_slot(token)->name, sizeof((struct mproc__slot *)0)->name, "main");
        r = mproc__member_adopt(token);
    }
    return r;
}

/* Runs when the library is loaded, before there can be a second thread or a fork. */
__attribute__((constructor)) static void at_load(void) {
    install_handlers();
}

/* ---------------------------------------------------------------- threads as members */

int mproc__thread_becomes_member(void) {
    uint64_t token;
    int r = mproc__member_expect("thread", (mproc_method)0, 0, &token);
    if (r != 0) {
        return r;
    }
    struct mproc__self *me = calloc(1, sizeof *me);
    if (me == NULL) {
        return -ENOMEM;
    }
    if (mproc__thread_hand != NULL) {
        return_hand(mproc__thread_hand);
    }
    me->token = token;
    me->slot = &mproc__family->slots[mproc__token_number(token)];
    identify(me->slot);
    mproc__store64(&me->slot->state, state_of(token, MPROC__SLOT_LIVE));
    mproc__thread_self = me;
    return 0;
}

void mproc__thread_leaves(void) {
    struct mproc__self *me = mproc__thread_self;
    if (mproc__thread_hand != NULL) {
        return_hand(mproc__thread_hand);
        pthread_setspecific(hand_key, NULL);
    }
    mproc__thread_self = NULL;
    mproc__member_bury(me->token);
    free(me);
}

/* ---------------------------------------------------------------- looking */

static void describe(const struct mproc__slot *slot, uint64_t state, mproc_member *out) {
    memset(out, 0, sizeof *out);
    out->pid = slot->pid;
    out->parent = slot->ppid;
    out->serial = state >> 8;
    out->born = slot->born;
    out->method = (mproc_method)slot->method;
    memcpy(out->name, slot->name, sizeof out->name);
    out->name[sizeof out->name - 1] = 0;
}

pid_t mproc_pid(void) {
    return mproc__self_pid();
}

int mproc_self(mproc_member *out) {
    if (mproc__family == NULL) {
        return MPROC_EINIT;
    }
    describe(mproc__self_slot(), mproc__load64(&mproc__self_slot()->state), out);
    return 0;
}

/* A slot that is LIVE stays whole while the guard is held. */
static bool describe_living(struct mproc__hand *hand, uint32_t number, mproc_member *out) {
    struct mproc__slot *slot = &mproc__family->slots[number];
    mproc__guard_enter(&members()->guard, hand);
    uint64_t state = mproc__load64(&slot->state);
    bool living = (state & 0xff) == MPROC__SLOT_LIVE;
    if (living) {
        describe(slot, state, out);
    }
    mproc__guard_leave(&members()->guard, hand);
    return living && !mproc__token_dead(mproc__token(number, state >> 8));
}

size_t mproc_members(mproc_member *out, size_t cap) {
    if (mproc__family == NULL) {
        return 0;
    }
    size_t n = 0;
    struct mproc__hand *hand = mproc__hand_get();
    for (uint32_t i = 0; i < mproc__members_seen(); i++) {
        mproc_member one;
        if (describe_living(hand, i, &one)) {
            if (n < cap) {
                out[n] = one;
            }
            n++;
        }
    }
    mproc__hand_put(hand);
    return n;
}

static int check_free(uint32_t number, char *why, size_t size) {
    struct mproc__slot *slot = &mproc__family->slots[number];
    uint64_t state = mproc__load64(&slot->state);
    if ((state & 0xff) != MPROC__SLOT_FREE) {
        return state >> 8 <= members()->serial
                   ? 0
                   : mproc__corrupt(why, size, "P1: slot %u has a serial of the future", number);
    }
    bool empty = slot->holds == 0 && slot->args == 0;
    for (int i = 0; empty && i < MPROC__HANDS; i++) {
        struct mproc__hand *h = &slot->hands[i];
        empty = h->guard == 0 && h->block == 0 && h->node == 0 && h->run == 0 && h->doomed == 0 &&
                h->message == 0;
    }
    return empty ? 0 : mproc__corrupt(why, size, "P3: free slot %u holds something", number);
}

int mproc_member_check(char *why, size_t size) {
    int r = mproc__family_need();
    if (r != 0) {
        return r;
    }
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&members()->guard, hand);
    for (uint32_t i = 0; r == 0 && i < mproc__members_seen(); i++) {
        r = check_free(i, why, size);
    }
    mproc__guard_leave(&members()->guard, hand);
    if (r == 0) {
        r = mproc__holds_check(hand, why, size);
    }
    mproc__hand_put(hand);
    return r;
}
