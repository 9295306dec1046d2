/*
 * os_group.c - os.h for Linux: the CPU time and memory that control groups leave to their processes
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. /proc/self/cgroup says in which group the process is, /proc/self/mountinfo where
 * the groups are to be seen. Groups are directories in each other, and each may have a limit of
 * its own, so all of them count, from the process' own up to where they are mounted. What cannot be
 * read sets no limit. For CPU time, version 2 has the file cpu.max, "QUOTA PERIOD" or "max PERIOD";
 * version 1 has cpu.cfs_quota_us, -1 for none, and cpu.cfs_period_us. For memory, version 2 has
 * memory.max, bytes or "max"; version 1 has memory.limit_in_bytes, where a number that no machine
 * has means none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/os.h"
#include "system/os_linux.h"

#define LINE 4096

struct group {
    char directory[LINE]; /* of the process' own group */
    size_t top;           /* length of the part that is where the groups are mounted */
    bool version2;
};

/* What is asked for: the controller, and how to read the limit of one group, whose directory is the
 * first n bytes of the name. 0: it has none. */
struct resource {
    const char *controller;
    double (*limit_of)(const struct group *group, size_t n);
};

/* Does a list such as "cpu,cpuacct" have the word? */
static bool has_word(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += n) {
        bool begins = at == list || at[-1] == ',';
        if (begins && (at[n] == 0 || at[n] == ',' || at[n] == '\n')) {
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- where the group is */

/* "4:cpu,cpuacct:/path" or "0::/path". */
static bool find_path(const char *proc, bool version2, const char *controller, char *path) {
    char name[LINE], line[LINE];
    bool found = false;
    snprintf(name, sizeof name, "%s/self/cgroup", proc);
    FILE *f = fopen(name, "re");
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        char *words = strchr(line, ':'), *at = words != NULL ? strchr(words + 1, ':') : NULL;
        if (at != NULL) {
            *at++ = 0;
            at[strcspn(at, "\n")] = 0;
            found = version2 ? words[1] == 0 : has_word(words + 1, controller);
            memcpy(path, at, strlen(at) + 1);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return found;
}

/* The group of the path, below a mount of `root` at `point`. A path that is not to be seen there
 * is that of a process in a container: the mount itself is its group then. */
static bool place(struct group *group, const char *root, const char *point, const char *path) {
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
    bool below = strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == 0);
    const char *rest = below && strcmp(path, "/") != 0 ? path + n : "";
    group->top = strlen(point);
    return snprintf(group->directory, sizeof group->directory, "%s%s", point, rest) < LINE;
}

/* A line of mountinfo: "36 25 0:31 ROOT POINT rw ... - TYPE source OPTIONS". */
static bool is_mount(char *line, const char *controller, struct group *group, char **root,
                     char **point) {
    char *dash = strstr(line, " - "), *rest = NULL;
    if (dash == NULL) {
        return false;
    }
    char *type = strtok_r(dash + 3, " \n", &rest), *options = NULL;
    if (type != NULL && strtok_r(NULL, " \n", &rest) != NULL) {
        options = strtok_r(NULL, " \n", &rest);
    }
    group->version2 = type != NULL && strcmp(type, "cgroup2") == 0;
    bool version1 = type != NULL && strcmp(type, "cgroup") == 0 && options != NULL &&
                    has_word(options, controller);
    *dash = 0;
    char *word = strtok_r(line, " ", &rest);
    for (int i = 0; i < 3 && word != NULL; i++) {
        word = strtok_r(NULL, " ", &rest);
    }
    *root = word;
    *point = word != NULL ? strtok_r(NULL, " ", &rest) : NULL;
    return (group->version2 || version1) && *point != NULL;
}

/* ---------------------------------------------------------------- what it may take */

static bool read_numbers(const char *directory, size_t n, const char *file, long long out[2],
                         int want) {
    char name[2 * LINE];
    snprintf(name, sizeof name, "%.*s/%s", (int)n, directory, file);
    FILE *f = fopen(name, "re");
    int got = f != NULL ? fscanf(f, "%lld %lld", &out[0], &out[1]) : 0;
    if (f != NULL) {
        fclose(f);
    }
    return got == want;
}

/* CPUs, 0: no limit. n: how much of the directory's name counts. */
static double quota_of(const struct group *group, size_t n) {
    long long quota[2] = {0, 0}, period[2] = {0, 0};
    bool there = group->version2
                     ? read_numbers(group->directory, n, "cpu.max", quota, 2)
                     : read_numbers(group->directory, n, "cpu.cfs_quota_us", quota, 1) &&
                           read_numbers(group->directory, n, "cpu.cfs_period_us", period, 1);
    long long per = group->version2 ? quota[1] : period[0];
    return there && quota[0] > 0 && per > 0 ? (double)quota[0] / (double)per : 0;
}

static double memory_of(const struct group *group, size_t n) {
    const char *file = group->version2 ? "memory.max" : "memory.limit_in_bytes";
    long long bytes[2] = {0, 0};
    return read_numbers(group->directory, n, file, bytes, 1) && bytes[0] > 0 ? (double)bytes[0] : 0;
}

static double least(double a, double b) {
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static double least_of_all(const struct group *group, const struct resource *what) {
    size_t n = strlen(group->directory);
    double limit = what->limit_of(group, n);
    while (n > group->top) {
        do {
            n--;
        } while (n > group->top && group->directory[n] != '/');
        limit = least(limit, what->limit_of(group, n));
    }
    return limit;
}

static double limit_for(const char *proc, const struct resource *what) {
    char name[LINE], line[LINE], path[LINE], *root, *point;
    struct group group;
    double limit = 0;
    snprintf(name, sizeof name, "%s/self/mountinfo", proc);
    FILE *f = fopen(name, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (is_mount(line, what->controller, &group, &root, &point) &&
            find_path(proc, group.version2, what->controller, path) &&
            place(&group, root, point, path)) {
            limit = least(limit, least_of_all(&group, what));
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return limit;
}

double mproc__os_cpu_quota(const char *proc) {
    return limit_for(proc, &(struct resource){"cpu", quota_of});
}

/* A number beyond 2^62 is that of a group of version 1 without a limit, rounded. */
uint64_t mproc__os_memory_quota(const char *proc) {
    double limit = limit_for(proc, &(struct resource){"memory", memory_of});
    return limit < 0x1p62 ? (uint64_t)limit : 0;
}
