/*
 * crash_self.c - whether the laboratory finds what it is made to find
 *
 * SPDX-License-Identifier: MIT
 *
 * The object is a toy: two words that must stay equal, changed under an undo record in an
 * anonymous shared mapping. The right variant has to pass at every instruction; each broken
 * variant has to fail. What is only slow, since others have the processor, has to pass.
 */
#include "crash.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct toy {
    uint64_t owner; /* 1: inside the section */
    uint64_t saved; /* 1: the old value counts */
    uint64_t old;
    uint64_t a, b;
    uint64_t blocks; /* "allocated" */
    pid_t newborn;
};

#define ORDER() __asm__ __volatile__("" ::: "memory")

static struct toy *toy;

static void open_toy(int argc, char **argv) {
    (void)argc;
    (void)argv;
    toy = mmap(NULL, sizeof *toy, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    crash_require(toy != MAP_FAILED);
}

static void roll_back(void) {
    if (toy->saved) {
        toy->a = toy->b = toy->old;
        toy->saved = 0;
    }
    toy->owner = 0;
}

static void check_toy(void) {
    crash_require(toy->owner == 1 || toy->a == toy->b);
}

static uint64_t level_toy(char *out, size_t size) {
    snprintf(out, size, "%llu blocks", (unsigned long long)toy->blocks);
    return toy->blocks;
}

static const struct crash_fixture fixture = {open_toy, roll_back, check_toy, level_toy};

static void *get_toy(void) {
    return toy;
}

/* ---- the right one */

static void change(void *object) {
    struct toy *t = object;
    t->owner = 1;
    ORDER();
    t->old = t->a;
    ORDER();
    t->saved = 1;
    ORDER();
    t->a++;
    ORDER();
    t->b++;
    ORDER();
    t->saved = 0;
    ORDER();
    t->owner = 0;
}

static void verify_change(void *object) {
    struct toy *t = object;
    roll_back(); /* the next member to enter does this */
    crash_equal(t->a, t->b);
    crash_require(t->a == 1 || (t->a == 0 && !crash_returned()));
    uint64_t was = t->a;
    change(t);
    crash_equal(t->a, was + 1);
    crash_equal(t->b, was + 1);
}

/* ---- broken ones */

static void change_unsaved(void *object) {
    struct toy *t = object;
    t->owner = 1;
    ORDER();
    t->a++;
    ORDER();
    t->old = t->a; /* too late */
    ORDER();
    t->saved = 1;
    ORDER();
    t->b++;
    ORDER();
    t->saved = 0;
    ORDER();
    t->owner = 0;
}

static void leak(void *object) {
    struct toy *t = object;
    t->blocks++;
    ORDER();
    t->blocks--;
}

static void lock_for_ever(void *object) {
    struct toy *t = object;
    t->saved = 2;
    ORDER();
    t->saved = 0;
}

static void wait_for_ever(void *object) {
    struct toy *t = object;
    while (((volatile struct toy *)t)->saved == 2) {
        usleep(1000);
    }
}

static void crash_itself(void *object) {
    (void)object;
    raise(SIGKILL);
}

/* ---- loops, signals and births in the window */

static volatile sig_atomic_t hits;

static void on_signal(int number) {
    (void)number;
    hits++;
}

static void long_way(void *object) {
    struct toy *t = object;
    char text[2500];
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    memset(text, (int)t->a + 1, sizeof text);
    for (volatile int i = 0; i < 30; i++) {
        change(t);
    }
    if (hits != 1 || text[2499] != 1) {
        abort();
    }
}

static void verify_long_way(void *object) {
    struct toy *t = object;
    roll_back();
    crash_equal(t->a, t->b);
    crash_require(t->a <= 30);
    if (crash_returned()) {
        crash_equal(t->a, 30);
    }
}

static void give_birth(void *object) {
    pid_t pid = fork();
    if (pid == 0) {
        change(object);
        _exit(0);
    }
    toy->newborn = pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

static void verify_birth(void *object) {
    crash_orphans();
    struct toy *t = object;
    crash_equal(t->owner, 0);
    crash_equal(t->a, t->b);
    crash_require(t->a <= 1);
    if (crash_returned()) {
        crash_equal(t->a, 1);
    }
}

static void be_born(void *object) {
    pid_t pid = fork();
    if (pid == 0) {
        change(object);
        crash_newborn_done();
        _exit(0);
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

static void verify_newborn(void *object) {
    crash_orphans();
    verify_change(object);
}

static const struct crash_op good[] = {
    {.name = "toy change",
     .setup = get_toy,
     .operate = change,
     .verify = verify_change,
     .teardown = crash_nothing},
    {.name = "toy loop, string instruction, signal",
     .setup = get_toy,
     .operate = long_way,
     .verify = verify_long_way,
     .teardown = crash_nothing},
    {.name = "toy birth, parent killed",
     .setup = get_toy,
     .operate = give_birth,
     .verify = verify_birth,
     .teardown = crash_nothing},
    {.name = "toy birth, newborn killed",
     .setup = get_toy,
     .operate = be_born,
     .verify = verify_newborn,
     .teardown = crash_nothing,
     .newborn = true},
    {.name = "toy stopped, and gone on",
     .setup = get_toy,
     .operate = lock_for_ever,
     .beside = crash_nothing,
     .verify = wait_for_ever,
     .teardown = crash_nothing},
};

static const struct crash_op bad[] = {
    {.name = "toy saved too late",
     .setup = get_toy,
     .operate = change_unsaved,
     .verify = verify_change,
     .teardown = crash_nothing},
    {.name = "toy leak",
     .setup = get_toy,
     .operate = leak,
     .verify = crash_nothing,
     .teardown = crash_nothing},
    {.name = "toy ends by itself",
     .setup = get_toy,
     .operate = crash_itself,
     .verify = crash_nothing,
     .teardown = crash_nothing},
};

static const struct crash_op hanging[] = {
    {.name = "toy hang",
     .setup = get_toy,
     .operate = lock_for_ever,
     .verify = wait_for_ever,
     .teardown = crash_nothing},
    {.name = "toy that waits for the stopped one",
     .setup = get_toy,
     .operate = lock_for_ever,
     .beside = wait_for_ever,
     .verify = crash_nothing,
     .teardown = crash_nothing},
};

/* ---- beside processes that take the processor away */

#define CROWD 6
#define WORK_MS 300
#define SHORT_PATIENCE 1500 /* less than WORK_MS takes in such a crowd */

static void spin_beside(void *unused) {
    (void)unused;
    for (;;) {
    }
}

static int64_t ran_ms(void) {
    struct timespec ran;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ran);
    return (int64_t)ran.tv_sec * 1000 + ran.tv_nsec / 1000000;
}

/* The survivor stays on one processor, and so do these. */
static void work_in_a_crowd(void *object) {
    (void)object;
    pid_t crowd[CROWD];
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = crash_helper(spin_beside, NULL);
    }
    while (ran_ms() < WORK_MS) {
    }
    for (int i = 0; i < CROWD; i++) {
        kill(crowd[i], SIGKILL);
    }
    for (int i = 0; i < CROWD; i++) {
        while (waitpid(crowd[i], NULL, 0) < 0 && errno == EINTR) {
        }
    }
}

static void two_steps(void *object) {
    (void)object;
}

static const struct crash_op starving[] = {
    {.name = "toy that has to share its processor",
     .setup = get_toy,
     .operate = two_steps,
     .verify = work_in_a_crowd,
     .teardown = crash_nothing,
     .sample = 2},
};

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

static const struct crash_fixture hanging_fixture = {open_toy, check_toy, check_toy, level_toy};

int main(void) {
    size_t wrong = crash_run(&fixture, good, COUNT(good));
    crash_patience(SHORT_PATIENCE);
    wrong += crash_run(&fixture, starving, COUNT(starving));
    printf("now operations that have to fail:\n");
    wrong += COUNT(bad) - crash_run(&fixture, bad, COUNT(bad));
    crash_patience(SHORT_PATIENCE);
    wrong += COUNT(hanging) - crash_run(&hanging_fixture, hanging, COUNT(hanging));
    size_t all = COUNT(good) + COUNT(starving) + COUNT(bad) + COUNT(hanging);
    printf("%zu passed, %zu failed\n", all - wrong, wrong);
    return wrong != 0;
}
