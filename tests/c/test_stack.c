/*
 * test_stack.c - where a waiting thread is, in the words of its runtime
 *
 * SPDX-License-Identifier: MIT
 *
 * How a looker shows the words is in test_inspect.c.
 */
#define _GNU_SOURCE
#include "children.h"
#include "core/stack.h"
#include "made.h"
#include "test.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void check_family(void) {
    char why[200] = "";
    CHECK_OK(mproc_arena_check(why, sizeof why));
    CHECK_OK(mproc_member_check(why, sizeof why));
}

static void become_a_member(void) {
    mproc_drop(made_event());
}

TEST(stack_has_the_words_and_whose_they_are) {
    become_a_member();
    mproc_stack *stack = made_stack("take (shop.py:12)\nserve (shop.py:40)");
    CHECK_STR(stack->text, "take (shop.py:12)\nserve (shop.py:40)");
    CHECK_EQ(stack->owner, mproc__self_token());
    CHECK_EQ(stack->thread, (uint64_t)gettid());
    CHECK_OK(mproc_stack_check(stack, NULL, 0));
    mproc_drop(stack);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(stack_may_have_no_words) {
    become_a_member();
    mproc_stack *stack = made_stack("");
    CHECK_EQ(stack->length, 0);
    CHECK_OK(mproc_stack_check(stack, NULL, 0));
    mproc_drop(stack);
}

TEST(stack_cuts_words_that_are_too_long) {
    char words[2 * MPROC_STACK_MOST] = "";
    memset(words, 'x', sizeof words - 1);
    become_a_member();
    mproc_stack *stack = made_stack(words);
    CHECK_EQ(stack->length, MPROC_STACK_MOST);
    CHECK_OK(mproc_stack_check(stack, NULL, 0));
    CHECK_EQ(stack->text[MPROC_STACK_MOST], 0);
    mproc_drop(stack);
}

TEST(stack_check_sees_words_that_end_too_early_or_too_late) {
    char why[100] = "";
    become_a_member();
    mproc_stack *stack = made_stack("take (shop.py:12)");
    stack->text[4] = 0;
    CHECK_EQ(mproc_stack_check(stack, why, sizeof why), MPROC_ECORRUPT);
    CHECK(strstr(why, "S1") != NULL);
    memcpy(stack->text, "take (shop.py:12)more", 22);
    CHECK_EQ(mproc_stack_check(stack, why, sizeof why), MPROC_ECORRUPT);
    stack->length = 900;
    CHECK_EQ(mproc_stack_check(stack, why, sizeof why), MPROC_ECORRUPT);
    CHECK(strstr(why, "S2") != NULL);
    stack->length = 17;
    stack->text[17] = 0;
    mproc_drop(stack);
}

static void drop_what_was_inherited(void *stack) {
    CHECK_OK(mproc_stack_check(stack, NULL, 0));
    CHECK_OK(mproc_drop(stack));
}

TEST(stack_is_had_by_a_child_that_was_forked_meanwhile) {
    become_a_member();
    mproc_stack *stack = made_stack("take (shop.py:12)");
    child_join(child_fork(drop_what_was_inherited, stack));
    (void)mproc_reap();
    CHECK_OK(mproc_stack_check(stack, NULL, 0));
    CHECK_EQ(mproc_holds(stack), 1);
    mproc_drop(stack);
    CHECK_EQ(test_arena_used(), 0);
}

/* ---------------------------------------------------------------- stress */

/* Threads of several processes leave words and take them back, some of which are killed at it.
 * Meanwhile one waits whose words do not change: whoever looks sees those, whole, or none. */

#define TELLERS 3
#define THREADS 2
#define LOOKS 300
#define KILL_EACH 5 /* looks */

static const char patient_words[] = "wait (patient.c:1)\nmain (patient.c:2)";

struct churn {
    uint64_t told[TELLERS];
};

static struct churn *churn;

/* Words as long as a number says, all of one letter, in lines. */
static void fill_words(char words[MPROC_STACK_MOST + 1], uint64_t n) {
    size_t length = n % (MPROC_STACK_MOST + 1);
    memset(words, (int)('a' + n % 26), length);
    for (size_t i = 40; i < length; i += 41) {
        words[i] = '\n';
    }
    words[length] = 0;
}

static void *tell_on(void *told) {
    char words[MPROC_STACK_MOST + 1];
    uint64_t state = (uint64_t)gettid();
    for (;;) {
        mproc_stack *stack;
        fill_words(words, test_random(&state));
        CHECK_OK(mproc_stack_new(&stack, words));
        CHECK_OK(mproc_stack_check(stack, NULL, 0));
        CHECK_STR(stack->text, words);
        CHECK_EQ(stack->thread, (uint64_t)gettid());
        CHECK_OK(mproc_drop(stack));
        if (mproc__add64(told, 1) % 20 == 0) {
            usleep(500); /* the others have to get a CPU, too */
        }
    }
    return NULL;
}

static void tell_in_threads(void *told) {
    pthread_t thread;
    for (int i = 1; i < THREADS; i++) {
        CHECK_OK(pthread_create(&thread, NULL, tell_on, told));
    }
    tell_on(told);
}

static mproc_stack *patient_stack;

static int tell_patiently(void) {
    if (patient_stack == NULL) {
        patient_stack = made_stack(patient_words);
    }
    return 0;
}

static void wait_patiently(void *event) {
    mproc_wait_hook(tell_patiently);
    CHECK_OK(mproc_event_wait(event, MPROC_FOREVER));
}

/* Returns whether the patient one was seen with its words. */
static bool look_at_patient(pid_t patient) {
    mproc_inspection *seen;
    mproc_inspect_wait_seen wait;
    bool told = false;
    CHECK_OK(mproc_inspect_new(&seen, 0));
    for (size_t i = 0; mproc_inspect_wait(seen, i, &wait) == 0; i++) {
        if (wait.pid == patient && wait.stack != NULL && wait.stack[0] != 0) {
            CHECK_STR(wait.stack, patient_words);
            told = true;
        }
    }
    mproc_inspect_drop(seen);
    return told;
}

static void kill_one(pid_t *tellers, uint64_t *state) {
    uint64_t i = test_random(state) % TELLERS;
    child_kill(tellers[i]);
    (void)mproc_reap();
    tellers[i] = child_fork(tell_in_threads, &churn->told[i]);
}

TEST(stack_stress) {
    mproc_event *event = made_event();
    pid_t tellers[TELLERS], patient = child_fork(wait_patiently, event);
    uint64_t state = 1, told = 0;
    churn = mproc_calloc(1, sizeof *churn);
    for (int i = 0; i < TELLERS; i++) {
        tellers[i] = child_fork(tell_in_threads, &churn->told[i]);
    }
    while (!look_at_patient(patient)) {
        usleep(1000);
    }
    for (int i = 0; i < LOOKS; i++) {
        CHECK(look_at_patient(patient));
        if (i % KILL_EACH == 0) {
            kill_one(tellers, &state);
        }
    }
    for (int i = 0; i < TELLERS; i++) {
        wait_for_word(&churn->told[i], 1);
        told += churn->told[i];
        child_kill(tellers[i]);
    }
    CHECK_GE(told, LOOKS);
    child_kill(patient);
    (void)mproc_reap();
    check_family();
    mproc_free(churn);
    mproc_drop(event);
    CHECK_EQ(test_arena_used(), 0);
}
