/*
 * test_harness.c - the harness itself: tests that must fail, and tests that see them fail
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#pragma weak mproc_alloc

struct outcome {
    int code;
    char text[4096];
};

/* Runs this program again for one test and keeps its output. */
static struct outcome run(const char *name, const char *timeout) {
    struct outcome o = {0, ""};
    int ends[2];
    size_t n = 0;
    ssize_t got;

    CHECK_OK(pipe2(ends, O_CLOEXEC));
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        dup2(ends[1], 1);
        setenv("MPROC_TEST_TIMEOUT", timeout, 1);
        execl("/proc/self/exe", "test_harness", name, (char *)NULL);
        _exit(99);
    }
    close(ends[1]);
    while ((got = read(ends[0], o.text + n, sizeof o.text - 1 - n)) > 0) {
        n += (size_t)got;
    }
    close(ends[0]);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    o.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return o;
}

static void must_fail(const char *name, const char *message) {
    struct outcome o = run(name, "20");
    CHECK_EQ(o.code, 1);
    if (strstr(o.text, message) == NULL || strstr(o.text, "\n0 passed, 1 failed\n") == NULL) {
        test_fail(__FILE__, __LINE__, "%s said: %s", name, o.text);
    }
}

TEST_ON_DEMAND(nothing) {
}
TEST_ON_DEMAND(check_that_fails) {
    CHECK(1 + 1 == 3);
}
TEST_ON_DEMAND(comparison_that_fails) {
    CHECK_EQ(2, 3);
}
TEST_ON_DEMAND(call_that_fails) {
    CHECK_OK(0 - 7);
}
TEST_ON_DEMAND(string_that_differs) {
    CHECK_STR("a", "b");
}
TEST_ON_DEMAND(memory_that_differs) {
    CHECK_MEM("abc", "abd", 3);
}
TEST_ON_DEMAND(descriptor_left_open) {
    CHECK_GE(open("/dev/null", O_RDONLY), 0);
}
TEST_ON_DEMAND(crash) {
    raise(SIGUSR1);
} /* no sanitizer handles this signal */
TEST_ON_DEMAND(early_exit) {
    exit(3);
}
TEST_ON_DEMAND(endless) {
    pause();
}
TEST_ON_DEMAND(left_out) {
    test_skip("because of %d", 42);
}

TEST_ON_DEMAND(child_left_running) {
    pid_t pid = fork();
    if (pid == 0) {
        pause();
    }
}

TEST_ON_DEMAND(child_left_uncollected) {
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    siginfo_t info;
    CHECK_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
}

TEST_BARE_ON_DEMAND(grandchild_left_running) {
    pid_t pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            pause();
        }
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

TEST_ON_DEMAND(check_fails_in_child) {
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        CHECK(pid != 0);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 0);
}

static void *sleep_for_ever(void *arg) {
    pause();
    return arg;
}

TEST_ON_DEMAND(thread_left_running) {
    pthread_t thread;
    CHECK_OK(pthread_create(&thread, NULL, sleep_for_ever, NULL));
}

TEST_ON_DEMAND(arena_bytes_left) {
    CHECK(mproc_alloc(100) != NULL);
}

TEST(a_passing_test_passes) {
    struct outcome o = run("nothing", "20");
    CHECK_EQ(o.code, 0);
    CHECK_STR(o.text, "ok 1 - nothing\n1 passed, 0 failed\n");
}

TEST(a_skipped_test_says_why) {
    struct outcome o = run("left_out", "20");
    CHECK_EQ(o.code, 0);
    CHECK_STR(o.text,
              "# skipped: because of 42\nok 1 - left_out # SKIP\n0 passed, 0 failed, 1 skipped\n");
}

TEST(an_unknown_name_fails) {
    struct outcome o = run("no such test", "20");
    CHECK_EQ(o.code, 1);
}

TEST(checks_fail_and_say_where) {
    must_fail("check_that_fails", ": 1 + 1 == 3\n");
    must_fail("comparison_that_fails", ": 2 == 3: 2, 3\n");
    must_fail("call_that_fails", ": 0 - 7: -7\n");
    must_fail("string_that_differs", "\"a\", expected \"b\"\n");
    must_fail("memory_that_differs", "byte 2 of 3 is 63, expected 64\n");
    must_fail("check_fails_in_child", "WEXITSTATUS(status) == 0: 101, 0\n");
}

TEST(ends_that_are_no_success_fail) {
    must_fail("crash", "ended by signal 10");
    must_fail("early_exit", "exit code 3");
}

TEST(leaks_fail) {
    must_fail("descriptor_left_open", "open: /dev/null\n");
    must_fail("child_left_running", "left a child behind (ended: 0)\n");
    must_fail("child_left_uncollected", "left a child behind (ended: ");
    must_fail("thread_left_running", "left a thread running\n");
}

TEST(leaked_arena_bytes_fail) {
    if (mproc_alloc == NULL) {
        test_skip("linked without an arena");
    }
    must_fail("arena_bytes_left", "# test_harness.c");
    must_fail("arena_bytes_left", "in 1 after\n");
}

TEST(the_watchdog_bites) {
    struct outcome o = run("endless", "1");
    CHECK_EQ(o.code, 1);
    CHECK(strstr(o.text, "did not end within its time") != NULL);
    o = run("grandchild_left_running", "5");
    CHECK_EQ(o.code, 1);
    CHECK(strstr(o.text, "left 1 running process(es) behind") != NULL);
}
