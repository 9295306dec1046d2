/*
 * chaos.c - members killed at random for a while, and an account of every item
 *
 * SPDX-License-Identifier: MIT
 *
 * The supervisor keeps producers, consumers and workers running and kills one of them every few
 * milliseconds. Each producer has a journal in the arena: it raises `meant` before a put and `put`
 * when the put has returned. Consumers set one bit for each item that they got. In the end
 *
 *   every item below `put` was got exactly once, except at most one for each killed consumer;
 *   an item below `meant` and not below `put` was got at most once, and is the journal's last;
 *   each consumer saw each producer's items in their order;
 *   every task has a result or died with its worker, never both;
 *   the words under the lock are equal, and the killed members have left nothing in the arena.
 *
 * The bytes of a message are a pattern of producer and number, so a torn message is noticed. A
 * child that notices something wrong exits with a code that says what. The supervisor fails when a
 * child ends in another way than with exit code 0 or by the supervisor's own SIGKILL.
 */
#include "../c/made.h"
#include "supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define PRODUCERS 3
#define CONSUMERS 3
#define WORKERS 2
#define CHILDREN (PRODUCERS + CONSUMERS + WORKERS)
#define ITEMS 65536     /* that a producer puts; then another one takes its place */
#define JOURNALS 100000 /* how many producers there may be, one after the other */
#define BOUND 256
#define OUTSTANDING 64 /* tasks */
#define TASKS 10000000
#define WORDS 8
#define SOON (20 * MPROC_SEC) /* a wait that takes longer is stuck */
#define BIGGEST 100000

enum role { PRODUCER, CONSUMER, WORKER, ROLES };

enum { TORN = CHILD_FINDINGS, TWICE, DISORDER };

static const char *const findings[] = {"got a torn item", "got an item twice",
                                       "got items out of order"};

struct journal {
    uint64_t meant;
    uint64_t put;
    uint64_t got[ITEMS / 64];
};

/* In the arena; made by the supervisor. */
struct shared {
    mproc_queue *queue;
    mproc_taskq *tasks;
    mproc_lock *lock;
    uint64_t word[WORDS]; /* all equal, under the lock */
    uint64_t inherited;   /* how often a holder had died; a statistic */
    uint64_t stop;        /* producers: enough */
    struct journal *journal[JOURNALS];
};

struct child {
    pid_t pid;
    enum role role;
    unsigned seat; /* of a worker */
    bool killed;
};

static struct shared *shared;
static struct child children[CHILDREN];
static uint32_t journals;
static uint64_t kills[ROLES];

/* What the supervisor knows of each task: 0: open, 1: has its result, 2: died with its worker. */
static unsigned char *fate;
static uint64_t tasks_put, tasks_done, tasks_lost;

/* ---------------------------------------------------------------- the children */

/* All words are equal under the lock: a change of all happens as a whole or not at all. */
static void change_words(void) {
    int r = mproc_lock_acquire(shared->lock, SOON);
    if (r == -EOWNERDEAD) {
        __atomic_fetch_add(&shared->inherited, 1, __ATOMIC_RELAXED);
        r = 0;
    }
    child_expect(r);
    uint64_t value = shared->word[0];
    for (int i = 0; i < WORDS; i++) {
        if (shared->word[i] != value) {
            _exit(CHILD_UNEQUAL);
        }
        child_expect(mproc_lock_save(shared->lock, &shared->word[i]));
        *(volatile uint64_t *)&shared->word[i] = value + 1;
    }
    child_expect(mproc_lock_release(shared->lock));
}

struct item {
    uint32_t journal;
    uint32_t number;
};

static char pattern(struct item item) {
    return (char)(item.journal * 31 + item.number * 7 + 1);
}

/* Items are mostly small and sometimes large, so there are all kinds of records. */
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
        child_expect(mproc_queue_reserve(shared->queue, size, &message));
        compose(message.data, item, size);
        child_expect(mproc_queue_commit(shared->queue, &message, SOON));
    } else {
        compose(text, item, size);
        child_expect(mproc_queue_put(shared->queue, text, size, SOON));
    }
}

static void produce(uint32_t number) {
    struct journal *journal = shared->journal[number];
    char *text = malloc(BIGGEST + sizeof(struct item));
    if (text == NULL) {
        _exit(CHILD_ODD_RESULT);
    }
    for (uint32_t i = 0; i < ITEMS && !mproc__load64(&shared->stop); i++) {
        mproc__store64(&journal->meant, i + 1);
        put_item(text, (struct item){number, i});
        mproc__store64(&journal->put, i + 1);
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
    uint64_t *word = &shared->journal[item.journal]->got[item.number / 64];
    if (__atomic_fetch_or(word, bit, __ATOMIC_ACQ_REL) & bit) {
        _exit(TWICE);
    }
}

static void consume(void) {
    char room[150]; /* so that some inline messages do not fit */
    uint32_t *next = calloc(JOURNALS, sizeof *next);
    if (next == NULL) {
        _exit(CHILD_ODD_RESULT);
    }
    for (uint64_t i = 0;; i++) {
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        int r = mproc_queue_get(shared->queue, &message, SOON);
        if (r == MPROC_ECLOSED) {
            return;
        }
        child_expect(r);
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

/* A task is some bytes, and its result is the same bytes. */
static void work(unsigned seat) {
    char room[64];
    child_expect(mproc_taskq_join(shared->tasks, seat));
    for (;;) {
        uint64_t ticket;
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        int r = mproc_taskq_take(shared->tasks, seat, &message, &ticket, SOON);
        if (r == MPROC_ECLOSED) {
            return;
        }
        child_expect(r);
        struct iovec pieces[] = {{message.data, message.size}};
        child_expect(mproc_taskq_finish(shared->tasks, seat, pieces, 1));
        mproc_message_drop(&message);
    }
}

static _Noreturn void child_main(const struct child *child, uint32_t journal) {
    switch (child->role) {
    case PRODUCER: produce(journal); break;
    case CONSUMER: consume(); break;
    default: work(child->seat); break;
    }
    _exit(0);
}

/* ---------------------------------------------------------------- supervisor: the children */

static void start_child(struct child *child) {
    if (child->role == PRODUCER) {
        if (journals == JOURNALS) {
            supervisor_fail("more than %d producers", JOURNALS);
        }
        shared->journal[journals++] = supervisor_calloc(sizeof(struct journal));
    }
    child->killed = false;
    child->pid = supervisor_fork();
    if (child->pid == 0) {
        child_main(child, journals - 1);
    }
}

static const char *role_name(enum role role) {
    static const char *const names[] = {"producer", "consumer", "worker"};
    return names[role];
}

static void worker_died(unsigned seat) {
    uint64_t ticket;
    int r = mproc_taskq_worker_died(shared->tasks, seat, &ticket);
    if (r < 0) {
        supervisor_fail("recording the death of a worker: %s", mproc_strerror(r));
    }
    if (r == 1) {
        if (ticket >= tasks_put || fate[ticket] != 0) {
            supervisor_fail("task %llu died with a worker that did not have it",
                            (unsigned long long)ticket);
        }
        fate[ticket] = 2;
        tasks_lost++;
    }
}

/* Waits for the end of a child; fails unless the child ended as it had to. */
static void collect_child(struct child *child) {
    bool by_us;
    const char *wrong = supervisor_judge(child->pid, child->killed, &by_us, findings, 3);
    if (wrong != NULL) {
        supervisor_fail("a %s %s", role_name(child->role), wrong);
    }
    kills[child->role] += by_us;
    if (child->role == WORKER) {
        worker_died(child->seat);
    }
    /* Leaves half of the deaths to the other children, which have to notice them. */
    if (supervisor_random_below(2) == 0) {
        mproc_reap();
    }
}

static void kill_one(void) {
    struct child *child = &children[supervisor_random_below(CHILDREN)];
    child->killed = true;
    kill(child->pid, SIGKILL);
    collect_child(child);
    start_child(child);
}

static void replace_ended(void) {
    for (int i = 0; i < CHILDREN; i++) {
        if (supervisor_ended(children[i].pid)) {
            collect_child(&children[i]);
            start_child(&children[i]);
        }
    }
}

/* ---------------------------------------------------------------- supervisor: tasks and checks */

static void put_task(void) {
    char text[40] = "";
    uint64_t ticket;
    snprintf(text, sizeof text, "task %llu", (unsigned long long)tasks_put);
    struct iovec piece = {text, sizeof text};
    int r = mproc_taskq_put(shared->tasks, &piece, 1, &ticket);
    if (r != 0 || ticket != tasks_put) {
        supervisor_fail("putting a task: %s", mproc_strerror(r));
    }
    tasks_put++;
}

static bool collect_result(int64_t timeout) {
    char room[64], text[40] = "";
    uint64_t ticket;
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_taskq_collect(shared->tasks, &message, &ticket, timeout);
    if (r == -ETIMEDOUT) {
        return false;
    }
    if (r != 0) {
        supervisor_fail("collecting a result: %s", mproc_strerror(r));
    }
    snprintf(text, sizeof text, "task %llu", (unsigned long long)ticket);
    if (message.size != sizeof text || memcmp(message.data, text, sizeof text) != 0) {
        supervisor_fail("the result of task %llu is torn", (unsigned long long)ticket);
    }
    if (ticket >= tasks_put || fate[ticket] != 0) {
        supervisor_fail("task %llu has a result and %s", (unsigned long long)ticket,
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
    supervisor_check(mproc_arena_check(why, sizeof why));
    supervisor_check(mproc_member_check(why, sizeof why));
    supervisor_check(mproc_queue_check(shared->queue, why, sizeof why));
    supervisor_check(mproc_taskq_check(shared->tasks, why, sizeof why));
    supervisor_check(mproc_lock_check(shared->lock, why, sizeof why));
}

/* ---------------------------------------------------------------- supervisor: the account */

struct account {
    uint64_t put;     /* items whose put returned */
    uint64_t missing; /* of these, not got */
    uint64_t meant;   /* items whose producer died in the put: they may be there or not */
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
            supervisor_fail("an item was got that was never put");
        }
    }
}

static struct account settle(void) {
    struct account account = {0};
    for (uint32_t i = 0; i < journals; i++) {
        add_journal(&account, shared->journal[i]);
    }
    if (account.missing > kills[CONSUMER]) {
        supervisor_fail("%llu items are missing, and %llu consumers were killed",
                        (unsigned long long)account.missing, (unsigned long long)kills[CONSUMER]);
    }
    if (tasks_done + tasks_lost != tasks_put) {
        supervisor_fail("%llu tasks: %llu done, %llu died with a worker",
                        (unsigned long long)tasks_put, (unsigned long long)tasks_done,
                        (unsigned long long)tasks_lost);
    }
    for (int i = 1; i < WORDS; i++) {
        if (shared->word[i] != shared->word[0]) {
            supervisor_fail("the words under the lock differ");
        }
    }
    return account;
}

/* ---------------------------------------------------------------- supervisor: begin and end */

static void begin(void) {
    shared = supervisor_calloc(sizeof *shared);
    shared->queue = made_queue(BOUND);
    shared->tasks = made_taskq(WORKERS);
    shared->lock = made_lock(WORDS);
    fate = calloc(TASKS, 1);
    if (shared->queue == NULL || shared->tasks == NULL || shared->lock == NULL || fate == NULL) {
        supervisor_fail("no memory");
    }
    for (unsigned i = 0; i < CHILDREN; i++) {
        enum role role = i < PRODUCERS ? PRODUCER : i < PRODUCERS + CONSUMERS ? CONSUMER : WORKER;
        children[i].role = role;
        children[i].seat = role == WORKER ? i - PRODUCERS - CONSUMERS : 0;
        start_child(&children[i]);
    }
}

static void wait_for_end(struct child *child) {
    if (!supervisor_await_end(child->pid, (int)(SOON / MPROC_SEC) * 2)) {
        supervisor_fail("a %s does not end", role_name(child->role));
    }
    collect_child(child);
}

static void end_role(enum role role) {
    for (int i = 0; i < CHILDREN; i++) {
        if (children[i].role == role) {
            wait_for_end(&children[i]);
        }
    }
}

/* Ends the producers, then the consumers when they have got all items, then the workers. */
static void finish(void) {
    mproc__store64(&shared->stop, 1);
    end_role(PRODUCER);
    mproc_queue_close(shared->queue);
    end_role(CONSUMER);
    while (tasks_done + tasks_lost < tasks_put) {
        if (!collect_result(SOON)) {
            supervisor_fail("a result does not come");
        }
    }
    mproc_taskq_close(shared->tasks);
    end_role(WORKER);
    mproc_reap();
    check_everything();
}

static void release_all(void) {
    for (uint32_t i = 0; i < journals; i++) {
        mproc_free(shared->journal[i]);
    }
    mproc_drop(shared->queue);
    mproc_drop(shared->tasks);
    mproc_drop(shared->lock);
    mproc_free(shared);
    free(fate);
}

static void run(double seconds) {
    for (uint64_t round = 0; supervisor_elapsed() < seconds; round++) {
        supervisor_nap(supervisor_random_below(4000));
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
           (unsigned long long)tasks_lost, (unsigned long long)shared->inherited);
}

int main(int argc, char **argv) {
    double seconds = supervisor_begin(argc, argv, "chaos", 5);
    begin();
    run(seconds);
    finish();
    struct account account = settle();
    print_account(&account);
    release_all();
    return supervisor_end();
}
