/*
 * test_inspect.c - what is seen of a family from outside: members, holders, waiters, deadlocks
 *
 * SPDX-License-Identifier: MIT
 *
 * The looker is the test itself, which looks at its own family as a stranger would. Children are
 * put into a situation, and looked at until they are in it; a situation that is not seen ends the
 * test by its watchdog.
 */
#include "children.h"
#include "core/stack.h"
#include "inspect/blame.h"
#include "inspect/interpreter.h"
#include "inspect/place.h"
#include "inspect/proof.h"
#include "inspect/show.h"
#include "inspect/text.h"
#include "made.h"
#include "members.h"
#include "pools.h"
#include "system/os_tool.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/uio.h>

/* Seen twice, as the program does. */
struct sight {
    struct mproc__outside arena;
    struct mproc__picture picture;
    int groups;
};

static void look(struct sight *out) {
    struct mproc__picture earlier;
    CHECK_OK(mproc__outside_open(getpid(), &out->arena));
    CHECK_OK(mproc__picture_take(&out->arena, &earlier));
    (void)mproc__blame(&earlier);
    CHECK_OK(mproc__picture_take(&out->arena, &out->picture));
    mproc__prove(&out->arena, &out->picture, &earlier);
    out->groups = mproc__blame_again(&out->picture, &earlier);
    mproc__picture_drop(&earlier);
}

static void forget(struct sight *sight) {
    mproc__picture_drop(&sight->picture);
    mproc__outside_close(&sight->arena);
}

static int stuck_in(const struct sight *sight) {
    int n = 0;
    for (int i = 0; i < sight->picture.nwaits; i++) {
        n += sight->picture.waits[i].stuck;
    }
    return n;
}

/* Looks until so many threads are stuck. */
static void look_until_stuck(struct sight *out, int stuck) {
    for (look(out); stuck_in(out) != stuck; look(out)) {
        forget(out);
        usleep(1000);
    }
}

static int waiting_for(const struct mproc__picture *p, enum mproc__kind kind) {
    int n = 0;
    for (int i = 0; i < p->nwaits; i++) {
        n += p->waits[i].object >= 0 && p->objects[p->waits[i].object].kind == kind;
    }
    return n;
}

/* A form of it as text, which the caller frees. */
static char *formed(const struct sight *sight, mproc__show_fn form,
                    const struct mproc__picture *before) {
    static char *text; /* gcc 12 warns of a dangling pointer if they are on the stack */
    static size_t size;
    FILE *out = open_memstream(&text, &size);
    const struct mproc__show show = {out, &sight->arena, &sight->picture, sight->groups, before};
    form(&show);
    fclose(out);
    return text;
}

/* One form of it has all of these words. */
static void expect_words(const struct sight *sight, mproc__show_fn form, const char *const *words) {
    char *text = formed(sight, form, NULL);
    for (; *words != NULL; words++) {
        CHECK(strstr(text, *words) != NULL);
    }
    free(text);
}

/* Looks until so many threads wait for objects of a kind, then once more: none is stuck. */
static void look_for_no_deadlock(struct sight *out, int waiting, enum mproc__kind kind) {
    for (look(out); waiting_for(&out->picture, kind) != waiting; look(out)) {
        forget(out);
        usleep(1000);
    }
    forget(out);
    look(out);
    CHECK_EQ(stuck_in(out), 0);
    CHECK_EQ(out->groups, 0);
    expect_words(out, mproc__show_html, (const char *const[]){"no deadlock</h2>", NULL});
}

/* Every situation is in the graph and in the page as well. */
static void expect_drawn(const struct sight *sight) {
    const char *const edge[] = {"! ", " -- waits for", " --> ", NULL};
    const char *const dot[] = {"digraph waits {", "color=red", "n0 -> n1", "}\n", NULL};
    const char *const svg[] = {"<svg xmlns", "class=\"stuck\"", "bad\"", "</svg>", NULL};
    const char *const page[] = {"deadlock",   "<pre class=\"bad\">DEADLOCK",
                                "<svg xmlns", "<h3>Members</h3>",
                                "</section>", NULL};
    expect_words(sight, mproc__show_graph, edge);
    expect_words(sight, mproc__show_dot, dot);
    expect_words(sight, mproc__show_svg, svg);
    expect_words(sight, mproc__show_html, page);
}

/* What the report says of it, which has to begin with a line that has `first` in it. */
static void expect_said(const struct sight *sight, const char *first, const char *more) {
    char *text = formed(sight, mproc__show_locks, NULL);
    const char *line = strchr(text, '\n');
    CHECK(line != NULL && strncmp(line + 1, first, strlen(first)) == 0);
    CHECK(strstr(text, more) != NULL);
    free(text);
    expect_words(sight, mproc__show_html, (const char *const[]){first, more, NULL});
    if (strncmp(first, "DEADLOCK", 8) == 0) {
        expect_drawn(sight);
    }
}

static void kill_all(const pid_t *pids, int n) {
    for (int i = 0; i < n; i++) {
        child_kill(pids[i]);
    }
    (void)mproc_reap();
}

/* ---------------------------------------------------------------- locks in a ring */

struct ring {
    mproc_lock *locks[3];
    mproc_barrier *all;
    int n, mine;
};

static void take_two(void *arg) {
    struct ring *ring = arg;
    CHECK_OK(mproc_lock_acquire(ring->locks[ring->mine], 0));
    CHECK_GE(mproc_barrier_wait(ring->all, MPROC_FOREVER, NULL), 0);
    CHECK_OK(mproc_lock_acquire(ring->locks[(ring->mine + 1) % ring->n], MPROC_FOREVER));
}

static void expect_ring(int n, const char *said) {
    struct ring ring = {.n = n, .all = made_barrier((unsigned)n)};
    struct sight sight;
    pid_t pids[3];
    for (int i = 0; i < n; i++) {
        ring.locks[i] = made_lock(0);
    }
    for (int i = 0; i < n; i++) {
        ring.mine = i;
        pids[i] = child_fork(take_two, &ring);
    }
    look_until_stuck(&sight, n);
    CHECK_EQ(sight.groups, 1);
    expect_said(&sight, said, " holds, for ");
    forget(&sight);
    kill_all(pids, n);
    for (int i = 0; i < n; i++) {
        mproc_drop(ring.locks[i]);
    }
    mproc_drop(ring.all);
}

TEST(inspect_names_two_locks_that_are_crossed) {
    expect_ring(2, "DEADLOCK of 2");
}

TEST(inspect_names_three_locks_in_a_ring) {
    expect_ring(3, "DEADLOCK of 3");
}

static void *take_two_in_a_thread(void *ring) {
    take_two(ring);
    return NULL;
}

static void take_two_in_two_threads(void *arg) {
    struct ring first = *(struct ring *)arg, second = first;
    pthread_t threads[2];
    second.mine = 1;
    CHECK_EQ(pthread_create(&threads[0], NULL, take_two_in_a_thread, &first), 0);
    CHECK_EQ(pthread_create(&threads[1], NULL, take_two_in_a_thread, &second), 0);
    CHECK_EQ(pthread_join(threads[0], NULL), 0);
}

/* "(pid 7, thread 8)", and what stands before and behind it. */
static void expect_thread(const struct sight *sight, mproc__show_fn form, const char *before,
                          const struct mproc__seen_wait *w, const char *behind) {
    char words[200];
    snprintf(words, sizeof words, "%s(pid %d, thread %u)%s", before,
             (int)sight->picture.members[w->member].pid, (unsigned)w->thread, behind);
    expect_words(sight, form, (const char *const[]){words, NULL});
}

TEST(inspect_tells_the_threads_of_a_process_apart) {
    struct ring ring = {.n = 2, .all = made_barrier(2), .locks = {made_lock(0), made_lock(0)}};
    struct sight sight;
    char words[40];
    pid_t pid = child_fork(take_two_in_two_threads, &ring);
    look_until_stuck(&sight, 2);
    CHECK_EQ(sight.groups, 1);
    expect_said(&sight, "DEADLOCK of 2", " holds, for ");
    for (int i = 0; i < sight.picture.nwaits; i++) {
        const struct mproc__seen_wait *w = &sight.picture.waits[i];
        expect_thread(&sight, mproc__show_locks, "  fork ", w, " waits for the lock @");
        expect_thread(&sight, mproc__show_locks, ", which fork ", w, " holds, for ");
        expect_thread(&sight, mproc__show_locks, ", held by fork ", w, " for ");
        expect_thread(&sight, mproc__show_graph, "! fork ", w, " -- waits for --> lock @");
        expect_thread(&sight, mproc__show_graph, " -- held by --> fork ", w, "\n");
        snprintf(words, sizeof words, "thread %u waits for the lock @", (unsigned)w->thread);
        expect_words(&sight, mproc__show_ps, (const char *const[]){words, NULL});
    }
    expect_words(&sight, mproc__show_dot, (const char *const[]){"n3 -> n0", NULL}); /* a ring */
    forget(&sight);
    kill_all(&pid, 1);
    mproc_drop(ring.locks[0]);
    mproc_drop(ring.locks[1]);
    mproc_drop(ring.all);
}

/* ---------------------------------------------------------------- other situations */

struct pair {
    mproc_lock *lock;
    mproc_queue *queue;
    mproc_event *event;
    mproc_condition *condition;
    mproc_barrier *barrier;
    mproc_semaphore *semaphore;
    mproc_process *child;
};

static void fill_queue_with_lock(void *arg) {
    struct pair *pair = arg;
    CHECK_OK(mproc_lock_acquire(pair->lock, 0));
    while (mproc_queue_put(pair->queue, "x", 1, MPROC_FOREVER) == 0) {
    }
}

static void drain_queue_by_lock(void *arg) {
    struct pair *pair = arg;
    CHECK_OK(mproc_lock_acquire(pair->lock, MPROC_FOREVER));
}

/* The test holds what its children hold, and can act: so it gives up what they are to be alone
 * with. */
TEST(inspect_names_a_lock_held_by_who_waits_for_a_full_queue) {
    struct pair pair = {.lock = made_lock(0), .queue = made_queue(2)};
    struct sight sight;
    pid_t pids[2];
    pids[0] = child_fork(fill_queue_with_lock, &pair);
    look_for_no_deadlock(&sight, 1, MPROC__KIND_QUEUE);
    forget(&sight);
    pids[1] = child_fork(drain_queue_by_lock, &pair);
    mproc_drop(pair.queue);
    look_until_stuck(&sight, 2);
    CHECK_EQ(sight.groups, 1);
    expect_said(&sight, "DEADLOCK of 2", "which has 2 messages of at most 2");
    forget(&sight);
    kill_all(pids, 2);
    mproc_drop(pair.lock);
}

static void wait_for_message(void *arg) {
    char byte;
    mproc_message message = MPROC_MESSAGE_INIT(&byte, 1);
    CHECK_OK(mproc_queue_get(((struct pair *)arg)->queue, &message, MPROC_FOREVER));
}

TEST(inspect_names_an_empty_queue_whose_producers_are_gone) {
    struct pair pair = {.queue = made_queue(2)};
    struct sight sight;
    pid_t pid = child_fork(wait_for_message, &pair);
    look_for_no_deadlock(&sight, 1, MPROC__KIND_QUEUE); /* the test could put something */
    forget(&sight);
    mproc_drop(pair.queue);
    look_until_stuck(&sight, 1);
    expect_said(&sight, "DEADLOCK: nobody is left", "is empty (no other process has it)");
    forget(&sight);
    kill_all(&pid, 1);
}

static void wait_for_notification(void *arg) {
    struct pair *pair = arg;
    CHECK_OK(mproc_lock_acquire(pair->lock, 0));
    CHECK_OK(mproc_condition_wait(pair->condition, pair->lock, MPROC_FOREVER));
}

TEST(inspect_names_a_condition_that_nobody_notifies) {
    struct pair pair = {.lock = made_lock(0), .condition = made_condition()};
    struct sight sight;
    pid_t pid = child_fork(wait_for_notification, &pair);
    mproc_drop(pair.condition);
    look_until_stuck(&sight, 1);
    expect_said(&sight, "DEADLOCK: nobody is left", "waits until it is notified by the condition");
    forget(&sight);
    kill_all(&pid, 1);
    mproc_drop(pair.lock);
}

static void wait_at_barrier(void *arg) {
    CHECK_GE(mproc_barrier_wait(((struct pair *)arg)->barrier, MPROC_FOREVER, NULL), 0);
}

static void end_at_once(void *arg) {
    (void)arg;
}

TEST(inspect_names_a_barrier_with_a_dead_party) {
    struct pair pair = {.barrier = made_barrier(2)};
    struct sight sight;
    pid_t pid = child_fork(wait_at_barrier, &pair);
    child_join(child_fork(end_at_once, &pair)); /* it should have come, too */
    (void)mproc_reap();
    mproc_drop(pair.barrier);
    look_until_stuck(&sight, 1);
    expect_said(&sight, "DEADLOCK: nobody is left", "to which 1 of 2 has come");
    forget(&sight);
    kill_all(&pid, 1);
}

static void hold_lock(void *arg) {
    CHECK_OK(mproc_lock_acquire(((struct pair *)arg)->lock, 0));
    sleep_until_killed();
}

TEST(inspect_names_a_holder_that_is_stopped) {
    struct pair pair = {.lock = made_lock(0)};
    struct mproc_lock_holder holder = {0};
    struct sight sight;
    pid_t pids[2];
    pids[0] = child_fork(hold_lock, &pair);
    while (holder.pid != pids[0]) {
        usleep(200);
        mproc_lock_owner(pair.lock, &holder);
    }
    CHECK_OK(kill(pids[0], SIGSTOP));
    CHECK_EQ(waitpid(pids[0], NULL, WUNTRACED), pids[0]);
    pids[1] = child_fork(drain_queue_by_lock, &pair);
    look_for_no_deadlock(&sight, 1, MPROC__KIND_LOCK);
    expect_said(&sight, "STOPPED: ", "goes on only when it gets SIGCONT");
    forget(&sight);
    kill_all(pids, 2);
    mproc_drop(pair.lock);
}

static void take_two_with_time(void *arg) {
    struct ring *ring = arg;
    CHECK_OK(mproc_lock_acquire(ring->locks[ring->mine], 0));
    CHECK_GE(mproc_barrier_wait(ring->all, MPROC_FOREVER, NULL), 0);
    int64_t timeout = ring->mine == 0 ? MPROC_SEC * 3600 : MPROC_FOREVER;
    CHECK_OK(mproc_lock_acquire(ring->locks[1 - ring->mine], timeout));
}

TEST(inspect_names_no_deadlock_that_a_timeout_will_end) {
    struct ring ring = {.n = 2, .all = made_barrier(2), .locks = {made_lock(0), made_lock(0)}};
    struct sight sight;
    pid_t pids[2];
    for (ring.mine = 0; ring.mine < 2; ring.mine++) {
        pids[ring.mine] = child_fork(take_two_with_time, &ring);
    }
    look_for_no_deadlock(&sight, 2, MPROC__KIND_LOCK);
    forget(&sight);
    kill_all(pids, 2);
    mproc_drop(ring.locks[0]);
    mproc_drop(ring.locks[1]);
    mproc_drop(ring.all);
}

static int wait_for_event(void *arg, size_t size) {
    (void)size;
    return mproc_event_wait(*(mproc_event **)arg, MPROC_FOREVER);
}

static void join_child(void *arg) {
    struct pair *pair = arg;
    mproc_process *child;
    CHECK_OK(mproc_process_start(&child, wait_for_event, &pair->event, sizeof pair->event, NULL));
    CHECK_OK(mproc_process_join(child, MPROC_FOREVER));
}

TEST(inspect_names_a_join_on_a_child_that_waits_for_its_parent) {
    struct pair pair = {.event = made_event()};
    struct sight sight;
    pid_t pid = child_fork(join_child, &pair);
    look_for_no_deadlock(&sight, 1, MPROC__KIND_EVENT); /* the test could set the event */
    forget(&sight);
    mproc_drop(pair.event);
    look_until_stuck(&sight, 2);
    CHECK_EQ(sight.groups, 1);
    expect_said(&sight, "DEADLOCK of 2", "\nends of processes\n");
    forget(&sight);
    kill_all(&pid, 1);
}

/* ---------------------------------------------------------------- pools */

static int wait_for_the_third(const void *event, size_t size, mproc_result *result) {
    (void)size, (void)result;
    return mproc_event_wait(*(mproc_event *const *)event, MPROC_FOREVER);
}

static int set_for_the_others(const void *event, size_t size, mproc_result *result) {
    (void)size, (void)result;
    mproc_event_set(*(mproc_event *const *)event);
    return 0;
}

static void starve(mproc_event *event, int64_t timeout) {
    static const mproc_task_options none;
    mproc_task_options options = none;
    mproc_pool *pool;
    mproc_task *tasks[3];
    options.timeout = timeout;
    CHECK_OK(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 2}));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(mproc_pool_submit(pool, i < 2 ? wait_for_the_third : set_for_the_others, &event,
                                   sizeof event, &options, &tasks[i]));
    }
    CHECK_OK(mproc_task_wait(tasks[2], MPROC_FOREVER));
}

static void starve_for_ever(void *arg) {
    starve(((struct pair *)arg)->event, 0);
}

/* The owner ends its tasks when their time is up. */
static void starve_for_an_hour(void *arg) {
    starve(((struct pair *)arg)->event, 3600 * MPROC_SEC);
}

/* The workers end with their owner. */
static void kill_owner(pid_t pid, mproc_event *event) {
    mproc_event_set(event);
    kill_all(&pid, 1);
    mproc_drop(event);
}

TEST(inspect_names_a_pool_that_is_starved_by_its_own_tasks) {
    struct pair pair = {.event = made_event()};
    struct sight sight;
    pid_t pid = child_fork(starve_for_ever, &pair);
    look_for_no_deadlock(&sight, 2, MPROC__KIND_EVENT); /* the test could set it */
    forget(&sight);
    mproc_drop(pair.event);
    look_until_stuck(&sight, 3);
    CHECK_EQ(sight.groups, 1);
    expect_said(&sight, "DEADLOCK of 3, the pool",
                "is starved: each of its 2 workers has a task that waits, and no worker is left "
                "for the 1 task that is queued:\n");
    forget(&sight);
    kill_all(&pid, 1);
}

TEST(inspect_names_no_starved_pool_whose_tasks_have_a_timeout) {
    struct pair pair = {.event = made_event()};
    struct sight sight;
    pid_t pid = child_fork(starve_for_an_hour, &pair);
    mproc_event *event = pair.event;
    look_for_no_deadlock(&sight, 2, MPROC__KIND_EVENT);
    forget(&sight);
    look(&sight);
    while (waiting_for(&sight.picture, MPROC__KIND_POOL) != 1) {
        forget(&sight);
        usleep(1000);
        look(&sight);
    }
    CHECK_EQ(stuck_in(&sight), 0);
    forget(&sight);
    kill_owner(pid, event);
}

/* ---------------------------------------------------------------- connections, dicts, loops */

struct line {
    mproc_channel *channel;
    int ends[2];
    int side;
};

static void receive_from_other(void *arg) {
    struct line *line = arg;
    char room[64];
    size_t size;
    CHECK_OK(mproc_channel_recv(line->channel, line->side, line->ends[line->side], room,
                                sizeof room, &size));
}

TEST(inspect_names_two_that_wait_for_messages_of_each_other) {
    struct line line = {0};
    struct sight sight;
    pid_t pids[2];
    CHECK_OK(mproc_channel_new(&line.channel, line.ends, 1));
    for (line.side = 0; line.side < 2; line.side++) {
        pids[line.side] = child_fork(receive_from_other, &line);
    }
    look_for_no_deadlock(&sight, 2, MPROC__KIND_CHANNEL); /* the test could send something */
    forget(&sight);
    mproc_drop(line.channel);
    look_until_stuck(&sight, 2);
    CHECK_EQ(sight.groups, 1);
    expect_said(&sight, "DEADLOCK of 2", "waits for a message of the channel");
    forget(&sight);
    kill_all(pids, 2);
    close(line.ends[0]);
    close(line.ends[1]);
}

static void wait_for_change(void *dict) {
    uint64_t version = 0;
    CHECK_OK(mproc_dict_wait(dict, "key", 3, &version, MPROC_FOREVER));
}

TEST(inspect_names_a_dict_that_nobody_will_change) {
    mproc_dict *dict;
    struct sight sight;
    CHECK_OK(mproc_dict_new(&dict));
    pid_t pid = child_fork(wait_for_change, dict);
    look_for_no_deadlock(&sight, 1, MPROC__KIND_DICT);
    forget(&sight);
    mproc_drop(dict);
    look_until_stuck(&sight, 1);
    expect_said(&sight, "DEADLOCK: nobody is left", "waits for a change of the dict");
    forget(&sight);
    kill_all(&pid, 1);
}

static void wait_until_set(void *event) {
    CHECK_OK(mproc_event_wait(event, MPROC_FOREVER));
}

/* Whoever looks into the dict has the event, and may set it. */
TEST(inspect_names_no_deadlock_while_the_event_is_in_a_dict) {
    mproc_event *event = made_event();
    mproc_buffer *const along[] = {(void *)event};
    mproc_dict *dict;
    struct sight sight;
    CHECK_OK(mproc_dict_new(&dict));
    pid_t pid = child_fork(wait_until_set, event);
    CHECK_OK(mproc_dict_put(dict, "key", 3, &(mproc_dict_value){.buffers = along, .nbuffers = 1},
                            MPROC_DICT_ANY));
    mproc_drop(event);
    look_for_no_deadlock(&sight, 1, MPROC__KIND_EVENT);
    forget(&sight);
    mproc_dict_clear(dict);
    look_until_stuck(&sight, 1);
    expect_said(&sight, "DEADLOCK: nobody is left", "waits until the event");
    forget(&sight);
    kill_all(&pid, 1);
    mproc_drop(dict);
}

static void wait_with_a_bell(void *arg) {
    struct pair *pair = arg;
    mproc_watch *watch;
    CHECK_OK(mproc_watch_new(&watch));
    int number = mproc_watch_add(watch, pair->queue, MPROC_WATCH_GET);
    CHECK_GE(number, 0);
    CHECK_EQ(mproc_watch_arm(watch, number), 0);
    sleep_until_killed();
}

TEST(inspect_shows_what_an_event_loop_waits_for) {
    struct pair pair = {.queue = made_queue(2)};
    struct sight sight;
    pid_t pid = child_fork(wait_with_a_bell, &pair);
    look_for_no_deadlock(&sight, 1, MPROC__KIND_QUEUE);
    expect_said(&sight, "queue @", "its event loop waits for the queue @");
    forget(&sight);
    kill_all(&pid, 1);
    mproc_drop(pair.queue);
}

static void read_from_pipe(void *arg) {
    size_t size;
    mproc_drop(made_event()); /* a member */
    CHECK_OK(mproc_pipe_recv_size(*(int *)arg, &size));
}

static int never_signalled(void) {
    return 0;
}

TEST(inspect_shows_a_descriptor_that_is_waited_at) {
    struct sight sight;
    int ends[2], at = 0;
    CHECK_OK(mproc_pipe_new(ends, 0));
    mproc_wait_hook(never_signalled); /* otherwise the kernel is asked without a look first */
    pid_t pid = child_fork(read_from_pipe, &ends[0]);
    do {
        look(&sight);
        for (int i = 0; i < sight.picture.nwaits; i++) {
            at += sight.picture.waits[i].fd == ends[0];
        }
        forget(&sight);
        usleep(1000);
    } while (at == 0);
    mproc_wait_hook(NULL);
    kill_all(&pid, 1);
    close(ends[0]);
    close(ends[1]);
}

/* The runtime of a child: it tells where its thread is, once in its wait. */
static mproc_stack *told;
static const char *to_tell;

static int tell_where(void) {
    if (told == NULL) {
        told = made_stack(to_tell);
    }
    return 0;
}

static void wait_and_tell(void *event) {
    mproc_wait_hook(tell_where);
    CHECK_OK(mproc_event_wait(event, MPROC_FOREVER));
}

static void look_until_told(struct sight *out) {
    for (look(out); out->picture.nwaits != 1 || out->picture.waits[0].stack == 0; look(out)) {
        forget(out);
        usleep(1000);
    }
}

TEST(inspect_says_where_a_thread_waits_by_its_own_words) {
    mproc_event *event = made_event();
    mproc_inspection *seen;
    mproc_inspect_wait_seen wait;
    struct sight sight;
    to_tell = "take (shop.py:12)\n<serve> (\"shop\".py:40)";
    pid_t pid = child_fork(wait_and_tell, event);
    look_until_told(&sight);
    const char *const place[] = {"for 0", "\n    in take (shop.py:12)\n", NULL};
    const char *const json[] = {
        "\"stack\": [\"take (shop.py:12)\", \"<serve> (\\u0022shop\\u0022.py:40)\"]", NULL};
    const char *const page[] = {"<h3>Where they wait</h3>",
                                "    take (shop.py:12)\n    &#60;serve&#62; (", NULL};
    expect_words(&sight, mproc__show_locks, place);
    expect_words(&sight, mproc__show_json, json);
    expect_words(&sight, mproc__show_html, page);
    expect_words(&sight, mproc__show_all_places, (const char *const[]){"waits until", NULL});
    CHECK_EQ(waiting_for(&sight.picture, MPROC__KIND_STACK), 0);
    forget(&sight);
    CHECK_OK(mproc_inspect_new(&seen, 0));
    CHECK_OK(mproc_inspect_wait(seen, 0, &wait));
    CHECK(strcmp(wait.stack, to_tell) == 0);
    mproc_inspect_drop(seen);
    kill_all(&pid, 1); /* its words go with it */
    look(&sight);
    CHECK_EQ(sight.picture.nstacks, 0);
    forget(&sight);
    mproc_drop(event);
}

/* As where a handler runs between two slices, and waits itself. */
static void wait_and_tell_twice(void *event) {
    mproc_drop(made_event()); /* a member */
    mproc_stack *outer = made_stack("outer");
    wait_and_tell(event);
    mproc_drop(outer);
}

TEST(inspect_shows_the_words_that_a_thread_has_left_last) {
    struct sight sight;
    mproc_event *event = made_event();
    mproc_stack *mine = made_stack("of a thread that does not wait");
    to_tell = "inner";
    pid_t pid = child_fork(wait_and_tell_twice, event);
    for (look_until_told(&sight); sight.picture.nstacks != 3; look_until_told(&sight)) {
        forget(&sight);
    }
    CHECK(strcmp(mproc__picture_stack(&sight.picture, &sight.picture.waits[0]), "inner") == 0);
    forget(&sight);
    kill_all(&pid, 1);
    mproc_drop(mine);
    mproc_drop(event);
}

static void get_for_ever(void *queue) {
    char room;
    mproc_message message = MPROC_MESSAGE_INIT(&room, 1);
    CHECK_OK(mproc_queue_get(queue, &message, MPROC_FOREVER));
}

static struct mproc__slot *slot_of(pid_t pid) {
    struct mproc__slot *slot = mproc__family->table.slots;
    while (slot->pid != pid) {
        slot++;
    }
    return slot;
}

static void take_and_keep(void *lock) {
    CHECK_OK(mproc_lock_acquire(lock, MPROC_FOREVER));
    sleep_until_killed();
}

/* Looks until so many threads wait. */
static void look_until_waiting(struct sight *out, int waiting) {
    for (look(out); out->picture.nwaits != waiting; look(out)) {
        forget(out);
        usleep(1000);
    }
}

TEST(inspect_shows_waiters_in_order_and_what_a_member_holds) {
    mproc_lock *lock = made_lock(0);
    struct sight sight;
    pid_t pids[3];
    char line[3][40], *at;
    CHECK_OK(mproc_lock_acquire(lock, 0));
    for (int i = 0; i < 3; i++) {
        pids[i] = child_fork(take_and_keep, lock);
        snprintf(line[i], sizeof line[i], "(pid %d) waits for the lock @", (int)pids[i]);
        look_until_waiting(&sight, i + 1);
        forget(&sight);
    }
    /* Members are in this order, too: the first waiter's note becomes the latest. */
    for (int i = 0; i < MPROC__HANDS; i++) {
        slot_of(pids[0])->since[i] = (uint64_t)mproc__os_now();
    }
    look(&sight);
    char *text = at = formed(&sight, mproc__show_locks, NULL);
    for (int i = 1; i <= 3; i++) {
        at = strstr(at, line[i % 3]);
        CHECK(at != NULL);
    }
    free(text);
    expect_words(&sight, mproc__show_ps, (const char *const[]){"; holds the lock @", NULL});
    forget(&sight);
    kill_all(pids, 3);
    mproc_drop(lock);
}

static void wait_until_done(void *queue) {
    CHECK_OK(mproc_queue_join(queue, MPROC_FOREVER));
}

TEST(inspect_says_how_many_messages_are_not_done) {
    mproc_queue *queue = made_queue(0);
    struct sight sight;
    CHECK_OK(mproc_queue_put(queue, "1", 1, 0));
    pid_t waiter = child_fork(wait_until_done, queue);
    look_until_waiting(&sight, 1);
    expect_words(&sight, mproc__show_locks, (const char *const[]){", of which 1 is not", NULL});
    forget(&sight);
    CHECK_OK(mproc_queue_put(queue, "2", 1, 0));
    look(&sight);
    expect_words(&sight, mproc__show_locks, (const char *const[]){", of which 2 are not", NULL});
    forget(&sight);
    kill_all(&waiter, 1);
    mproc_drop(queue);
}

/* ---- permits */

struct permits {
    mproc_bsemaphore *semaphore;
    mproc_event *event;
};

static void take_permit_and_wait(void *arg) {
    const struct permits *permits = arg;
    CHECK_OK(mproc_bsemaphore_acquire(permits->semaphore, 0));
    CHECK_OK(mproc_event_wait(permits->event, MPROC_FOREVER));
}

static void look_until_taken(struct sight *out, const struct permits *permits, pid_t *pids, int n) {
    for (int i = 0; i < n; i++) {
        pids[i] = child_fork(take_permit_and_wait, (void *)(uintptr_t)permits);
    }
    look_until_waiting(out, n);
}

static int times_in(const char *text, const char *word) {
    int n = 0;
    for (; (text = strstr(text, word)) != NULL; text++) {
        n++;
    }
    return n;
}

static void expect_taken(const struct sight *sight, const mproc_bsemaphore *semaphore, int named,
                         unsigned others, unsigned left) {
    char words[40];
    int object = mproc__picture_at(&sight->picture, (uint64_t)(uintptr_t)semaphore);
    char *text = formed(sight, mproc__show_locks, NULL);
    snprintf(words, sizeof words, ", %u taken by others", others);
    CHECK_EQ(times_in(text, ", 1 taken by "), named);
    CHECK_EQ(times_in(text, "taken by others"), others != 0);
    CHECK(others == 0 || strstr(text, words) != NULL);
    CHECK_EQ(mproc__picture_facts(&sight->picture, object)->count, left);
    free(text);
}

static void end_permits(const struct permits *permits, const pid_t *pids, int n) {
    kill_all(pids, n);
    mproc_drop(permits->semaphore);
    mproc_drop(permits->event);
}

/* A ledger's first page has room for six of them. */
TEST(inspect_counts_the_permits_of_more_members_than_it_names) {
    struct permits permits = {made_bsemaphore(10), made_event()};
    struct sight sight;
    pid_t pids[8];
    look_until_taken(&sight, &permits, pids, 8);
    expect_taken(&sight, permits.semaphore, 6, 2, 2);
    forget(&sight);
    end_permits(&permits, pids, 8);
}

TEST(inspect_shows_a_permit_whose_taker_was_not_the_first) {
    struct permits permits = {made_bsemaphore(2), made_event()};
    struct sight sight;
    pid_t pid;
    CHECK_OK(mproc_bsemaphore_acquire(permits.semaphore, 0));
    look_until_taken(&sight, &permits, &pid, 1);
    expect_taken(&sight, permits.semaphore, 2, 0, 0);
    forget(&sight);
    CHECK_OK(mproc_bsemaphore_release(permits.semaphore));
    look(&sight);
    expect_taken(&sight, permits.semaphore, 1, 0, 1);
    forget(&sight);
    end_permits(&permits, &pid, 1);
}

/* The word that has the sum of all permits: of a semaphore that several members share. */
static uint64_t *sum_of(mproc_bsemaphore *semaphore, unsigned taken) {
    uint64_t *word = (uint64_t *)(void *)semaphore;
    while (*word != UINT64_C(0x80000000) + taken) {
        word++;
    }
    return word;
}

/* It is so while a member changes both, and when it has been killed there. */
TEST(inspect_takes_no_permit_for_one_of_others_that_is_being_given_back) {
    struct permits permits = {made_bsemaphore(4), made_event()};
    struct sight sight;
    pid_t pids[2];
    look_until_taken(&sight, &permits, pids, 2);
    forget(&sight);
    ++*sum_of(permits.semaphore, 2);
    look(&sight);
    expect_taken(&sight, permits.semaphore, 2, 0, 2);
    forget(&sight);
    --*sum_of(permits.semaphore, 3);
    end_permits(&permits, pids, 2);
}

TEST(inspect_shows_what_containers_have_and_who_waits_for_a_queue) {
    mproc_dict *dict = made_dict();
    mproc_list *list = made_list();
    mproc_buffer *buffer = made_buffer(3000);
    mproc_queue *queue = made_queue(0);
    struct sight sight;
    for (uint32_t i = 0; i < 300; i++) {
        CHECK_OK(mproc_dict_set(dict, &i, sizeof i, "x", 1));
        CHECK_OK(mproc_list_append(list, "x", 1));
    }
    pid_t pid = child_fork(get_for_ever, queue);
    look_until_waiting(&sight, 1);
    const char *const words[] = {": 300 entries\n",
                                 ": 300 items\n",
                                 ": 2.9 KiB\n",
                                 ": 0 messages, 0 B; 0 put so far\n",
                                 "waits for a message of the",
                                 NULL};
    expect_words(&sight, mproc__show_queues, words);
    forget(&sight);
    mproc_dict_clear(dict);
    look(&sight);
    expect_words(&sight, mproc__show_queues, (const char *const[]){": 0 entries\n", NULL});
    forget(&sight);
    kill_all(&pid, 1);
    mproc_drop(dict);
    mproc_drop(list);
    mproc_drop(buffer);
    mproc_drop(queue);
}

/* Where a worker that the program starts joins. */
struct worker_at {
    mproc_workplace *place;
    unsigned seat;
};

static int fail_so(const void *how, size_t size, mproc_result *result) {
    (void)size, (void)result;
    if (*(const int *)how == 2) {
        return raise(SIGKILL);
    }
    return *(const int *)how;
}

TEST(inspect_counts_tasks_that_have_failed) {
    mproc_pool *pool;
    struct sight sight;
    CHECK_OK(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 1}));
    for (int how = 0; how < 3; how++) {
        const int codes[] = {0, 1, MPROC_EDIED};
        CHECK_EQ(outcome(submit(pool, fail_so, &how, sizeof how)).code, codes[how]);
    }
    look(&sight);
    expect_words(&sight, mproc__show_queues,
                 (const char *const[]){"; 3 done, of which 2 failed\n", NULL});
    forget(&sight);
    finish(pool);
}

/* Its task fails, its result is one that cannot be handed in, and it dies of that. */
static int fail_and_die(void *arg, size_t size) {
    const struct worker_at *at = arg;
    mproc_worker *worker;
    const void *task;
    size_t n;
    static struct iovec pieces[2000];
    CHECK_EQ(size, sizeof *at);
    CHECK_OK(mproc_worker_join(&worker, at->place, at->seat));
    CHECK_OK(mproc_worker_take(worker, &task, &n, MPROC_FOREVER));
    mproc_worker_fails(worker);
    CHECK_EQ(mproc_worker_finish(worker, 0, pieces, 2000), -EINVAL);
    return raise(SIGKILL);
}

static int start_to_die(void *arg, mproc_workplace *place, unsigned seat, mproc_process **out) {
    const struct worker_at at = {place, seat};
    (void)arg;
    return mproc_process_start(out, fail_and_die, &at, sizeof at,
                               &(mproc_process_options){.method = MPROC_FORK});
}

/* A worker counts a failure before it hands the result in, and the owner counts one that died with
 * its worker. */
TEST(inspect_counts_a_task_once_whose_worker_dies_when_it_has_failed) {
    mproc_pool *pool;
    struct sight sight;
    CHECK_OK(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 1, .start = start_to_die}));
    for (int n = 0; n < 3; n++) {
        mproc_task *task;
        CHECK_OK(mproc_pool_put(pool, NULL, 0, NULL, &task));
        CHECK_EQ(outcome(task).code, MPROC_EDIED);
    }
    look(&sight);
    expect_words(&sight, mproc__show_queues,
                 (const char *const[]){"; 3 done, of which 3 failed\n", NULL});
    forget(&sight);
    finish(pool);
}

TEST(inspect_shows_rates_between_two_looks) {
    mproc_queue *queue = made_queue(0);
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    struct sight earlier, sight;
    look(&earlier);
    for (int i = 0; i < 30; i++) {
        CHECK_OK(mproc_queue_put(queue, "x", 1, 0));
    }
    for (int i = 0; i < 10; i++) {
        CHECK_OK(mproc_queue_get(queue, &message, 0));
        mproc_message_drop(&message);
    }
    look(&sight);
    earlier.picture.now = sight.picture.now - 2 * MPROC_SEC;
    char *text = formed(&sight, mproc__show_queues, &earlier.picture);
    CHECK(strstr(text, ": 20 messages, ") != NULL);
    CHECK(strstr(text, "; 30 put so far; 15 put and 5 got a second\n") != NULL);
    free(text);
    forget(&earlier);
    forget(&sight);
    mproc_drop(queue);
}

/* As often as it can: the looks' CPU time. */
static int64_t look_often(int times) {
    mproc_inspection *seen;
    int64_t began = mproc__os_thread_time();
    for (int i = 0; i < times; i++) {
        CHECK_OK(mproc_inspect_new(&seen, 0));
        mproc_inspect_drop(seen);
    }
    return mproc__os_thread_time() - began;
}

TEST(inspect_leaves_a_family_time_between_two_looks) {
    mproc_drop(made_event()); /* a member */
    look_often(1);
    int64_t since = mproc__os_now();
    look_often(5);
    CHECK_GE(mproc__os_now() - since, 5 * 5 * MPROC_MSEC);
}

TEST(inspect_rests_longer_after_a_longer_look) {
    enum { LOCKS = 5000 };
    static mproc_lock *locks[LOCKS];
    for (int i = 0; i < LOCKS; i++) {
        CHECK_OK(mproc_lock_new(&locks[i], 0));
    }
    look_often(1);
    int64_t since = mproc__os_now(), took = look_often(10);
    /* A hundredth, or less: the first rest is that of the look before. None is above a second. */
    CHECK_GE(mproc__os_now() - since, 50 * took < 5 * MPROC_SEC ? 50 * took : 5 * MPROC_SEC);
    for (int i = 0; i < LOCKS; i++) {
        mproc_drop(locks[i]);
    }
}

TEST(inspect_calls_objects_by_their_names) {
    struct pair pair = {.lock = made_lock(0)};
    struct sight sight;
    CHECK_OK(mproc_name(pair.lock, "orders @ (home) <1>"));
    CHECK_OK(mproc_lock_acquire(pair.lock, 0));
    pid_t pid = child_fork(drain_queue_by_lock, &pair);
    look_for_no_deadlock(&sight, 1, MPROC__KIND_LOCK);
    const char *const words[] = {"waits for the lock \"orders @ (home) <1>\" @", NULL};
    const char *const json[] = {"\"name\": \"orders @ (home) <1>\", \"origin\": null", NULL};
    const char *const svg[] = {">lock &#34;orders @ (home) &#60;1&#62;", "class=\"small\">@", NULL};
    expect_words(&sight, mproc__show_ps, words);
    expect_words(&sight, mproc__show_locks, words);
    expect_words(&sight, mproc__show_json, json);
    expect_words(&sight, mproc__show_svg, svg);
    forget(&sight);
    kill_all(&pid, 1);
    mproc_drop(pair.lock);
}

static int made_in_a_shop(char *out, size_t size) {
    return snprintf(out, size, "/home/of/shop.py:12") < 0;
}

TEST(inspect_says_where_objects_were_made) {
    struct sight sight;
    mproc_drop(made_event());
    mproc__origins = true;
    mproc_origin_hook(made_in_a_shop);
    mproc_queue *shop = made_queue(5);
    mproc_origin_hook(NULL);
    mproc_queue *here = made_queue(6);
    mproc__origins = false;
    look(&sight);
    const char *const before[] = {"(made at shop.py:12): 0 messages", "(made at test_inspect(",
                                  NULL};
    expect_words(&sight, mproc__show_queues, before);
    mproc__places_resolve(&sight.picture);
    const char *const addr2line[] = {"addr2line", "--version", NULL};
    char version[200];
    bool there = mproc__os_tool(addr2line, version, sizeof version, 60 * MPROC_SEC) >= 0;
    const char *const after[] = {"(made at shop.py:12): 0 messages",
                                 there ? "(made at made.h:" : "(made at test_inspect(", NULL};
    expect_words(&sight, mproc__show_queues, after);
    forget(&sight);
    mproc_drop(shop);
    mproc_drop(here);
}

TEST(inspect_is_told_how_another_program_ends) {
    const char *const none[] = {"/no/such/program", NULL}, *const bad[] = {"sh", "-c",
                                                                           "echo no; exit 3", NULL};
    const char *const slow[] = {"sleep", "1000", NULL}, *const good[] = {"echo", "12345678", NULL};
    char out[6];
    CHECK_EQ(mproc__os_tool(none, out, sizeof out, 60 * MPROC_SEC), -ENOENT);
    CHECK_EQ(mproc__os_tool(bad, out, sizeof out, 60 * MPROC_SEC), -ECANCELED);
    CHECK_STR(out, "no\n");
    CHECK_EQ(mproc__os_tool(slow, out, sizeof out, MPROC_MSEC), -ETIMEDOUT);
    CHECK_EQ(mproc__os_tool(good, out, sizeof out, 60 * MPROC_SEC), 5);
    CHECK_STR(out, "12345");
}

TEST(inspect_takes_no_other_program_for_an_interpreter) {
    static const char *const interpreters[] = {"/usr/bin/python3.14", "/opt/x/bin/python3",
                                               "/opt/x/python",       "python3.14t",
                                               "python3.14td",        "/usr/bin/python3.14-dbg"};
    static const char *const others[] = {"/usr/sbin/server",
                                         "/usr/bin/python3.13",
                                         "/usr/bin/python3.140",
                                         "/usr/bin/python3.1",
                                         "ipython3.14",
                                         "python-server",
                                         "pythonw",
                                         "pythond",
                                         "/usr/bin/python3d",
                                         "/python3.14/bin/blender",
                                         "",
                                         "python3.14 (deleted)",
                                         "/opt/python3.14/",
                                         "python2"};
    for (size_t i = 0; i < sizeof interpreters / sizeof *interpreters; i++) {
        CHECK(mproc__interpreter_is_called(interpreters[i], 14));
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK(!mproc__interpreter_is_called(others[i], 14));
    }
}

TEST(inspect_makes_no_page_of_rubbish) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    mproc__text_escaped(out, "<a href=\"x\">&\x01\xff\xc3\xa9");
    fclose(out);
    CHECK_STR(text, "&#60;a href=&#34;x&#34;&#62;&#38;??\xc3\xa9");
    free(text);
}

TEST(inspect_gives_a_terminal_nothing_to_obey) {
    char out[16];
    mproc__text_clean("a\x1b[m\x9b\xc2\x9b\xe2\x80\xae\x7f\xc3\xa9", out, sizeof out);
    CHECK_STR(out, "a?[m????\xc3\xa9");
    mproc__text_clean("12\xc3\xa9", out, 4); /* the character has no room */
    CHECK_STR(out, "12");
    CHECK_EQ(mproc__text_code((const unsigned char *)"\xf0\x9f\x98\x80", 4), 0x1f600);
    CHECK_EQ(mproc__text_printable((const unsigned char *)"\xef\xbf\xbe"), 0); /* U+FFFE */
    CHECK_EQ(mproc__text_printable((const unsigned char *)"\xef\xbf\xbd"), 3);
}

/* ---------------------------------------------------------------- as data */

static void expect_blamed(const mproc_inspection *seen, pid_t waiter, pid_t holder) {
    mproc_inspect_wait_seen wait = {0};
    char words[300];
    for (size_t i = 0; wait.pid != waiter; i++) {
        CHECK_OK(mproc_inspect_wait(seen, i, &wait));
        CHECK_OK(mproc_inspect_words(seen, i, words, sizeof words));
    }
    CHECK_EQ(wait.blames, holder);
    CHECK_EQ(wait.thread, waiter);
    CHECK(wait.object != 0 && wait.descriptor == -1 && !wait.timed && wait.waited >= 0);
    CHECK_GE(wait.deadlock, 0);
    CHECK(strstr(words, "waits for the lock \"") == words);
}

static void expect_named(const mproc_inspection *seen, const char *name, pid_t holder) {
    mproc_inspect_object_seen object = {.name = ""};
    bool held = false;
    size_t i = 0;
    while (strcmp(object.name, name) != 0) {
        CHECK_OK(mproc_inspect_object(seen, i++, &object));
    }
    CHECK_STR(object.kind, "lock");
    CHECK_STR(object.origin, "");
    CHECK_EQ(object.held_by, holder);
    CHECK_EQ(object.held_by_thread, holder);
    CHECK_EQ(object.holders, 3);
    for (size_t n = 0; n < object.holders; n++) {
        held = held || mproc_inspect_holder(seen, i - 1, n) == holder;
    }
    CHECK(held);
}

static mproc_inspection *inspect_until_stuck(pid_t pid) {
    for (;;) {
        mproc_inspection *seen;
        mproc_inspect_totals totals;
        CHECK_OK(mproc_inspect_new(&seen, pid));
        mproc_inspect_total(seen, &totals);
        if (totals.deadlocks == 1) {
            CHECK_EQ(totals.members, 3);
            CHECK_EQ(totals.waits, 2);
            CHECK(totals.objects >= 3 && totals.used > 0);
            return seen;
        }
        mproc_inspect_drop(seen);
        usleep(1000);
    }
}

TEST(inspect_gives_the_same_facts_as_data) {
    struct ring ring = {.n = 2, .all = made_barrier(2), .locks = {made_lock(0), made_lock(0)}};
    mproc_inspect_member_seen member = {0};
    pid_t pids[2], families[256];
    CHECK_OK(mproc_name(ring.locks[0], "first"));
    CHECK_OK(mproc_name(ring.locks[1], "second"));
    for (ring.mine = 0; ring.mine < 2; ring.mine++) {
        pids[ring.mine] = child_fork(take_two, &ring);
    }
    mproc_inspection *seen = inspect_until_stuck(0);
    expect_blamed(seen, pids[0], pids[1]);
    expect_blamed(seen, pids[1], pids[0]);
    expect_named(seen, "first", pids[0]);
    expect_named(seen, "second", pids[1]);
    for (size_t i = 0; member.pid != pids[0]; i++) {
        CHECK_OK(mproc_inspect_member(seen, i, &member));
    }
    CHECK(member.parent == getpid() && member.alive && !member.stopped && member.threads == 1);
    CHECK(member.stuck == 1 && member.holds == 3 && member.age > 0 && member.private_bytes > 0);
    mproc_inspect_drop(seen);
    mproc_inspect_drop(inspect_until_stuck(pids[1])); /* by another member's pid */
    mproc_inspect_drop(NULL);
    CHECK_GE(mproc_inspect_families(families, 256), 1);
    kill_all(pids, 2);
    mproc_drop(ring.locks[0]);
    mproc_drop(ring.locks[1]);
    mproc_drop(ring.all);
}

/* ---------------------------------------------------------------- large families */

/* Not by strstr(), for which AddressSanitizer measures all that is left of the text each time. */
static size_t count_of(const char *text, const char *part) {
    size_t n = 0, size = strlen(part);
    for (; *text != 0; text++) {
        n += *text == *part && strncmp(text, part, size) == 0;
    }
    return n;
}

static void expect_count(struct sight *sight, mproc__show_fn show, const char *part, size_t n) {
    char *text = formed(sight, show, NULL);
    CHECK_EQ(count_of(text, part), n);
    free(text);
}

/* As many as a family may have, each of which is this process, and waits for the lock. */
TEST(inspect_shows_as_many_members_as_there_can_be) {
    static uint64_t tokens[MPROC__MEMBERS];
    mproc_lock *lock = made_lock(0);
    struct sight sight;
    size_t n = 0;
    while (n < MPROC__MEMBERS && mproc__member_expect("kid", MPROC_SPAWN, 0, &tokens[n]) == 0) {
        struct mproc__slot *slot = mproc__token_slot(tokens[n++]);
        slot->since[0] = (uint64_t)mproc__os_now();
        slot->hands[0].waits = (uint64_t)(uintptr_t)lock;
        slot->pid = getpid();
    }
    CHECK_EQ(n, MPROC__MEMBERS - 1);
    look(&sight);
    CHECK_EQ(sight.picture.nmembers, MPROC__MEMBERS);
    CHECK_EQ(sight.picture.nwaits, n);
    expect_count(&sight, mproc__show_ps, "kid", n);
    expect_count(&sight, mproc__show_locks, ") waits for the lock @", n);
    expect_count(&sight, mproc__show_json, "\"name\": \"kid\"", n);
    char *graph = formed(&sight, mproc__show_graph, NULL); /* a drawing has the first of them */
    CHECK(count_of(graph, "kid") > 10 && count_of(graph, "kid") < n);
    free(graph);
    expect_words(&sight, mproc__show_graph, (const char *const[]){"... and ", " more waits", NULL});
    expect_words(&sight, mproc__show_dot, (const char *const[]){"... and ", " more waits", NULL});
    expect_words(&sight, mproc__show_svg, (const char *const[]){"... and ", " more waits", NULL});
    forget(&sight);
    for (size_t i = 0; i < n; i++) {
        struct mproc__slot *slot = mproc__token_slot(tokens[i]);
        slot->pid = 0;
        slot->hands[0].waits = 0;
        mproc__reap_dead(tokens[i]);
    }
    mproc_drop(lock);
    check_family();
}

/* A sanitizer takes ten times as long. */
#define MANY (TEST_ASAN || TEST_TSAN ? 50000 : 200000)

/* Of a table so many lines are shown; then it is said how many there are more. */
TEST(inspect_shows_the_first_of_many_locks) {
    mproc_lock **locks = malloc(MANY * sizeof *locks);
    struct sight sight;
    CHECK(locks != NULL);
    for (size_t i = 0; i < MANY; i++) {
        CHECK_OK(mproc_lock_new(&locks[i], 0));
        CHECK_OK(mproc_lock_acquire(locks[i], 0));
    }
    look(&sight);
    CHECK_EQ(sight.picture.nobjects, MANY);
    char *text = formed(&sight, mproc__show_locks, NULL);
    size_t shown = count_of(text, "lock @");
    CHECK(shown >= 100 && shown <= 10000);
    char more[64];
    snprintf(more, sizeof more, "... and %zu more\n", MANY - shown);
    CHECK(strstr(text, more) != NULL);
    free(text);
    expect_count(&sight, mproc__show_json, "\"kind\": \"lock\"", MANY);
    expect_words(&sight, mproc__show_ps, (const char *const[]){", ...", NULL});
    forget(&sight);
    for (size_t i = 0; i < MANY; i++) {
        CHECK_OK(mproc_lock_release(locks[i]));
        mproc_drop(locks[i]);
    }
    free(locks);
    check_family();
}

#define CROWD 40 /* threads of one process, more than there are notes in its slot */

static void *wait_for_lock(void *lock) {
    CHECK_OK(mproc_lock_acquire(lock, MPROC_FOREVER));
    CHECK_OK(mproc_lock_release(lock));
    return NULL;
}

static void wait_as_crowd(void *lock) {
    pthread_t threads[CROWD];
    for (int i = 0; i < CROWD; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, wait_for_lock, lock), 0);
    }
    for (int i = 0; i < CROWD; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(mproc__self_slot()->unnoted, 0);
}

/* Threads for which a process has no note are counted, and every form says how many there are. */
TEST(inspect_counts_the_threads_that_it_cannot_show) {
    mproc_lock *lock = made_lock(0);
    struct sight sight;
    CHECK_OK(mproc_lock_acquire(lock, 0));
    pid_t pid = child_fork(wait_as_crowd, lock);
    look_until_waiting(&sight, MPROC__HANDS - 2);
    forget(&sight);
    while (mproc__load32(&slot_of(pid)->unnoted) + MPROC__HANDS - 2 < CROWD) {
        usleep(1000);
    }
    look_until_waiting(&sight, MPROC__HANDS - 2);
    char more[80], left[80], data[80];
    int unnoted = CROWD - (MPROC__HANDS - 2);
    snprintf(more, sizeof more, "%d more threads wait, of which nothing is noted", unnoted);
    snprintf(left, sizeof left, "... and %d more waits", unnoted);
    snprintf(data, sizeof data, "\"unnoted_waits\": %d", unnoted);
    expect_words(&sight, mproc__show_locks, (const char *const[]){more, NULL});
    expect_words(&sight, mproc__show_ps, (const char *const[]){more, NULL});
    expect_words(&sight, mproc__show_html, (const char *const[]){more, left, NULL});
    expect_words(&sight, mproc__show_graph, (const char *const[]){left, NULL});
    expect_words(&sight, mproc__show_dot, (const char *const[]){left, NULL});
    expect_words(&sight, mproc__show_svg, (const char *const[]){left, NULL});
    expect_words(&sight, mproc__show_json, (const char *const[]){data, NULL});
    forget(&sight);
    CHECK_OK(mproc_lock_release(lock));
    child_join(pid);
    mproc_drop(lock);
    check_family();
}

/* A time that none can be is this moment: its difference from now would be no number. */
TEST(inspect_takes_no_time_before_all_times) {
    mproc_lock *lock = made_lock(0);
    struct sight sight;
    struct mproc__slot *slot = mproc__self_slot();
    slot->since[3] = UINT64_C(1) << 63;
    slot->hands[3].waits = (uint64_t)(uintptr_t)lock;
    look(&sight);
    CHECK_EQ(sight.picture.nwaits, 1);
    CHECK_EQ(sight.picture.waits[0].since, sight.picture.now);
    forget(&sight);
    slot->hands[3].waits = 0;
    mproc_drop(lock);
}

/* A broken program's number says no more than there are threads. */
TEST(inspect_counts_no_threads_that_there_are_not) {
    mproc_lock *lock = made_lock(0);
    struct sight sight;
    mproc__self_slot()->unnoted = 77;
    look(&sight);
    CHECK_EQ(sight.picture.members[0].unnoted, sight.picture.members[0].os.threads);
    forget(&sight);
    mproc__self_slot()->unnoted = 1;
    look(&sight);
    const char *const one[] = {"1 more thread waits, of which nothing is noted", NULL};
    expect_words(&sight, mproc__show_locks, one);
    expect_words(&sight, mproc__show_graph, (const char *const[]){"... and 1 more wait\n", NULL});
    expect_words(&sight, mproc__show_dot, (const char *const[]){"... and 1 more wait\"", NULL});
    forget(&sight);
    mproc__self_slot()->unnoted = UINT32_MAX;
    look(&sight);
    CHECK_EQ(sight.picture.members[0].unnoted, 0);
    forget(&sight);
    mproc__self_slot()->unnoted = 0;
    mproc_drop(lock);
}

/* ---------------------------------------------------------------- what cannot be looked at */

TEST(inspect_refuses_what_is_no_family) {
    struct mproc__outside arena;
    int status;
    CHECK_EQ(mproc__outside_open(INT32_MAX, &arena), -ESRCH);
    pid_t pid = fork();
    if (pid == 0) {
        execlp("sleep", "sleep", "1000", (char *)NULL);
        _exit(1);
    }
    int r;
    while ((r = mproc__outside_open(pid, &arena)) == 0) { /* until it is another program */
        mproc__outside_close(&arena);
        usleep(200);
    }
    CHECK_EQ(r, -ENOENT);
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(mproc__outside_open(pid, &arena), -ESRCH);
    (void)mproc_reap();
}

static void open_changed(size_t offset, uint64_t value, int expected) {
    uint64_t *word = (uint64_t *)(void *)((char *)mproc__family + offset), before = *word;
    struct mproc__outside arena;
    *word = value;
    int r = mproc__outside_open(getpid(), &arena);
    *word = before;
    CHECK_EQ(r, expected);
}

/* Not that nobody lives, of whom nothing can be read. */
TEST(inspect_says_that_no_descriptor_is_left) {
    struct mproc__outside arena;
    struct mproc__picture picture;
    struct rlimit limit, none;
    CHECK_OK(mproc__outside_open(getpid(), &arena));
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    int next = dup(arena.fd);
    CHECK_OK(close(next));
    none = (struct rlimit){(rlim_t)next, limit.rlim_max};
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &none));
    CHECK_EQ(mproc__picture_take(&arena, &picture), -EMFILE);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
    CHECK_OK(mproc__picture_take(&arena, &picture));
    CHECK(picture.members[0].lives);
    mproc__picture_drop(&picture);
    mproc__outside_close(&arena);
}

TEST(inspect_refuses_another_version_and_rubbish) {
    mproc_drop(made_event());
    open_changed(offsetof(struct mproc__family, layout), 1, MPROC_EBUILD);
    open_changed(offsetof(struct mproc__family, magic), 1, MPROC_ECORRUPT);
    open_changed(offsetof(struct mproc__family, span), 1, MPROC_ECORRUPT);
    open_changed(offsetof(struct mproc__family, span), mproc__family->span * 2, MPROC_ECORRUPT);
}

TEST(inspect_finds_this_family_once) {
    pid_t pids[256];
    int own = 0, n = mproc__outside_families(pids, 256);
    for (int i = 0; i < n && i < 256; i++) {
        struct mproc__outside one, mine;
        if (mproc__outside_open(pids[i], &one) == 0) {
            CHECK_OK(mproc__outside_open(getpid(), &mine));
            own += one.inode == mine.inode;
            mproc__outside_close(&mine);
            mproc__outside_close(&one);
        }
    }
    CHECK_EQ(own, 1);
}

/* ------------------------------------------------------------ a looker beside a family at work */

static void look_for_ever(void *parent) {
    struct mproc__outside arena;
    for (;;) {
        struct mproc__picture picture;
        if (mproc__outside_open(*(pid_t *)parent, &arena) == 0) {
            if (mproc__picture_take(&arena, &picture) == 0) {
                (void)mproc__blame(&picture);
                mproc__picture_drop(&picture);
            }
            mproc__outside_close(&arena);
        }
    }
}

TEST(inspect_by_a_looker_that_is_killed_harms_nobody) {
    mproc_queue *queue = made_queue(8);
    char why[200], byte;
    pid_t me = getpid();
    mproc_message message = MPROC_MESSAGE_INIT(&byte, 1);
    for (int i = 0; i < 1000; i++) {
        pid_t pid = child_fork(look_for_ever, &me);
        for (int n = 0; n < 20 * (i % 100); n++) {
            CHECK_OK(mproc_queue_put(queue, "x", 1, 0));
            CHECK_OK(mproc_queue_get(queue, &message, 0));
        }
        child_kill(pid);
    }
    (void)mproc_reap();
    CHECK_OK(mproc_arena_check(why, sizeof why));
    CHECK_OK(mproc_queue_check(queue, why, sizeof why));
    mproc_drop(queue);
}
