/*
 * os_group.c - os.h for Linux: the CPU time that a control group leaves to its processes
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. /proc/self/cgroup says in which group the process is, /proc/self/mountinfo where
 * the groups are to be seen. Groups are directories in each other, and each may have a quota of
 * its own, so all of them count, from the process' own up to where they are mounted. Version 2 has
 * the file cpu.max, "QUOTA PERIOD" or "max PERIOD"; version 1 has cpu.cfs_quota_us, -1 for none,
 * and cpu.cfs_period_us. What cannot be read sets no limit.
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
static bool find_path(const char *proc, bool version2, char *path) {
    char name[LINE], line[LINE];
    bool found = false;
    snprintf(name, sizeof name, "%s/self/cgroup", proc);
    FILE *f = fopen(name, "re");
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        char *words = strchr(line, ':'), *at = words != NULL ? strchr(words + 1, ':') : NULL;
        if (at != NULL) {
            *at++ = 0;
            at[strcspn(at, "\n")] = 0;
            found = version2 ? words[1] == 0 : has_word(words + 1, "cpu");
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
static bool is_mount(char *line, struct group *group, char **root, char **point) {
    char *dash = strstr(line, " - "), *rest = NULL;
    if (dash == NULL) {
        return false;
    }
    char *type = strtok_r(dash + 3, " \n", &rest), *options = NULL;
    if (type != NULL && strtok_r(NULL, " \n", &rest) != NULL) {
        options = strtok_r(NULL, " \n", &rest);
    }
    group->version2 = type != NULL && strcmp(type, "cgroup2") == 0;
    bool version1 =
        type != NULL && strcmp(type, "cgroup") == 0 && options != NULL && has_word(options, "cpu");
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

static double least(double a, double b) {
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static double quota_of_all(const struct group *group) {
    size_t n = strlen(group->directory);
    double quota = quota_of(group, n);
    while (n > group->top) {
        do {
            n--;
        } while (n > group->top && group->directory[n] != '/');
        quota = least(quota, quota_of(group, n));
    }
    return quota;
}

double mproc__os_cpu_quota(const char *proc) {
    char name[LINE], line[LINE], path[LINE], *root, *point;
    struct group group;
    double quota = 0;
    snprintf(name, sizeof name, "%s/self/mountinfo", proc);
    FILE *f = fopen(name, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (is_mount(line, &group, &root, &point) && find_path(proc, group.version2, path) &&
            place(&group, root, point, path)) {
            quota = least(quota, quota_of_all(&group));
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return quota;
}
