/*
 * soak.c - eight processes at everything that synchronises or is shared, some killed at random
 *
 * SPDX-License-Identifier: MIT
 *
 * Each of the crew does one deed after the other, chosen at random: something with a lock, a condition, a
 * queue, ... The boss takes part where somebody has to (it sets the event, gives turns and permits, runs
 * a pool), kills one of the crew every few milliseconds, and puts another in its place. Some seconds
 * it kills nobody: then each of the crew has to get on. Whoever does not is a hang, and the boss prints
 * who waits for what and who holds it. In the end
 *
 *   what is guarded is whole: two words under a lock with an undo record are always equal; two under a
 *       lock without one differ only for the heir of who died between its stores, who is told, and of one
 *       dead holder one heir at most is told;
 *   nothing is lost but in the hands of the dead: what was added, put, given and released is there, or
 *       was got, or is in the balance of a deed that was cut short, one for each killed;
 *   all permits of the bounded semaphore are back, every object passes its check, and when all are
 *       dropped nothing is in use that was not before.
 *
 * A deed's effects are noted in the doer's record in the arena: `meant` before, `done` after.
 */
#include "../c/made.h"
#include "boss.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CREW 8
#define BOUND 3
#define NUMBERS 40
#define QUEUE 4096
#define FEW 64      /* messages in the queue, from where on they are rather got than put */
#define FEW_TURNS 2 /* so that most have to wait for theirs */
#define SOON 20     /* seconds; nobody waits so long unless it is stuck */
#define CALM 4      /* seconds from one calm to the next */
#define NAP 12000   /* us between two kills, at most */
#define PARTIES 2
#define SHARED 4096 /* bytes of the named segment */

enum finding { GOOD = 0, STUCK = 10, UNEQUAL, TOLD_TWICE, ODD_RESULT, FINDINGS };

/* What is counted of a deed. */
enum count { ADDED, PUT, GOT, PERMITS, GIVEN, TAKEN, SHM_ADDED, COUNTS };

struct record {
    uint64_t deed; /* index in `deeds`, which it is at */
    uint64_t beat; /* deeds done */
    uint64_t meant[COUNTS];
    uint64_t done[COUNTS];
};

#define SERIALS 200000 /* members of a family, one after the other */

/* Two words that only the holder of a lock changes, and who of its holders died. */
struct pair {
    uint64_t a, b;
    uint64_t mended; /* how often an heir found them different */
    uint64_t heirs;
    unsigned char told[SERIALS];
};

/* In the arena; made by the boss. */
struct world {
    mproc_lock *undoing;
    uint64_t equal[2];
    uint64_t heirs;
    mproc_lock *lock;
    struct pair pair;
    mproc_rlock *rlock;
    struct pair rpair;
    mproc_semaphore *semaphore;
    mproc_bsemaphore *bsemaphore;
    mproc_condition *condition;
    mproc_rlock *turns;
    uint64_t given, taken; /* under `turns` */
    mproc_event *event;
    mproc_barrier *barrier;
    uint64_t passed;
    mproc_array *array;
    mproc_array *value;
    mproc_queue *queue;
    uint64_t stop;
    struct record record[CREW];
};

struct mate {
    pid_t pid;
    bool killed;
};

static struct world *world;
static struct mate crew[CREW];
static mproc_pool *pool;
static mproc_shm *segment;
static uint64_t kills, deeds_done, released, tasks, tasks_died, given_by_boss;
static uint64_t meant[COUNTS], done[COUNTS]; /* of those who have ended */

/* ---------------------------------------------------------------- the crew */

static struct record *mine;
static unsigned seat;

static _Noreturn void find(enum finding finding) {
    _exit((int)finding);
}

/* What a call says to the crew. */
static void expect(int r) {
    if (r == -ETIMEDOUT) {
        find(STUCK);
    }
    if (r != 0) {
        fprintf(stderr, "soak: %s\n", mproc_strerror(r));
        find(ODD_RESULT);
    }
}

static void means(enum count what) {
    boss_store(&mine->meant[what], mine->meant[what] + 1);
}

static void has_done(enum count what) {
    boss_store(&mine->done[what], mine->done[what] + 1);
}

static void takes_back(enum count what) {
    boss_store(&mine->meant[what], mine->meant[what] - 1);
}

static void set(uint64_t *word, uint64_t value) {
    *(volatile uint64_t *)word = value;
}

/* Long enough for somebody to be killed here, but not often. */
static void linger(void) {
    if (boss_random_below(8) == 0) {
        usleep(100);
    }
}

/* Under the lock. `told`: the last holder died, it was `dead`. */
static void look_at(struct pair *pair, bool told, uint64_t dead) {
    if (told) {
        if (dead >= SERIALS || pair->told[dead]++ != 0) {
            find(TOLD_TWICE);
        }
        pair->heirs++;
        if (pair->a == pair->b + 1) {
            pair->mended++;
            pair->b = pair->a;
        }
    }
    if (pair->a != pair->b) {
        find(UNEQUAL);
    }
}

static void change(struct pair *pair) {
    set(&pair->a, pair->a + 1);
    linger();
    set(&pair->b, pair->b + 1);
    linger();
}

static void deed_lock(void) {
    mproc_lock_holder dead = {0};
    int r = mproc_lock_acquire(world->lock, SOON * MPROC_SEC);
    if (r == -EOWNERDEAD) {
        mproc_lock_dead_owner(world->lock, &dead);
    }
    expect(r == -EOWNERDEAD ? 0 : r);
    look_at(&world->pair, r != 0, dead.serial);
    change(&world->pair);
    expect(mproc_lock_release(world->lock));
}

static void deed_undo(void) {
    int r = mproc_lock_acquire(world->undoing, SOON * MPROC_SEC);
    expect(r == -EOWNERDEAD ? 0 : r);
    world->heirs += r != 0;
    if (world->equal[0] != world->equal[1]) {
        find(UNEQUAL);
    }
    for (int i = 0; i < 2; i++) {
        expect(mproc_lock_save(world->undoing, &world->equal[i]));
        set(&world->equal[i], world->equal[i] + 1);
        linger();
    }
    expect(mproc_lock_release(world->undoing));
}

static void deed_rlock(void) {
    mproc_lock_holder dead = {0};
    int r = mproc_rlock_acquire(world->rlock, SOON * MPROC_SEC);
    if (r == -EOWNERDEAD) {
        mproc_rlock_dead_owner(world->rlock, &dead);
    }
    expect(r == -EOWNERDEAD ? 0 : r);
    look_at(&world->rpair, r != 0, dead.serial);
    expect(mproc_rlock_acquire(world->rlock, 0));
    change(&world->rpair);
    expect(mproc_rlock_release(world->rlock));
    expect(mproc_rlock_release(world->rlock));
}

/* The boss gives permits now and then, so most of these waits are in vain. */
static void deed_semaphore(void) {
    means(PERMITS);
    int r = mproc_semaphore_acquire(world->semaphore, 2 * MPROC_MSEC);
    if (r == -ETIMEDOUT) {
        takes_back(PERMITS);
        return;
    }
    expect(r);
    has_done(PERMITS);
}

/* Who dies with a permit gives it back. */
static void deed_bsemaphore(void) {
    expect(mproc_bsemaphore_acquire(world->bsemaphore, SOON * MPROC_SEC));
    linger();
    expect(mproc_bsemaphore_release(world->bsemaphore));
}

static void enter_turns(void) {
    int r = mproc_rlock_acquire(world->turns, SOON * MPROC_SEC);
    expect(r == -EOWNERDEAD ? 0 : r);
}

static void deed_give_turn(void) {
    means(GIVEN);
    enter_turns();
    bool wanted = world->given - world->taken < FEW_TURNS;
    if (wanted) {
        set(&world->given, world->given + 1);
        mproc_condition_notify(world->condition, 1);
    }
    expect(mproc_rlock_release(world->turns));
    (wanted ? has_done : takes_back)(GIVEN);
}

/* The boss gives turns all the time, and notifies all in the end. */
static void deed_take_turn(void) {
    means(TAKEN);
    enter_turns();
    while (world->given == world->taken && !boss_load(&world->stop)) {
        int r = mproc_condition_wait(world->condition, world->turns, SOON * MPROC_SEC);
        expect(r == -EOWNERDEAD ? 0 : r);
    }
    bool mine_now = world->given != world->taken;
    if (mine_now) {
        set(&world->taken, world->taken + 1);
    }
    expect(mproc_rlock_release(world->turns));
    (mine_now ? has_done : takes_back)(TAKEN);
}

static void deed_event(void) {
    expect(mproc_event_wait(world->event, SOON * MPROC_SEC));
}

/* Whose time passes breaks the barrier; whoever finds it broken resets it. */
static void deed_barrier(void) {
    int r = mproc_barrier_wait(world->barrier, 5 * MPROC_MSEC, NULL);
    if (r == MPROC_EBROKEN) {
        mproc_barrier_reset(world->barrier);
        return;
    }
    expect(r);
    boss_add(&world->passed, 1);
}

/* All numbers are equal, but after a death in the middle of a write. */
static void deed_array(void) {
    int64_t numbers[NUMBERS];
    mproc_rlock *lock = mproc_array_lock(world->array);
    int r = mproc_rlock_acquire(lock, SOON * MPROC_SEC);
    expect(r == -EOWNERDEAD ? 0 : r);
    expect(mproc_array_read(world->array, 0, NUMBERS, numbers));
    for (int i = 1; i < NUMBERS; i++) {
        int64_t behind = numbers[0] - numbers[i];
        if (behind != 0 && !(r == -EOWNERDEAD && (behind == 1 || behind == -1))) {
            find(UNEQUAL);
        }
    }
    for (int i = NUMBERS - 1; i >= 0; i--) {
        numbers[i] = numbers[0] + 1;
    }
    expect(mproc_array_write(world->array, 0, NUMBERS / 2, numbers));
    linger();
    expect(mproc_array_write(world->array, NUMBERS / 2, NUMBERS - NUMBERS / 2, numbers));
    expect(mproc_rlock_release(lock));
}

static void deed_add(void) {
    means(ADDED);
    expect(mproc_array_add(world->value, 0, 1, NULL));
    has_done(ADDED);
}

/* `value.value = …` under its own lock: who reads and then writes is not disturbed. */
static void deed_value(void) {
    int64_t number;
    mproc_rlock *lock = mproc_array_lock(world->value);
    int r = mproc_rlock_acquire(lock, SOON * MPROC_SEC);
    expect(r == -EOWNERDEAD ? 0 : r);
    expect(mproc_array_get(world->value, 1, &number));
    number++;
    expect(mproc_array_set(world->value, 1, &number));
    expect(mproc_array_set(world->value, 2, &number));
    expect(mproc_rlock_release(lock));
}

static void deed_put(void) {
    char text[300];
    size_t size = 8 + boss_random_below(sizeof text - 8);
    memset(text, (int)(size & 0x7f), size);
    means(PUT);
    expect(mproc_queue_put(world->queue, text, size, SOON * MPROC_SEC));
    has_done(PUT);
}

static void deed_get(void) {
    char room[100];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    means(GOT);
    int r = mproc_queue_get(world->queue, &message, MPROC_MSEC);
    if (r == -ETIMEDOUT) {
        takes_back(GOT);
        return;
    }
    expect(r);
    has_done(GOT);
    for (size_t i = 0; i < message.size; i++) {
        if (((char *)message.data)[i] != (char)(message.size & 0x7f)) {
            find(UNEQUAL);
        }
    }
    mproc_message_drop(&message);
}

static void deed_queue(void) {
    (mproc_queue_count(world->queue) > FEW ? deed_get : deed_put)();
}

static void deed_segment(void) {
    char name[64];
    mproc_shm *shm;
    void *data;
    boss_name(name, "all");
    expect(mproc_shm_open(&shm, name));
    expect(mproc_shm_data(shm, &data));
    means(SHM_ADDED);
    expect(mproc_atomic_add(MPROC_UINT64, data, 1, NULL));
    has_done(SHM_ADDED);
    mproc_shm_drop(shm);
}

/* A name of its own, which a killed one has left to its successor. */
static void deed_own_segment(void) {
    char name[64], suffix[8] = {(char)('0' + seat)};
    mproc_shm *shm;
    boss_name(name, suffix);
    int r = mproc_shm_create(&shm, name, SHARED, NULL);
    if (r == -EEXIST) {
        expect(mproc_shm_unlink(name));
        r = mproc_shm_create(&shm, name, SHARED, NULL);
    }
    expect(r);
    mproc_shm_drop(shm);
    expect(mproc_shm_unlink(name));
}

static void *made(unsigned kind) {
    switch (kind) {
    case 0: return made_lock(3);
    case 1: return made_rlock();
    case 2: return made_semaphore(1);
    case 3: return made_bsemaphore(1);
    case 4: return made_condition();
    case 5: return made_event();
    case 6: return made_barrier(2);
    case 7: return made_array(MPROC_DOUBLE, 100);
    default: return made_queue(10);
    }
}

static void deed_make(void) {
    void *object = made((unsigned)boss_random_below(9));
    if (object == NULL) {
        find(ODD_RESULT);
    }
    mproc_drop(object);
}

static const struct deed {
    const char *name;
    void (*act)(void);
} deeds[] = {
    {"lock", deed_lock},
    {"lock with undo record", deed_undo},
    {"rlock", deed_rlock},
    {"semaphore", deed_semaphore},
    {"bsemaphore", deed_bsemaphore},
    {"condition, giving a turn", deed_give_turn},
    {"condition, waiting for a turn", deed_take_turn},
    {"event", deed_event},
    {"barrier", deed_barrier},
    {"array", deed_array},
    {"value, atomic", deed_add},
    {"value, locked", deed_value},
    {"queue", deed_queue},
    {"segment", deed_segment},
    {"segment of its own", deed_own_segment},
    {"making and dropping", deed_make},
};

#define DEEDS (sizeof deeds / sizeof deeds[0])

static _Noreturn void live(void) {
    while (!boss_load(&world->stop)) {
        uint64_t deed = boss_random_below(DEEDS);
        boss_store(&mine->deed, deed);
        for (int i = 0; i < 10; i++) {
            deeds[deed].act();
            boss_store(&mine->beat, mine->beat + 1);
        }
    }
    _exit(GOOD);
}

/* ---------------------------------------------------------------- boss: the crew */

static void hire(unsigned i) {
    memset(&world->record[i], 0, sizeof world->record[i]);
    crew[i].killed = false;
    uint64_t luck = boss_random_below(1000);
    crew[i].pid = boss_fork();
    if (crew[i].pid == 0) {
        seat = i;
        mine = &world->record[i];
        while (luck-- > 0) { /* else all of them would do the same */
            (void)boss_random_below(2);
        }
        live();
    }
}

static void print_owner(const char *what, const mproc_lock_holder *owner) {
    printf("soak:   %s: process %d\n", what, (int)owner->pid);
}

static void print_rlock(const char *what, const mproc_rlock *lock) {
    mproc_lock_holder owner;
    mproc_rlock_owner(lock, &owner);
    print_owner(what, &owner);
}

/* Who is at what, and who has what. Nothing is called that might wait itself. */
static void print_waits(void) {
    mproc_lock_holder owner;
    for (unsigned i = 0; i < CREW; i++) {
        char place[64];
        boss_where(crew[i].pid, place);
        printf("soak:   process %d at %s, %llu deeds done, in %s\n", (int)crew[i].pid,
               deeds[world->record[i].deed].name, (unsigned long long)world->record[i].beat, place);
    }
    mproc_lock_owner(world->lock, &owner);
    print_owner("lock", &owner);
    mproc_lock_owner(world->undoing, &owner);
    print_owner("lock with undo record", &owner);
    print_rlock("rlock", world->rlock);
    print_rlock("turns", world->turns);
    print_rlock("array", mproc_array_lock(world->array));
    print_rlock("value", mproc_array_lock(world->value));
    printf("soak:   %llu turns given, %llu taken; %u permits; event %d; %u at the barrier; %llu "
           "messages\n",
           (unsigned long long)world->given, (unsigned long long)world->taken,
           mproc_semaphore_value(world->semaphore), mproc_event_is_set(world->event),
           mproc_barrier_waiting(world->barrier),
           (unsigned long long)mproc_queue_count(world->queue));
}

static void add_up(const struct record *record) {
    deeds_done += record->beat;
    for (int i = 0; i < COUNTS; i++) {
        meant[i] += record->meant[i];
        done[i] += record->done[i];
    }
}

/* Collects an ended one's status and judges it. */
static void bury(unsigned i) {
    static const char *const words[] = {"waited in vain", "found unequal words",
                                        "was told twice of one death", "got an odd result"};
    int status = boss_collect(crew[i].pid);
    bool by_us = crew[i].killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (!by_us && status != 0) {
        print_waits();
        boss_fail("process %d, at %s, %s (wait status %#x)", (int)crew[i].pid,
                  deeds[world->record[i].deed].name,
                  code >= STUCK && code < FINDINGS ? words[code - STUCK] : "ended by itself",
                  (unsigned)status);
    }
    kills += by_us;
    add_up(&world->record[i]);
    /* The others have to notice by themselves that half of the dead are dead. */
    if (boss_random_below(2) == 0) {
        mproc_reap();
    }
}

static void kill_one(void) {
    unsigned i = (unsigned)boss_random_below(CREW);
    crew[i].killed = true;
    kill(crew[i].pid, SIGKILL);
    bury(i);
    hire(i);
}

/* Nobody ends by itself before it is told to. */
static void look_after(void) {
    for (unsigned i = 0; i < CREW; i++) {
        if (boss_ended(crew[i].pid)) {
            bury(i);
            hire(i);
        }
    }
}

/* ---------------------------------------------------------------- boss: its part */

static int square(const void *in, size_t size, mproc_result *result) {
    int64_t n;
    if (size != sizeof n) {
        return -EINVAL;
    }
    memcpy(&n, in, sizeof n);
    usleep(500); /* so that some are killed in the middle of it */
    n *= n;
    return mproc_result_write(result, &n, sizeof n);
}

/* One task; now and then a worker is killed, perhaps the one that has it. */
static void run_task(void) {
    int64_t n = (int64_t)tasks++, result;
    mproc_task *task;
    mproc_task_error error;
    const void *data;
    size_t size;
    pid_t workers[2];
    boss_require(mproc_pool_submit(pool, square, &n, sizeof n, NULL, &task), "submit");
    if (boss_random_below(4) == 0 && mproc_pool_workers(pool, workers, 2) > 0) {
        kill(workers[0], SIGKILL);
    }
    boss_require(mproc_task_wait(task, SOON * MPROC_SEC), "waiting for a task");
    if (mproc_task_result(task, &data, &size) == 0) {
        memcpy(&result, data, sizeof result);
        if (size != sizeof result || result != n * n) {
            boss_fail("the square of %lld is %lld", (long long)n, (long long)result);
        }
    } else {
        mproc_task_failure(task, &error);
        if (error.code != MPROC_EDIED) {
            boss_fail("a task failed: %s", mproc_strerror(error.code));
        }
        tasks_died++;
    }
    mproc_task_drop(task);
}

static void hold_turns(void) {
    int r = mproc_rlock_acquire(world->turns, SOON * MPROC_SEC);
    if (r != 0 && r != -EOWNERDEAD) {
        print_waits();
        boss_fail("the boss waits for the turns: %s", mproc_strerror(r));
    }
}

static void give_turns(void) {
    hold_turns();
    while (world->given - world->taken < FEW_TURNS) {
        set(&world->given, world->given + 1);
        given_by_boss++;
        mproc_condition_notify(world->condition, 1);
    }
    mproc_rlock_release(world->turns);
}

/* What the crew needs to go on. */
static void take_part(void) {
    mproc_event_set(world->event);
    mproc_event_clear(world->event);
    give_turns();
    boss_require(mproc_semaphore_release(world->semaphore), "releasing a permit");
    released++;
}

static void check_everything(void) {
    boss_check(mproc_arena_check(why, sizeof why));
    boss_check(mproc_member_check(why, sizeof why));
    boss_check(mproc_lock_check(world->lock, why, sizeof why));
    boss_check(mproc_lock_check(world->undoing, why, sizeof why));
    boss_check(mproc_rlock_check(world->rlock, why, sizeof why));
    boss_check(mproc_rlock_check(world->turns, why, sizeof why));
    boss_check(mproc_semaphore_check(world->semaphore, why, sizeof why));
    boss_check(mproc_bsemaphore_check(world->bsemaphore, why, sizeof why));
    boss_check(mproc_condition_check(world->condition, why, sizeof why));
    boss_check(mproc_event_check(world->event, why, sizeof why));
    boss_check(mproc_barrier_check(world->barrier, why, sizeof why));
    boss_check(mproc_array_check(world->array, why, sizeof why));
    boss_check(mproc_array_check(world->value, why, sizeof why));
    boss_check(mproc_queue_check(world->queue, why, sizeof why));
    boss_check(mproc_pool_check(pool, why, sizeof why));
    boss_check(mproc_shm_check(why, sizeof why));
}

/* Nobody is killed until each of the crew has done something more. */
static void be_calm(void) {
    uint64_t beat[CREW];
    double began = boss_elapsed();
    for (unsigned i = 0; i < CREW; i++) {
        beat[i] = boss_load(&world->record[i].beat);
    }
    for (unsigned i = 0; i < CREW;) {
        if (boss_load(&world->record[i].beat) > beat[i] + 1) {
            i++;
            continue;
        }
        if (boss_elapsed() - began > SOON) {
            print_waits();
            boss_fail("process %d does not get on: a hang", (int)crew[i].pid);
        }
        take_part();
        boss_nap(2000);
        look_after();
    }
}

/* ---------------------------------------------------------------- boss: the account */

/* `there` and what was taken make up what was brought in, but for one for each deed cut short. */
static void balance(const char *what, uint64_t there, enum count in, uint64_t more, int out) {
    uint64_t in_least = done[in] + more, in_most = meant[in] + more;
    uint64_t out_least = out < 0 ? 0 : done[out], out_most = out < 0 ? 0 : meant[out];
    printf("soak: %s: %llu brought in (%llu in the balance), %llu taken (%llu), %llu there\n", what,
           (unsigned long long)in_least, (unsigned long long)(in_most - in_least),
           (unsigned long long)out_least, (unsigned long long)(out_most - out_least),
           (unsigned long long)there);
    if (there + out_most < in_least || there + out_least > in_most || in_most - in_least > kills ||
        out_most - out_least > kills) {
        boss_fail("%s: that does not add up", what);
    }
}

static void settle_locks(void) {
    const struct pair *pairs[] = {&world->pair, &world->rpair};
    for (int i = 0; i < 2; i++) {
        const struct pair *p = pairs[i];
        printf("soak: %s: %llu sections, %llu heirs, who found %llu of them cut in two\n",
               i == 0 ? "lock" : "rlock", (unsigned long long)p->a, (unsigned long long)p->heirs,
               (unsigned long long)p->mended);
        if (p->a != p->b || p->heirs > kills) {
            boss_fail("the words are %llu and %llu", (unsigned long long)p->a,
                      (unsigned long long)p->b);
        }
    }
    if (world->equal[0] != world->equal[1]) {
        boss_fail("the words under the undo record differ");
    }
}

static void settle(void) {
    int64_t added;
    settle_locks();
    boss_require(mproc_array_get(world->value, 0, &added), "reading the value");
    balance("value", (uint64_t)added, ADDED, 0, -1);
    balance("queue", mproc_queue_count(world->queue), PUT, 0, GOT);
    balance("turns", world->given - world->taken, GIVEN, given_by_boss, TAKEN);
    uint64_t *shared;
    boss_require(mproc_shm_data(segment, (void **)&shared), "mapping the segment");
    balance("segment", *shared, SHM_ADDED, 0, -1);
    uint64_t there = mproc_semaphore_value(world->semaphore) + done[PERMITS];
    if (there > released || released - there > meant[PERMITS] - done[PERMITS]) {
        boss_fail("%llu permits of %llu", (unsigned long long)there, (unsigned long long)released);
    }
    if (mproc_bsemaphore_value(world->bsemaphore) != BOUND) {
        boss_fail("%u permits of %d came back", mproc_bsemaphore_value(world->bsemaphore), BOUND);
    }
}

/* ---------------------------------------------------------------- boss: life */

#define OBJECTS                                                                                    \
    {                                                                                              \
        world->lock, world->undoing, world->rlock, world->turns, world->semaphore, world->event,   \
            world->barrier, world->array, world->value, world->bsemaphore, world->queue,           \
            world->condition                                                                       \
    }

static void make_objects(void) {
    world->lock = made_lock(0);
    world->undoing = made_lock(2);
    world->rlock = made_rlock();
    world->semaphore = made_semaphore(0);
    world->bsemaphore = made_bsemaphore(BOUND);
    world->condition = made_condition();
    world->turns = made_rlock();
    world->event = made_event();
    world->barrier = made_barrier(PARTIES);
    world->array = made_array(MPROC_INT64, NUMBERS);
    world->value = made_array(MPROC_INT64, 3);
    world->queue = made_queue(QUEUE);
    void *objects[] = OBJECTS;
    for (size_t i = 0; i < sizeof objects / sizeof objects[0]; i++) {
        if (objects[i] == NULL) {
            boss_fail("no memory");
        }
    }
}

static void drop_objects(void) {
    void *objects[] = OBJECTS;
    for (size_t i = 0; i < sizeof objects / sizeof objects[0]; i++) {
        mproc_drop(objects[i]);
    }
    mproc_free(world);
}

static void begin(void) {
    char name[64];
    world = boss_calloc(sizeof *world);
    make_objects();
    boss_name(name, "all");
    boss_require(mproc_shm_create(&segment, name, SHARED, NULL), "making a segment");
    boss_require(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 2}), "making a pool");
    for (unsigned i = 0; i < CREW; i++) {
        hire(i);
    }
}

static void run(double seconds) {
    double calm = CALM;
    for (uint64_t round = 1; boss_elapsed() < seconds; round++) {
        boss_nap(boss_random_below(NAP));
        take_part();
        kill_one();
        look_after();
        if (round % 16 == 0) {
            run_task();
        }
        if (round % 64 == 0) {
            check_everything();
        }
        if (boss_elapsed() > calm) {
            be_calm();
            calm = boss_elapsed() + CALM;
        }
    }
}

/* All end, though some wait: for turns, for the event. */
static void dismiss(void) {
    double began = boss_elapsed();
    boss_store(&world->stop, 1);
    for (unsigned i = 0; i < CREW;) {
        take_part();
        hold_turns();
        mproc_condition_notify_all(world->condition);
        mproc_rlock_release(world->turns);
        if (boss_await_end(crew[i].pid, 0)) {
            bury(i++);
        } else if (boss_elapsed() - began > SOON) {
            print_waits();
            boss_fail("process %d does not end: a hang", (int)crew[i].pid);
        } else {
            boss_nap(1000);
        }
    }
    mproc_reap();
}

static void remove_segments(void) {
    char name[64];
    for (unsigned i = 0; i < CREW; i++) {
        char suffix[8] = {(char)('0' + i)};
        boss_name(name, suffix);
        int r = mproc_shm_unlink(name);
        boss_require(r == -ENOENT ? 0 : r, "unlinking a segment that a killed one left");
    }
    boss_name(name, "all");
    mproc_shm_drop(segment);
    boss_require(mproc_shm_unlink(name), "unlinking the segment");
}

int main(int argc, char **argv) {
    double seconds = boss_begin(argc, argv, "soak", 10);
    begin();
    run(seconds);
    be_calm();
    dismiss();
    check_everything();
    settle();
    printf("soak: %llu killed, %llu deeds; %llu times past the barrier; %llu tasks, %llu died with "
           "their worker\n",
           (unsigned long long)kills, (unsigned long long)deeds_done,
           (unsigned long long)world->passed, (unsigned long long)tasks,
           (unsigned long long)tasks_died);
    mproc_pool_drop(pool);
    remove_segments();
    drop_objects();
    return boss_end();
}
