/*
 * chaos.c - members killed at random for a while, and an account of every item
 *
 * SPDX-License-Identifier: MIT
 *
 * The boss keeps producers, consumers and workers running and kills one of them every few milliseconds.
 * Each producer has a journal in the arena: `meant` is raised before a put, `put` after it has
 * returned; consumers set one bit per item that they got. In the end
 *
 *   every item below `put` was got exactly once, but for at most one per killed consumer;
 *   an item that was meant but not known as put was got at most once, and is the journal's last;
 *   each consumer saw each producer's items in their order;
 *   every task has a result or died with its worker, never both;
 *   the words under the lock are equal, and nothing of the dead is left in the arena.
 *
 * A message's bytes are a pattern of producer and number, so that a torn one is seen. Whoever sees
 * something wrong exits with a code of its own, and the boss, who expects 0 or its own SIGKILL, fails.
 */
#include "../c/made.h"
#include "boss.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRODUCERS 3
#define CONSUMERS 3
#define WORKERS 2
#define CREW (PRODUCERS + CONSUMERS + WORKERS)
#define ITEMS 65536     /* a producer's; then it is replaced */
#define JOURNALS 100000 /* producers, one after the other */
#define BOUND 256
#define OUTSTANDING 64 /* tasks */
#define TASKS 10000000
#define WORDS 8
#define SOON (20 * MPROC_SEC) /* nobody waits so long unless it is stuck */
#define BIGGEST 100000

enum role { PRODUCER, CONSUMER, WORKER, ROLES };

enum finding { GOOD = 0, STUCK = 10, TORN, TWICE, DISORDER, UNEQUAL, ODD_RESULT };

struct journal {
    uint64_t meant;
    uint64_t put;
    uint64_t got[ITEMS / 64];
};

/* In the arena; made by the boss. */
struct world {
    mproc_queue *queue;
    mproc_taskq *tasks;
    mproc_lock *lock;
    uint64_t word[WORDS]; /* all equal, under the lock */
    uint64_t inherited;   /* how often a holder was dead; a statistic */
    uint64_t stop;        /* producers: enough */
    struct journal *journal[JOURNALS];
};

struct mate {
    pid_t pid;
    enum role role;
    unsigned seat; /* of a worker */
    bool killed;
};

static struct world *world;
static struct mate crew[CREW];
static uint32_t journals;
static uint64_t kills[ROLES];

/* The boss' books on tasks: 0: open, 1: has its result, 2: died with its worker. */
static unsigned char *fate;
static uint64_t tasks_put, tasks_done, tasks_lost;

/* What a call of the library says to a mate: it goes on, or is done, or stuck. */
static void expect(int r) {
    if (r == -ETIMEDOUT) {
        _exit(STUCK);
    }
    if (r != 0) {
        fprintf(stderr, "chaos: %s\n", mproc_strerror(r));
        _exit(ODD_RESULT);
    }
}

/* ---------------------------------------------------------------- the crew */

/* Under the lock all words are equal; a change of all is whole or not at all. */
static void change_words(void) {
    int r = mproc_lock_acquire(world->lock, SOON);
    if (r == -EOWNERDEAD) {
        __atomic_fetch_add(&world->inherited, 1, __ATOMIC_RELAXED);
        r = 0;
    }
    expect(r);
    uint64_t value = world->word[0];
    for (int i = 0; i < WORDS; i++) {
        if (world->word[i] != value) {
            _exit(UNEQUAL);
        }
        expect(mproc_lock_save(world->lock, &world->word[i]));
        *(volatile uint64_t *)&world->word[i] = value + 1;
    }
    expect(mproc_lock_release(world->lock));
}

struct item {
    uint32_t journal;
    uint32_t number;
};

static char pattern(struct item item) {
    return (char)(item.journal * 31 + item.number * 7 + 1);
}

/* Mostly small, sometimes large: all kinds of records. */
static size_t item_size(struct item item) {
    uint32_t n = item.number * 2654435761u + item.journal;
    size_t size = n % 61 == 0 ? n % BIGGEST : n % 200;
    return sizeof item + size;
}

static void compose(char *out, struct item item, size_t size) {
    memcpy(out, &item, sizeof item);
    memset(out + sizeof item, pattern(item), size - sizeof item);
}

static void put_item(char *text, struct item item) {
    size_t size = item_size(item);
    if (item.number % 7 == 3) {
        mproc_message message;
        expect(mproc_queue_reserve(world->queue, size, &message));
        compose(message.data, item, size);
        expect(mproc_queue_commit(world->queue, &message, SOON));
    } else {
        compose(text, item, size);
        expect(mproc_queue_put(world->queue, text, size, SOON));
    }
}

static void produce(uint32_t number) {
    struct journal *journal = world->journal[number];
    char *text = malloc(BIGGEST + sizeof(struct item));
    if (text == NULL) {
        _exit(ODD_RESULT);
    }
    for (uint32_t i = 0; i < ITEMS && !boss_load(&world->stop); i++) {
        boss_store(&journal->meant, i + 1);
        put_item(text, (struct item){number, i});
        boss_store(&journal->put, i + 1);
        if (i % 4 == 0) {
            change_words();
        }
    }
}

static struct item read_item(const char *data, size_t size) {
    struct item item;
    if (size < sizeof item) {
        _exit(TORN);
    }
    memcpy(&item, data, sizeof item);
    if (item.journal >= JOURNALS || item.number >= ITEMS || size != item_size(item)) {
        _exit(TORN);
    }
    for (size_t i = sizeof item; i < size; i++) {
        if (data[i] != pattern(item)) {
            _exit(TORN);
        }
    }
    return item;
}

static void mark(struct item item) {
    uint64_t bit = UINT64_C(1) << (item.number % 64);
    uint64_t *word = &world->journal[item.journal]->got[item.number / 64];
    if (__atomic_fetch_or(word, bit, __ATOMIC_ACQ_REL) & bit) {
        _exit(TWICE);
    }
}

static void consume(void) {
    char room[150]; /* so that some inline messages do not fit */
    uint32_t *next = calloc(JOURNALS, sizeof *next);
    if (next == NULL) {
        _exit(ODD_RESULT);
    }
    for (uint64_t i = 0;; i++) {
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        int r = mproc_queue_get(world->queue, &message, SOON);
        if (r == MPROC_ECLOSED) {
            return;
        }
        expect(r);
        struct item item = read_item(message.data, message.size);
        mark(item);
        if (item.number < next[item.journal]) {
            _exit(DISORDER);
        }
        next[item.journal] = item.number + 1;
        mproc_message_drop(&message);
        if (i % 4 == 0) {
            change_words();
        }
    }
}

/* A task is a number and some bytes; its result the same bytes. */
static void work(unsigned seat) {
    char room[64];
    expect(mproc_taskq_join(world->tasks, seat));
    for (;;) {
        uint64_t ticket;
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        int r = mproc_taskq_take(world->tasks, seat, &message, &ticket, SOON);
        if (r == MPROC_ECLOSED) {
            return;
        }
        expect(r);
        struct iovec pieces[] = {{message.data, message.size}};
        expect(mproc_taskq_finish(world->tasks, seat, pieces, 1));
        mproc_message_drop(&message);
    }
}

static _Noreturn void live(const struct mate *mate, uint32_t journal) {
    switch (mate->role) {
    case PRODUCER: produce(journal); break;
    case CONSUMER: consume(); break;
    default: work(mate->seat); break;
    }
    _exit(GOOD);
}

/* ---------------------------------------------------------------- boss: the crew */

static void hire(struct mate *mate) {
    if (mate->role == PRODUCER) {
        if (journals == JOURNALS) {
            boss_fail("more than %d producers", JOURNALS);
        }
        world->journal[journals++] = boss_calloc(sizeof(struct journal));
    }
    mate->killed = false;
    mate->pid = boss_fork();
    if (mate->pid == 0) {
        live(mate, journals - 1);
    }
}

static const char *role_name(enum role role) {
    static const char *const names[] = {"producer", "consumer", "worker"};
    return names[role];
}

static void mourn_seat(unsigned seat) {
    uint64_t ticket;
    int r = mproc_taskq_worker_died(world->tasks, seat, &ticket);
    if (r < 0) {
        boss_fail("mourn: %s", mproc_strerror(r));
    }
    if (r == 1) {
        if (ticket >= tasks_put || fate[ticket] != 0) {
            boss_fail("task %llu died with a worker that did not have it",
                      (unsigned long long)ticket);
        }
        fate[ticket] = 2;
        tasks_lost++;
    }
}

/* Collects an ended mate's status and judges it. */
static void bury(struct mate *mate) {
    int status = boss_collect(mate->pid);
    bool by_us = mate->killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!by_us && status != 0) {
        static const char *const words[] = {"waited in vain",      "got a torn item",
                                            "got an item twice",   "got items out of order",
                                            "found unequal words", "got an odd result"};
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
        bool known = code >= STUCK && code <= ODD_RESULT;
        boss_fail("a %s %s (wait status %#x)", role_name(mate->role),
                  known ? words[code - STUCK] : "ended by itself", (unsigned)status);
    }
    kills[mate->role] += by_us;
    if (mate->role == WORKER) {
        mourn_seat(mate->seat);
    }
    /* The others have to notice by themselves that half of the dead are dead. */
    if (boss_random_below(2) == 0) {
        mproc_reap();
    }
}

static void kill_one(void) {
    struct mate *mate = &crew[boss_random_below(CREW)];
    mate->killed = true;
    kill(mate->pid, SIGKILL);
    bury(mate);
    hire(mate);
}

static void replace_ended(void) {
    for (int i = 0; i < CREW; i++) {
        if (boss_ended(crew[i].pid)) {
            bury(&crew[i]);
            hire(&crew[i]);
        }
    }
}

/* ---------------------------------------------------------------- boss: tasks and checks */

static void put_task(void) {
    char text[40] = "";
    uint64_t ticket;
    snprintf(text, sizeof text, "task %llu", (unsigned long long)tasks_put);
    struct iovec piece = {text, sizeof text};
    int r = mproc_taskq_put(world->tasks, &piece, 1, &ticket);
    if (r != 0 || ticket != tasks_put) {
        boss_fail("putting a task: %s", mproc_strerror(r));
    }
    tasks_put++;
}

static bool collect_result(int64_t timeout) {
    char room[64], text[40] = "";
    uint64_t ticket;
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_taskq_collect(world->tasks, &message, &ticket, timeout);
    if (r == -ETIMEDOUT) {
        return false;
    }
    if (r != 0) {
        boss_fail("collecting a result: %s", mproc_strerror(r));
    }
    snprintf(text, sizeof text, "task %llu", (unsigned long long)ticket);
    if (message.size != sizeof text || memcmp(message.data, text, sizeof text) != 0) {
        boss_fail("the result of task %llu is torn", (unsigned long long)ticket);
    }
    if (ticket >= tasks_put || fate[ticket] != 0) {
        boss_fail("task %llu has a result and %s", (unsigned long long)ticket,
                  fate[ticket] == 1 ? "another one" : "died with its worker");
    }
    fate[ticket] = 1;
    tasks_done++;
    mproc_message_drop(&message);
    return true;
}

static void serve_tasks(void) {
    while (tasks_put - tasks_done - tasks_lost < OUTSTANDING && tasks_put < TASKS) {
        put_task();
    }
    while (collect_result(0)) {
    }
}

static void check_everything(void) {
    boss_check(mproc_arena_check(why, sizeof why));
    boss_check(mproc_member_check(why, sizeof why));
    boss_check(mproc_queue_check(world->queue, why, sizeof why));
    boss_check(mproc_taskq_check(world->tasks, why, sizeof why));
    boss_check(mproc_lock_check(world->lock, why, sizeof why));
}

/* ---------------------------------------------------------------- boss: the account */

struct account {
    uint64_t put;     /* items whose put returned */
    uint64_t missing; /* of these, not got */
    uint64_t meant;   /* items of which nobody knows: their producer died in the put */
    uint64_t arrived; /* of these, got */
};

static bool got(const struct journal *journal, uint64_t i) {
    return journal->got[i / 64] >> (i % 64) & 1;
}

static void add_journal(struct account *account, const struct journal *journal) {
    account->put += journal->put;
    for (uint64_t i = 0; i < journal->put; i++) {
        account->missing += !got(journal, i);
    }
    if (journal->meant > journal->put) {
        account->meant++;
        account->arrived += got(journal, journal->put);
    }
    for (uint64_t i = journal->meant; i < ITEMS; i++) {
        if (got(journal, i)) {
            boss_fail("an item was got that was never put");
        }
    }
}

static struct account settle(void) {
    struct account account = {0};
    for (uint32_t i = 0; i < journals; i++) {
        add_journal(&account, world->journal[i]);
    }
    if (account.missing > kills[CONSUMER]) {
        boss_fail("%llu items are missing, and %llu consumers were killed",
                  (unsigned long long)account.missing, (unsigned long long)kills[CONSUMER]);
    }
    if (tasks_done + tasks_lost != tasks_put) {
        boss_fail("%llu tasks: %llu done, %llu died with a worker", (unsigned long long)tasks_put,
                  (unsigned long long)tasks_done, (unsigned long long)tasks_lost);
    }
    for (int i = 1; i < WORDS; i++) {
        if (world->word[i] != world->word[0]) {
            boss_fail("the words under the lock differ");
        }
    }
    return account;
}

/* ---------------------------------------------------------------- boss: life */

static void begin(void) {
    world = boss_calloc(sizeof *world);
    world->queue = made_queue(BOUND);
    world->tasks = made_taskq(WORKERS);
    world->lock = made_lock(WORDS);
    fate = calloc(TASKS, 1);
    if (world->queue == NULL || world->tasks == NULL || world->lock == NULL || fate == NULL) {
        boss_fail("no memory");
    }
    for (unsigned i = 0; i < CREW; i++) {
        enum role role = i < PRODUCERS ? PRODUCER : i < PRODUCERS + CONSUMERS ? CONSUMER : WORKER;
        crew[i].role = role;
        crew[i].seat = role == WORKER ? i - PRODUCERS - CONSUMERS : 0;
        hire(&crew[i]);
    }
}

static void wait_for_end(struct mate *mate) {
    if (!boss_await_end(mate->pid, (int)(SOON / MPROC_SEC) * 2)) {
        boss_fail("a %s does not end", role_name(mate->role));
    }
    bury(mate);
}

static void end_role(enum role role) {
    for (int i = 0; i < CREW; i++) {
        if (crew[i].role == role) {
            wait_for_end(&crew[i]);
        }
    }
}

/* Producers end, what they put is got, tasks are done; then everybody is gone. */
static void finish(void) {
    boss_store(&world->stop, 1);
    end_role(PRODUCER);
    mproc_queue_close(world->queue);
    end_role(CONSUMER);
    while (tasks_done + tasks_lost < tasks_put) {
        if (!collect_result(SOON)) {
            boss_fail("a result does not come");
        }
    }
    mproc_taskq_close(world->tasks);
    end_role(WORKER);
    mproc_reap();
    check_everything();
}

static void release_all(void) {
    for (uint32_t i = 0; i < journals; i++) {
        mproc_free(world->journal[i]);
    }
    mproc_drop(world->queue);
    mproc_drop(world->tasks);
    mproc_drop(world->lock);
    mproc_free(world);
    free(fate);
}

static void run(double seconds) {
    for (uint64_t round = 0; boss_elapsed() < seconds; round++) {
        boss_nap(boss_random_below(4000));
        serve_tasks();
        kill_one();
        replace_ended();
        if (round % 64 == 0) {
            check_everything();
        }
    }
}

static void print_account(const struct account *a) {
    printf("chaos: killed %llu producers, %llu consumers, %llu workers\n"
           "chaos: %llu items put, %llu of them in the hands of killed consumers; "
           "%llu puts cut short, %llu of them arrived\n"
           "chaos: %llu tasks, %llu died with their worker; lock inherited %llu times\n",
           (unsigned long long)kills[PRODUCER], (unsigned long long)kills[CONSUMER],
           (unsigned long long)kills[WORKER], (unsigned long long)a->put,
           (unsigned long long)a->missing, (unsigned long long)a->meant,
           (unsigned long long)a->arrived, (unsigned long long)tasks_put,
           (unsigned long long)tasks_lost, (unsigned long long)world->inherited);
}

int main(int argc, char **argv) {
    double seconds = boss_begin(argc, argv, "chaos", 5);
    begin();
    run(seconds);
    finish();
    struct account account = settle();
    print_account(&account);
    release_all();
    return boss_end();
}
