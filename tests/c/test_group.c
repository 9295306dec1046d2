/*
 * test_group.c - the CPU time and memory that control groups leave, read from trees that look like
 * theirs
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "system/os.h"
#include "test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char tree[64];

/* Writes a file of the tree, and makes the directories above it. */
static void file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s%s", tree, name);
    for (char *at = path + strlen(tree) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = 0;
        (void)mkdir(path, 0700);
        *at = '/';
    }
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    CHECK_GE(fputs(text, f), 0);
    CHECK_OK(fclose(f));
}

/* The groups of a version are mounted at `point` of the tree, and begin with `root`. */
static void mounted(const char *root, const char *point, const char *type) {
    char text[512];
    snprintf(text, sizeof text,
             "20 1 0:5 / /proc rw,nosuid shared:1 - proc proc rw\n"
             "36 25 0:31 %s %s%s rw,nosuid shared:9 - %s\n",
             root, tree, point, type);
    file("/proc/self/mountinfo", text);
}

static void grow(void) {
    strcpy(tree, "/tmp/mproc-group-XXXXXX");
    CHECK(mkdtemp(tree) != NULL);
}

static int fell_one(const char *path, const struct stat *st, int type, struct FTW *where) {
    (void)st, (void)type, (void)where;
    return remove(path);
}

static void fell(void) {
    CHECK_OK(nftw(tree, fell_one, 16, FTW_DEPTH | FTW_PHYS));
}

/* In hundredths of a CPU. */
static long long quota(void) {
    char proc[80];
    snprintf(proc, sizeof proc, "%s/proc", tree);
    return (long long)(mproc__os_cpu_quota(proc) * 100 + 0.5);
}

TEST(group_of_version_2) {
    grow();
    mounted("/", "/cg", "cgroup2 cgroup2 rw,nsdelegate");
    file("/proc/self/cgroup", "0::/user/job\n");
    CHECK_EQ(quota(), 0); /* there are no files */
    file("/cg/user/job/cpu.max", "max 100000\n");
    CHECK_EQ(quota(), 0);
    file("/cg/user/job/cpu.max", "150000 100000\n");
    CHECK_EQ(quota(), 150);
    file("/cg/user/cpu.max", "50000 100000\n"); /* the outer one counts, too */
    CHECK_EQ(quota(), 50);
    file("/cg/user/job/cpu.max", "max 100000\n");
    CHECK_EQ(quota(), 50);
    file("/cg/cpu.max", "20000 100000\n");
    CHECK_EQ(quota(), 20);
    fell();
}

TEST(group_of_version_1) {
    grow();
    mounted("/", "/cg/cpu,cpuacct", "cgroup cgroup rw,cpu,cpuacct");
    file("/proc/self/cgroup", "11:cpuset:/other\n4:cpu,cpuacct:/user/job\n0::/else\n");
    file("/cg/cpu,cpuacct/user/job/cpu.cfs_quota_us", "-1\n");
    file("/cg/cpu,cpuacct/user/job/cpu.cfs_period_us", "100000\n");
    CHECK_EQ(quota(), 0);
    file("/cg/cpu,cpuacct/user/job/cpu.cfs_quota_us", "300000\n");
    CHECK_EQ(quota(), 300);
    file("/cg/cpu,cpuacct/user/cpu.cfs_quota_us", "100000\n");
    file("/cg/cpu,cpuacct/user/cpu.cfs_period_us", "50000\n");
    CHECK_EQ(quota(), 200);
    fell();
}

/* The controllers of version 1 that have "cpu" in their names, and no quota. */
TEST(group_of_another_controller) {
    grow();
    mounted("/", "/cg/cpuset", "cgroup cgroup rw,cpuset");
    file("/proc/self/cgroup", "4:cpuset:/job\n");
    file("/cg/cpuset/job/cpu.cfs_quota_us", "100000\n");
    file("/cg/cpuset/job/cpu.cfs_period_us", "100000\n");
    CHECK_EQ(quota(), 0);
    fell();
}

/* A container sees its own group as the root, under whatever name the host has for it. */
TEST(group_in_a_container) {
    grow();
    mounted("/docker/abc", "/cg", "cgroup2 cgroup rw");
    file("/proc/self/cgroup", "0::/docker/abc/inner\n");
    file("/cg/inner/cpu.max", "120000 100000\n");
    CHECK_EQ(quota(), 120);
    file("/proc/self/cgroup", "0::/docker/abcdef\n"); /* another one's, not below it */
    file("/cg/cpu.max", "70000 100000\n");
    CHECK_EQ(quota(), 70);
    file("/proc/self/cgroup", "0::/\n");
    CHECK_EQ(quota(), 70);
    fell();
}

TEST(group_of_nonsense) {
    grow();
    CHECK_EQ(quota(), 0);
    mounted("/", "/cg", "cgroup2 cgroup rw");
    file("/proc/self/cgroup", "nothing\n::\n");
    CHECK_EQ(quota(), 0);
    file("/proc/self/cgroup", "0::/job\n");
    file("/cg/job/cpu.max", "-5 100000\n");
    CHECK_EQ(quota(), 0);
    file("/cg/job/cpu.max", "100000 0\n");
    CHECK_EQ(quota(), 0);
    file("/cg/job/cpu.max", "100000\n");
    CHECK_EQ(quota(), 0);
    file("/proc/self/mountinfo", "36 25\n - cgroup2\n36 25 0:31 / - cgroup2 x rw\n");
    CHECK_EQ(quota(), 0);
    fell();
}

/* ---------------------------------------------------------------- memory */

static unsigned long long memory(void) {
    char proc[80];
    snprintf(proc, sizeof proc, "%s/proc", tree);
    return mproc__os_memory_quota(proc);
}

TEST(group_memory_of_version_2) {
    grow();
    mounted("/", "/cg", "cgroup2 cgroup2 rw,nsdelegate");
    file("/proc/self/cgroup", "0::/user/job\n");
    CHECK_EQ(memory(), 0); /* there are no files */
    file("/cg/user/job/memory.max", "max\n");
    CHECK_EQ(memory(), 0);
    file("/cg/user/job/memory.max", "314572800\n");
    CHECK_EQ(memory(), 300 << 20);
    file("/cg/user/memory.max", "104857600\n"); /* the smallest of all counts */
    CHECK_EQ(memory(), 100 << 20);
    file("/cg/user/job/memory.max", "max\n");
    CHECK_EQ(memory(), 100 << 20);
    file("/cg/memory.max", "1048576\n");
    CHECK_EQ(memory(), 1 << 20);
    CHECK_EQ(quota(), 0);
    fell();
}

TEST(group_memory_of_version_1) {
    grow();
    mounted("/", "/cg/memory", "cgroup cgroup rw,memory");
    file("/proc/self/cgroup", "11:cpu:/other\n4:memory:/user/job\n0::/else\n");
    file("/cg/memory/memory.limit_in_bytes", "9223372036854771712\n");
    CHECK_EQ(memory(), 0); /* what version 1 says when there is none */
    file("/cg/memory/user/job/memory.limit_in_bytes", "9223372036854771712\n");
    CHECK_EQ(memory(), 0);
    file("/cg/memory/user/memory.limit_in_bytes", "314572800\n");
    CHECK_EQ(memory(), 300 << 20);
    file("/cg/memory/user/job/memory.limit_in_bytes", "209715200\n");
    CHECK_EQ(memory(), 200 << 20);
    file("/cg/memory/other/memory.limit_in_bytes", "4096\n"); /* of the CPU's group */
    CHECK_EQ(memory(), 200 << 20);
    fell();
}

TEST(group_memory_of_nonsense) {
    grow();
    mounted("/", "/cg", "cgroup2 cgroup rw");
    file("/proc/self/cgroup", "0::/job\n");
    file("/cg/job/memory.max", "-4096\n");
    CHECK_EQ(memory(), 0);
    file("/cg/job/memory.max", "much\n");
    CHECK_EQ(memory(), 0);
    file("/cg/job/memory.max", "");
    CHECK_EQ(memory(), 0);
    fell();
}
