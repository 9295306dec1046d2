/*
 * test_errors.c - every error that mproc.h names for a function
 *
 * SPDX-License-Identifier: MIT
 *
 * There is a line for each pair of a function and a code that the comment above the function names:
 * PROVOKE() makes the function return that code, in a process and a family of its own; CANNOT()
 * says why that is not possible. They stand in errors_*.c, and are made with errors.h. The lines
 * are compared with the header, so an error that is new in there without a line here is a failure,
 * and so is a line for what the header does not say.
 *
 * The errors of joining, which whatever makes something may have, are those of test_family.c.
 */
#define _GNU_SOURCE
#include "errors.h"
#include "manual.h"

#include <fcntl.h>
#include <stdio.h>

static struct line *lines;
int64_t without_end = MPROC_FOREVER;

void errors_add(struct line *line) {
    line->next = lines;
    lines = line;
}

/* ---------------------------------------------------------------- running the lines */

/* In a process of its own, whose exit code is that of a test; segments that the line has made are
 * unlinked by the watcher of its family. */
static void run_line(const struct line *line) {
    int status;
    fflush(stdout);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        int err = dup(2);
        if (dup2(null, 2) < 0) {
            _exit(TEST_FAILED);
        }
        int r = line->provoke();
        if (r != line->code) {
            dprintf(err, "# %s: %d, not %s\n", line->function, r, line->name);
        }
        _exit(r == line->code ? 0 : TEST_FAILED);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIPPED;
    if (status != 0 && !skipped) {
        test_fail(__FILE__, __LINE__, "%s does not say %s (status %x)", line->function, line->name,
                  (unsigned)status);
    }
}

TEST_BARE(errors_are_provoked) {
    int n = 0;
    for (const struct line *line = lines; line != NULL; line = line->next) {
        if (line->provoke != NULL) {
            run_line(line);
            n++;
        } else {
            CHECK(strlen(line->why) > 20);
        }
    }
    CHECK_GT(n, 200);
}

/* A call that took another negative number for a time that has passed would not be interrupted. */
TEST_BARE(errors_of_negative_timeouts) {
    static const int64_t timeouts[] = {-2, -1000000000, INT64_MIN};
    int n = 0;
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        without_end = timeouts[i];
        for (const struct line *line = lines; line != NULL; line = line->next) {
            if (line->code == -EINTR && line->provoke != NULL) {
                run_line(line);
                n++;
            }
        }
    }
    CHECK_GT(n, 60);
}

/* ---------------------------------------------------------------- and the header */

static bool has_line(const char *function, const char *name) {
    for (const struct line *line = lines; line != NULL; line = line->next) {
        if (strcmp(line->function, function) == 0 && strcmp(line->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_letter(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The next code that a comment names, "-EINVAL" or "MPROC_EINIT"; NULL: none. */
static const char *next_code(const char *at, char *out, size_t size) {
    for (; *at != 0; at++) {
        size_t prefix = strncmp(at, "-E", 2) == 0 ? 2 : strncmp(at, "MPROC_E", 7) == 0 ? 7 : 0;
        size_t n = prefix;
        while (prefix != 0 && is_letter(at[n])) {
            n++;
        }
        if (prefix != 0 && n > prefix && n < size) {
            memcpy(out, at, n);
            out[n] = 0;
            return at + n;
        }
    }
    return NULL;
}

static size_t check_function(const struct manual_function *f) {
    char code[32];
    size_t n = 0;
    for (const char *at = f->comment; (at = next_code(at, code, sizeof code)) != NULL;) {
        if (!has_line(f->name, code)) {
            test_fail(__FILE__, __LINE__, "%s: %s has no line here", f->name, code);
        }
        n++;
    }
    return n;
}

static bool names(const struct manual *m, const struct line *line) {
    for (size_t i = 0; i < m->n; i++) {
        char code[32];
        const char *at =
            strcmp(m->functions[i].name, line->function) == 0 ? m->functions[i].comment : "";
        while ((at = next_code(at, code, sizeof code)) != NULL) {
            if (strcmp(code, line->name) == 0) {
                return true;
            }
        }
    }
    return false;
}

TEST(errors_are_those_of_the_header) {
    struct manual *m = manual_read();
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (m->functions[i].has_code) {
            n += check_function(&m->functions[i]);
        }
    }
    CHECK_GT(n, 200);
    for (const struct line *line = lines; line != NULL; line = line->next) {
        if (!names(m, line)) {
            test_fail(__FILE__, __LINE__, "the header does not name %s for %s", line->name,
                      line->function);
        }
    }
    manual_drop(m);
}
