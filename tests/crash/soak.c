/*
 * soak.c - eight processes at everything that synchronises or is shared, some killed at random
 *
 * SPDX-License-Identifier: MIT
 *
 * Each child does one operation after the other, chosen at random: something with a lock, a
 * condition, a queue and so on. The supervisor does what the children wait for: it sets the event,
 * gives turns and permits, and runs a pool. It kills a child every few milliseconds and starts
 * another one in its place. Every few seconds it stops killing until each child has finished
 * further operations. A child that does not hangs; then the supervisor prints what each child is at
 * and who holds which lock. In the end
 *
 *   guarded words are consistent: two words under a lock with an undo record are always equal. Two
 *       words under a lock without one differ only when their last holder died between its two
 *       stores. The next holder is told of that death, and of one death at most one holder is told;
 *   nothing is lost except in the hands of killed children: what was added, put, given and released
 *       is there, or was taken, or belongs to an operation that a kill interrupted, one for each
 *       kill;
 *   all permits of the bounded semaphore are back, every object passes its check, and when all
 *       objects are dropped, nothing is in use that was not in use before.
 *
 * A child notes the effects of its operations in its record in the arena: `meant` before, `done`
 * after.
 */
#include "../c/made.h"
#include "supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHILDREN 8
#define BOUND 3
#define NUMBERS 40
#define QUEUE 4096
#define FEW 64              /* with more messages in the queue, children get instead of put */
#define FEW_TURNS 2         /* turns given ahead; so few that most children wait for theirs */
#define SOON 20             /* seconds; a wait that takes longer is stuck */
#define PROGRESS_INTERVAL 4 /* seconds from one pause in the killing to the next */
#define KILL_INTERVAL 12000 /* us between two kills, at most */
#define PARTIES 2
#define SEGMENT_SIZE 4096 /* bytes of the named segment */

enum { TOLD_TWICE = CHILD_FINDINGS };

static const char *const findings[] = {"was told twice of one death"};

/* Effects of operations that are counted. */
enum count {
    ADDED,
    PUT,
    GOT,
    PERMITS,
    GIVEN,
    TAKEN,
    SHM_ADDED,
    DICT_ADDED,
    LIST_PUT,
    LIST_TAKEN,
    COUNTS
};

struct record {
    uint64_t operation; /* the one it is at, an index in `operations` */
    uint64_t finished;  /* how many operations it has finished */
    uint64_t meant[COUNTS];
    uint64_t done[COUNTS];
};

#define SERIALS 200000 /* how many members the family may have, one after the other */

/* Two words that only the holder of a lock changes, and what its holders were told of deaths. */
struct pair {
    uint64_t a, b;
    uint64_t repaired;  /* how often a holder that was told of a death found them different */
    uint64_t takeovers; /* how often a holder was told of a death */
    unsigned char told[SERIALS]; /* by serial of the dead member: how often a holder was told */
};

/* In the arena; made by the supervisor. */
struct shared {
    mproc_lock *undoing;
    uint64_t equal[2];
    uint64_t takeovers;
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
    uint64_t unfinished; /* under the lock of `array`: holders in a row that died */
    mproc_array *value;
    mproc_queue *queue;
    mproc_dict *dict;
    mproc_list *list;
    uint64_t stop;
    struct record record[CHILDREN];
};

struct child {
    pid_t pid;
    bool killed;
};

static struct shared *shared;
static struct child children[CHILDREN];
static mproc_pool *pool;
static mproc_shm *segment;
static uint64_t kills, operations_done, released, tasks, tasks_died, given_by_supervisor;
static uint64_t meant[COUNTS], done[COUNTS]; /* of children that have ended */

/* ---------------------------------------------------------------- the children */

static struct record *mine;
static unsigned seat;

/* Ends the child unless a call acquired its lock, be it one whose last holder died. */
static void expect_lock(int r) {
    child_expect(r == -EOWNERDEAD ? 0 : r);
}

static void begins(enum count what) {
    mproc__store64(&mine->meant[what], mine->meant[what] + 1);
}

static void has_done(enum count what) {
    mproc__store64(&mine->done[what], mine->done[what] + 1);
}

static void takes_back(enum count what) {
    mproc__store64(&mine->meant[what], mine->meant[what] - 1);
}

static void set(uint64_t *word, uint64_t value) {
    *(volatile uint64_t *)word = value;
}

/* Now and then waits long enough for a child to be killed here. */
static void linger(void) {
    if (supervisor_random_below(8) == 0) {
        usleep(100);
    }
}

/* Called under the lock. `told`: the last holder, with the serial `dead`, died. */
static void check_pair(struct pair *pair, bool told, uint64_t dead) {
    if (told) {
        if (dead >= SERIALS || pair->told[dead]++ != 0) {
            _exit(TOLD_TWICE);
        }
        pair->takeovers++;
        if (pair->a == pair->b + 1) {
            pair->repaired++;
            pair->b = pair->a;
        }
    }
    if (pair->a != pair->b) {
        _exit(CHILD_UNEQUAL);
    }
}

static void change(struct pair *pair) {
    set(&pair->a, pair->a + 1);
    linger();
    set(&pair->b, pair->b + 1);
    linger();
}

static void do_lock(void) {
    mproc_lock_holder dead = {0};
    int r = mproc_lock_acquire(shared->lock, SOON * MPROC_SEC);
    if (r == -EOWNERDEAD) {
        mproc_lock_dead_owner(shared->lock, &dead);
    }
    expect_lock(r);
    check_pair(&shared->pair, r != 0, dead.serial);
    change(&shared->pair);
    child_expect(mproc_lock_release(shared->lock));
}

static void do_undo(void) {
    int r = mproc_lock_acquire(shared->undoing, SOON * MPROC_SEC);
    expect_lock(r);
    shared->takeovers += r != 0;
    if (shared->equal[0] != shared->equal[1]) {
        _exit(CHILD_UNEQUAL);
    }
    for (int i = 0; i < 2; i++) {
        child_expect(mproc_lock_save(shared->undoing, &shared->equal[i]));
        set(&shared->equal[i], shared->equal[i] + 1);
        linger();
    }
    child_expect(mproc_lock_release(shared->undoing));
}

static void do_rlock(void) {
    mproc_lock_holder dead = {0};
    int r = mproc_rlock_acquire(shared->rlock, SOON * MPROC_SEC);
    if (r == -EOWNERDEAD) {
        mproc_rlock_dead_owner(shared->rlock, &dead);
    }
    expect_lock(r);
    check_pair(&shared->rpair, r != 0, dead.serial);
    child_expect(mproc_rlock_acquire(shared->rlock, 0));
    change(&shared->rpair);
    child_expect(mproc_rlock_release(shared->rlock));
    child_expect(mproc_rlock_release(shared->rlock));
}

/* The supervisor gives permits only now and then, so most of these waits time out. */
static void do_semaphore(void) {
    begins(PERMITS);
    int r = mproc_semaphore_acquire(shared->semaphore, 2 * MPROC_MSEC);
    if (r == -ETIMEDOUT) {
        takes_back(PERMITS);
        return;
    }
    child_expect(r);
    has_done(PERMITS);
}

/* The permit of a holder that dies comes back by itself. */
static void do_bsemaphore(void) {
    child_expect(mproc_bsemaphore_acquire(shared->bsemaphore, SOON * MPROC_SEC));
    linger();
    child_expect(mproc_bsemaphore_release(shared->bsemaphore));
}

static void enter_turns(void) {
    int r = mproc_rlock_acquire(shared->turns, SOON * MPROC_SEC);
    expect_lock(r);
}

static void do_give_turn(void) {
    begins(GIVEN);
    enter_turns();
    bool wanted = shared->given - shared->taken < FEW_TURNS;
    if (wanted) {
        set(&shared->given, shared->given + 1);
        mproc_condition_notify(shared->condition, 1);
    }
    child_expect(mproc_rlock_release(shared->turns));
    (wanted ? has_done : takes_back)(GIVEN);
}

/* The supervisor gives turns all the time, and in the end notifies all waiters. */
static void do_take_turn(void) {
    begins(TAKEN);
    enter_turns();
    while (shared->given == shared->taken && !mproc__load64(&shared->stop)) {
        int r = mproc_condition_wait(shared->condition, shared->turns, SOON * MPROC_SEC);
        expect_lock(r);
    }
    bool mine_now = shared->given != shared->taken;
    if (mine_now) {
        set(&shared->taken, shared->taken + 1);
    }
    child_expect(mproc_rlock_release(shared->turns));
    (mine_now ? has_done : takes_back)(TAKEN);
}

static void do_event(void) {
    child_expect(mproc_event_wait(shared->event, SOON * MPROC_SEC));
}

/* A child whose timeout expires breaks the barrier, and a child that finds it broken resets it. */
static void do_barrier(void) {
    int r = mproc_barrier_wait(shared->barrier, 5 * MPROC_MSEC, NULL);
    if (r == MPROC_EBROKEN) {
        mproc_barrier_reset(shared->barrier);
        return;
    }
    child_expect(r);
    mproc__add64(&shared->passed, 1);
}

/* All numbers are equal, except after deaths in the middle of a write: each holder that died there
 * may have left its part one ahead of the rest that it found. */
static bool are_explained(const int64_t *numbers) {
    int64_t least = numbers[0], most = numbers[0];
    for (int i = 1; i < NUMBERS; i++) {
        least = numbers[i] < least ? numbers[i] : least;
        most = numbers[i] > most ? numbers[i] : most;
    }
    return (uint64_t)(most - least) <= shared->unfinished;
}

static void do_array(void) {
    int64_t numbers[NUMBERS];
    mproc_rlock *lock = mproc_array_lock(shared->array);
    int r = mproc_rlock_acquire(lock, SOON * MPROC_SEC);
    expect_lock(r);
    set(&shared->unfinished, r == -EOWNERDEAD ? shared->unfinished + 1 : 0);
    child_expect(mproc_array_read(shared->array, 0, NUMBERS, numbers));
    if (!are_explained(numbers)) {
        _exit(CHILD_UNEQUAL);
    }
    for (int i = NUMBERS - 1; i >= 0; i--) {
        numbers[i] = numbers[0] + 1;
    }
    child_expect(mproc_array_write(shared->array, 0, NUMBERS / 2, numbers));
    linger();
    child_expect(mproc_array_write(shared->array, NUMBERS / 2, NUMBERS - NUMBERS / 2, numbers));
    set(&shared->unfinished, 0);
    child_expect(mproc_rlock_release(lock));
}

static void do_add(void) {
    begins(ADDED);
    child_expect(mproc_array_add(shared->value, 0, 1, NULL));
    has_done(ADDED);
}

/* `value.value = …` under its own lock: nobody writes between the read and the write. */
static void do_value(void) {
    int64_t number;
    mproc_rlock *lock = mproc_array_lock(shared->value);
    int r = mproc_rlock_acquire(lock, SOON * MPROC_SEC);
    expect_lock(r);
    child_expect(mproc_array_get(shared->value, 1, &number));
    number++;
    child_expect(mproc_array_set(shared->value, 1, &number));
    child_expect(mproc_array_set(shared->value, 2, &number));
    child_expect(mproc_rlock_release(lock));
}

static void do_put(void) {
    char text[300];
    size_t size = 8 + supervisor_random_below(sizeof text - 8);
    memset(text, (int)(size & 0x7f), size);
    begins(PUT);
    child_expect(mproc_queue_put(shared->queue, text, size, SOON * MPROC_SEC));
    has_done(PUT);
}

static void do_get(void) {
    char room[100];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    begins(GOT);
    int r = mproc_queue_get(shared->queue, &message, MPROC_MSEC);
    if (r == -ETIMEDOUT) {
        takes_back(GOT);
        return;
    }
    child_expect(r);
    has_done(GOT);
    for (size_t i = 0; i < message.size; i++) {
        if (((char *)message.data)[i] != (char)(message.size & 0x7f)) {
            _exit(CHILD_UNEQUAL);
        }
    }
    mproc_message_drop(&message);
}

static void do_queue(void) {
    (mproc_queue_count(shared->queue) > FEW ? do_get : do_put)();
}

static void do_segment(void) {
    char name[64];
    mproc_shm *shm;
    void *data;
    supervisor_name(name, "all");
    child_expect(mproc_shm_open(&shm, name));
    child_expect(mproc_shm_data(shm, &data));
    begins(SHM_ADDED);
    child_expect(mproc_atomic_add(MPROC_UINT64, data, 1, NULL));
    has_done(SHM_ADDED);
    mproc_shm_drop(shm);
}

/* A segment with the name of this child's place. A killed predecessor may have left it behind. */
static void do_own_segment(void) {
    char name[64], suffix[8] = {(char)('0' + seat)};
    mproc_shm *shm;
    supervisor_name(name, suffix);
    int r = mproc_shm_create(&shm, name, SEGMENT_SIZE, NULL);
    if (r == -EEXIST) {
        child_expect(mproc_shm_unlink(name));
        r = mproc_shm_create(&shm, name, SEGMENT_SIZE, NULL);
    }
    child_expect(r);
    mproc_shm_drop(shm);
    child_expect(mproc_shm_unlink(name));
}

/* One of a few words is counted, by an addition or under its lock. */
static void do_count(void) {
    uint64_t word = supervisor_random_below(5);
    bool locked = supervisor_random_below(2) == 0;
    if (locked) {
        int r = mproc_dict_lock(shared->dict, &word, sizeof word, SOON * MPROC_SEC);
        expect_lock(r);
    }
    begins(DICT_ADDED);
    child_expect(mproc_dict_add(shared->dict, &word, sizeof word, 1, NULL));
    has_done(DICT_ADDED);
    linger();
    if (locked) {
        child_expect(mproc_dict_unlock(shared->dict, &word, sizeof word));
    }
}

/* An entry's value is its key again and again, small or large; it comes, is read, and goes. */
static void do_entry(void) {
    char text[10000], room[300];
    uint64_t key = 100 + supervisor_random_below(3000);
    size_t size = supervisor_random_below(50) == 0 ? sizeof text : 8 + key % 250;
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    memset(text, (int)(key & 0x7f), size);
    child_expect(mproc_dict_set(shared->dict, &key, sizeof key, text, size));
    key = 100 + supervisor_random_below(3000);
    int r = mproc_dict_get(shared->dict, &key, sizeof key, &message, NULL);
    child_expect(r == -ENOENT ? 0 : r);
    for (size_t i = 0; r == 0 && i < message.size; i++) {
        if (((char *)message.data)[i] != (char)(key & 0x7f)) {
            _exit(CHILD_UNEQUAL);
        }
    }
    mproc_message_drop(&message);
    r = mproc_dict_delete(shared->dict, &key, sizeof key, MPROC_DICT_ANY);
    child_expect(r == -ENOENT ? 0 : r);
}

/* Elements of one byte again and again come anywhere, change places, and are taken out anywhere.
 * Whoever takes one out has put one in before, so there always is one. */
static void do_list(void) {
    char text[10000], room[300];
    size_t size = supervisor_random_below(50) == 0 ? sizeof text : 8 + supervisor_random_below(250);
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    memset(text, (int)(size & 0x7f), size);
    begins(LIST_PUT);
    child_expect(mproc_list_insert(shared->list, (int64_t)supervisor_random_below(20), text, size));
    has_done(LIST_PUT);
    if (supervisor_random_below(4) == 0) {
        child_expect(mproc_list_reverse(shared->list));
    }
    int64_t end = supervisor_random_below(2) == 0 ? 0 : -1;
    begins(LIST_TAKEN);
    child_expect(mproc_list_pop(shared->list, end, &message));
    has_done(LIST_TAKEN);
    for (size_t i = 0; i < message.size; i++) {
        if (((char *)message.data)[i] != (char)(message.size & 0x7f)) {
            _exit(CHILD_UNEQUAL);
        }
    }
    mproc_message_drop(&message);
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
    case 8: return made_dict();
    case 9: return made_list();
    default: return made_queue(10);
    }
}

static void do_make(void) {
    void *object = made((unsigned)supervisor_random_below(11));
    if (object == NULL) {
        _exit(CHILD_ODD_RESULT);
    }
    mproc_drop(object);
}

static const struct operation {
    const char *name;
    void (*run)(void);
} operations[] = {
    {"lock", do_lock},
    {"lock with undo record", do_undo},
    {"rlock", do_rlock},
    {"semaphore", do_semaphore},
    {"bsemaphore", do_bsemaphore},
    {"condition, giving a turn", do_give_turn},
    {"condition, waiting for a turn", do_take_turn},
    {"event", do_event},
    {"barrier", do_barrier},
    {"array", do_array},
    {"value, atomic", do_add},
    {"value, locked", do_value},
    {"queue", do_queue},
    {"dict, counted", do_count},
    {"dict, an entry", do_entry},
    {"list", do_list},
    {"segment", do_segment},
    {"segment of its own", do_own_segment},
    {"making and dropping", do_make},
};

#define OPERATIONS (sizeof operations / sizeof operations[0])

static _Noreturn void child_main(void) {
    while (!mproc__load64(&shared->stop)) {
        uint64_t operation = supervisor_random_below(OPERATIONS);
        mproc__store64(&mine->operation, operation);
        for (int i = 0; i < 10; i++) {
            operations[operation].run();
            mproc__store64(&mine->finished, mine->finished + 1);
        }
    }
    _exit(0);
}

/* ---------------------------------------------------------------- supervisor: the children */

static void start_child(unsigned i) {
    memset(&shared->record[i], 0, sizeof shared->record[i]);
    children[i].killed = false;
    uint64_t skipped = supervisor_random_below(1000);
    children[i].pid = supervisor_fork();
    if (children[i].pid == 0) {
        seat = i;
        mine = &shared->record[i];
        while (skipped-- > 0) { /* else all children would draw the same numbers */
            (void)supervisor_random_below(2);
        }
        child_main();
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

/* Prints what each child is at and who holds which lock. Calls nothing that might wait. */
static void print_waits(void) {
    mproc_lock_holder owner;
    for (unsigned i = 0; i < CHILDREN; i++) {
        char place[64];
        supervisor_where(children[i].pid, place);
        printf("soak:   process %d at %s, %llu operations done, in %s\n", (int)children[i].pid,
               operations[shared->record[i].operation].name,
               (unsigned long long)shared->record[i].finished, place);
    }
    mproc_lock_owner(shared->lock, &owner);
    print_owner("lock", &owner);
    mproc_lock_owner(shared->undoing, &owner);
    print_owner("lock with undo record", &owner);
    print_rlock("rlock", shared->rlock);
    print_rlock("turns", shared->turns);
    print_rlock("array", mproc_array_lock(shared->array));
    print_rlock("value", mproc_array_lock(shared->value));
    printf("soak:   %llu turns given, %llu taken; %u permits; event %d; %u at the barrier; %llu "
           "messages\n",
           (unsigned long long)shared->given, (unsigned long long)shared->taken,
           mproc_semaphore_value(shared->semaphore), mproc_event_is_set(shared->event),
           mproc_barrier_waiting(shared->barrier),
           (unsigned long long)mproc_queue_count(shared->queue));
}

static void add_record(const struct record *record) {
    operations_done += record->finished;
    for (int i = 0; i < COUNTS; i++) {
        meant[i] += record->meant[i];
        done[i] += record->done[i];
    }
}

/* Waits for the end of a child; fails unless the child ended as it had to. */
static void collect_child(unsigned i) {
    bool by_us;
    const char *wrong = supervisor_judge(children[i].pid, children[i].killed, &by_us, findings, 1);
    if (wrong != NULL) {
        print_waits();
        supervisor_fail("process %d, at %s, %s", (int)children[i].pid,
                        operations[shared->record[i].operation].name, wrong);
    }
    kills += by_us;
    add_record(&shared->record[i]);
    /* Leaves half of the deaths to the other children, which have to notice them. */
    if (supervisor_random_below(2) == 0) {
        mproc_reap();
    }
}

static void kill_one(void) {
    unsigned i = (unsigned)supervisor_random_below(CHILDREN);
    children[i].killed = true;
    kill(children[i].pid, SIGKILL);
    collect_child(i);
    start_child(i);
}

/* Collects children that ended by themselves, which none should before it is told to. */
static void replace_ended(void) {
    for (unsigned i = 0; i < CHILDREN; i++) {
        if (supervisor_ended(children[i].pid)) {
            collect_child(i);
            start_child(i);
        }
    }
}

/* ------------------------------------------------------- supervisor: what children wait for */

static int square(const void *in, size_t size, mproc_result *result) {
    int64_t n;
    if (size != sizeof n) {
        return -EINVAL;
    }
    memcpy(&n, in, sizeof n);
    usleep(500); /* so that some workers are killed in the middle of a task */
    n *= n;
    return mproc_result_write(result, &n, sizeof n);
}

/* Runs one task. Now and then kills a worker, which may be the one that has the task. */
static void run_task(void) {
    int64_t n = (int64_t)tasks++, result;
    mproc_task *task;
    mproc_task_error error;
    const void *data;
    size_t size;
    pid_t workers[2];
    supervisor_require(mproc_pool_submit(pool, square, &n, sizeof n, NULL, &task), "submit");
    if (supervisor_random_below(4) == 0 && mproc_pool_workers(pool, workers, 2) > 0) {
        kill(workers[0], SIGKILL);
    }
    supervisor_require(mproc_task_wait(task, SOON * MPROC_SEC), "waiting for a task");
    if (mproc_task_result(task, &data, &size) == 0) {
        memcpy(&result, data, sizeof result);
        if (size != sizeof result || result != n * n) {
            supervisor_fail("the square of %lld is %lld", (long long)n, (long long)result);
        }
    } else {
        mproc_task_failure(task, &error);
        if (error.code != MPROC_EDIED) {
            supervisor_fail("a task failed: %s", mproc_strerror(error.code));
        }
        tasks_died++;
    }
    mproc_task_drop(task);
}

static void hold_turns(void) {
    int r = mproc_rlock_acquire(shared->turns, SOON * MPROC_SEC);
    if (r != 0 && r != -EOWNERDEAD) {
        print_waits();
        supervisor_fail("the supervisor waits for the turns: %s", mproc_strerror(r));
    }
}

static void give_turns(void) {
    hold_turns();
    while (shared->given - shared->taken < FEW_TURNS) {
        set(&shared->given, shared->given + 1);
        given_by_supervisor++;
        mproc_condition_notify(shared->condition, 1);
    }
    mproc_rlock_release(shared->turns);
}

/* Gives the children what they wait for. */
static void take_part(void) {
    mproc_event_set(shared->event);
    mproc_event_clear(shared->event);
    give_turns();
    supervisor_require(mproc_semaphore_release(shared->semaphore), "releasing a permit");
    released++;
}

static void check_everything(void) {
    supervisor_check(mproc_arena_check(why, sizeof why));
    supervisor_check(mproc_member_check(why, sizeof why));
    supervisor_check(mproc_lock_check(shared->lock, why, sizeof why));
    supervisor_check(mproc_lock_check(shared->undoing, why, sizeof why));
    supervisor_check(mproc_rlock_check(shared->rlock, why, sizeof why));
    supervisor_check(mproc_rlock_check(shared->turns, why, sizeof why));
    supervisor_check(mproc_semaphore_check(shared->semaphore, why, sizeof why));
    supervisor_check(mproc_bsemaphore_check(shared->bsemaphore, why, sizeof why));
    supervisor_check(mproc_condition_check(shared->condition, why, sizeof why));
    supervisor_check(mproc_event_check(shared->event, why, sizeof why));
    supervisor_check(mproc_barrier_check(shared->barrier, why, sizeof why));
    supervisor_check(mproc_array_check(shared->array, why, sizeof why));
    supervisor_check(mproc_array_check(shared->value, why, sizeof why));
    supervisor_check(mproc_queue_check(shared->queue, why, sizeof why));
    supervisor_check(mproc_dict_check(shared->dict, why, sizeof why));
    supervisor_check(mproc_list_check(shared->list, why, sizeof why));
    supervisor_check(mproc_pool_check(pool, why, sizeof why));
    supervisor_check(mproc_shm_check(why, sizeof why));
}

/* Waits, without killing, until each child has finished further operations. */
static void wait_for_progress(void) {
    uint64_t finished[CHILDREN];
    double began = supervisor_elapsed();
    for (unsigned i = 0; i < CHILDREN; i++) {
        finished[i] = mproc__load64(&shared->record[i].finished);
    }
    for (unsigned i = 0; i < CHILDREN;) {
        if (mproc__load64(&shared->record[i].finished) > finished[i] + 1) {
            i++;
            continue;
        }
        if (supervisor_elapsed() - began > SOON) {
            print_waits();
            supervisor_fail("process %d does not get on: a hang", (int)children[i].pid);
        }
        take_part();
        supervisor_nap(2000);
        replace_ended();
    }
}

/* ---------------------------------------------------------------- supervisor: the account */

/* What is there and what was taken add up to what was brought in; each operation that a kill
 * interrupted may make a difference of one. */
static void balance(const char *what, uint64_t there, enum count in, uint64_t more, int out) {
    uint64_t in_least = done[in] + more, in_most = meant[in] + more;
    uint64_t out_least = out < 0 ? 0 : done[out], out_most = out < 0 ? 0 : meant[out];
    printf("soak: %s: %llu brought in (%llu in the balance), %llu taken (%llu), %llu there\n", what,
           (unsigned long long)in_least, (unsigned long long)(in_most - in_least),
           (unsigned long long)out_least, (unsigned long long)(out_most - out_least),
           (unsigned long long)there);
    if (there + out_most < in_least || there + out_least > in_most || in_most - in_least > kills ||
        out_most - out_least > kills) {
        supervisor_fail("%s: that does not add up", what);
    }
}

static uint64_t dict_sum(void) {
    uint64_t all = 0;
    for (uint64_t word = 0; word < 5; word++) {
        int64_t sum;
        supervisor_require(mproc_dict_add(shared->dict, &word, sizeof word, 0, &sum), "adding 0");
        all += (uint64_t)sum;
    }
    return all;
}

static void settle_locks(void) {
    const struct pair *pairs[] = {&shared->pair, &shared->rpair};
    for (int i = 0; i < 2; i++) {
        const struct pair *p = pairs[i];
        printf("soak: %s: %llu sections, %llu takeovers, %llu of them with unequal words\n",
               i == 0 ? "lock" : "rlock", (unsigned long long)p->a,
               (unsigned long long)p->takeovers, (unsigned long long)p->repaired);
        if (p->a != p->b || p->takeovers > kills) {
            supervisor_fail("the words are %llu and %llu", (unsigned long long)p->a,
                            (unsigned long long)p->b);
        }
    }
    if (shared->equal[0] != shared->equal[1]) {
        supervisor_fail("the words under the undo record differ");
    }
}

static void settle(void) {
    int64_t added;
    settle_locks();
    supervisor_require(mproc_array_get(shared->value, 0, &added), "reading the value");
    balance("value", (uint64_t)added, ADDED, 0, -1);
    balance("queue", mproc_queue_count(shared->queue), PUT, 0, GOT);
    balance("turns", shared->given - shared->taken, GIVEN, given_by_supervisor, TAKEN);
    uint64_t *sum;
    supervisor_require(mproc_shm_data(segment, (void **)&sum), "mapping the segment");
    balance("dict", dict_sum(), DICT_ADDED, 0, -1);
    balance("list", mproc_list_count(shared->list), LIST_PUT, 0, LIST_TAKEN);
    balance("segment", *sum, SHM_ADDED, 0, -1);
    uint64_t there = mproc_semaphore_value(shared->semaphore) + done[PERMITS];
    if (there > released || released - there > meant[PERMITS] - done[PERMITS]) {
        supervisor_fail("%llu permits of %llu", (unsigned long long)there,
                        (unsigned long long)released);
    }
    if (mproc_bsemaphore_value(shared->bsemaphore) != BOUND) {
        supervisor_fail("%u permits of %d came back", mproc_bsemaphore_value(shared->bsemaphore),
                        BOUND);
    }
}

/* ---------------------------------------------------------------- supervisor: begin and end */

#define OBJECTS                                                                                    \
    {                                                                                              \
        shared->lock, shared->undoing, shared->rlock, shared->turns, shared->semaphore,            \
            shared->event, shared->barrier, shared->array, shared->value, shared->bsemaphore,      \
            shared->queue, shared->condition, shared->dict, shared->list                           \
    }

static void make_objects(void) {
    shared->lock = made_lock(0);
    shared->undoing = made_lock(2);
    shared->rlock = made_rlock();
    shared->semaphore = made_semaphore(0);
    shared->bsemaphore = made_bsemaphore(BOUND);
    shared->condition = made_condition();
    shared->turns = made_rlock();
    shared->event = made_event();
    shared->barrier = made_barrier(PARTIES);
    shared->array = made_array(MPROC_INT64, NUMBERS);
    shared->value = made_array(MPROC_INT64, 3);
    shared->queue = made_queue(QUEUE);
    shared->dict = made_dict();
    shared->list = made_list();
    void *objects[] = OBJECTS;
    for (size_t i = 0; i < sizeof objects / sizeof objects[0]; i++) {
        if (objects[i] == NULL) {
            supervisor_fail("no memory");
        }
    }
}

static void drop_objects(void) {
    void *objects[] = OBJECTS;
    for (size_t i = 0; i < sizeof objects / sizeof objects[0]; i++) {
        mproc_drop(objects[i]);
    }
    mproc_free(shared);
}

static void begin(void) {
    char name[64];
    shared = supervisor_calloc(sizeof *shared);
    make_objects();
    supervisor_name(name, "all");
    supervisor_require(mproc_shm_create(&segment, name, SEGMENT_SIZE, NULL), "making a segment");
    supervisor_require(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 2}), "making a pool");
    for (unsigned i = 0; i < CHILDREN; i++) {
        start_child(i);
    }
}

static void run(double seconds) {
    double next_pause = PROGRESS_INTERVAL;
    for (uint64_t round = 1; supervisor_elapsed() < seconds; round++) {
        supervisor_nap(supervisor_random_below(KILL_INTERVAL));
        take_part();
        kill_one();
        replace_ended();
        if (round % 16 == 0) {
            run_task();
        }
        if (round % 64 == 0) {
            check_everything();
        }
        if (supervisor_elapsed() > next_pause) {
            wait_for_progress();
            next_pause = supervisor_elapsed() + PROGRESS_INTERVAL;
        }
    }
}

/* Ends all children; some of them still wait for a turn or for the event. */
static void end_children(void) {
    double began = supervisor_elapsed();
    mproc__store64(&shared->stop, 1);
    for (unsigned i = 0; i < CHILDREN;) {
        take_part();
        hold_turns();
        mproc_condition_notify_all(shared->condition);
        mproc_rlock_release(shared->turns);
        if (supervisor_await_end(children[i].pid, 0)) {
            collect_child(i++);
        } else if (supervisor_elapsed() - began > SOON) {
            print_waits();
            supervisor_fail("process %d does not end: a hang", (int)children[i].pid);
        } else {
            supervisor_nap(1000);
        }
    }
    mproc_reap();
}

/* Nobody may have held a lock after the last holder of it that was killed: one more child does, and
 * finds the words as every holder does. */
static void hold_each_lock(void) {
    bool by_us;
    pid_t pid = supervisor_fork();
    if (pid == 0) {
        do_lock();
        do_undo();
        do_rlock();
        do_array();
        _exit(0);
    }
    const char *wrong = supervisor_judge(pid, false, &by_us, findings, 1);
    if (wrong != NULL) {
        supervisor_fail("the last holder of the locks %s", wrong);
    }
    mproc_reap();
}

static void remove_segments(void) {
    char name[64];
    for (unsigned i = 0; i < CHILDREN; i++) {
        char suffix[8] = {(char)('0' + i)};
        supervisor_name(name, suffix);
        int r = mproc_shm_unlink(name);
        supervisor_require(r == -ENOENT ? 0 : r, "unlinking a segment that a killed child left");
    }
    supervisor_name(name, "all");
    mproc_shm_drop(segment);
    supervisor_require(mproc_shm_unlink(name), "unlinking the segment");
}

int main(int argc, char **argv) {
    double seconds = supervisor_begin(argc, argv, "soak", 10);
    begin();
    run(seconds);
    wait_for_progress();
    end_children();
    hold_each_lock();
    check_everything();
    settle();
    printf("soak: %llu killed, %llu operations; %llu times past the barrier; %llu tasks, %llu died "
           "with "
           "their worker\n",
           (unsigned long long)kills, (unsigned long long)operations_done,
           (unsigned long long)shared->passed, (unsigned long long)tasks,
           (unsigned long long)tasks_died);
    mproc_pool_drop(pool);
    remove_segments();
    drop_objects();
    return supervisor_end();
}
