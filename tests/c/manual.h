/*
 * manual.h - mproc.h as a test reads it: each function, and the comment above it
 *
 * SPDX-License-Identifier: MIT
 *
 * A test that has a table of functions compares it with the header itself, so that a function or an
 * error that is new in there without a line in the table is a failure. meson.build says where the
 * header is (MANUAL).
 */
#ifndef MPROC_TEST_MANUAL_H
#define MPROC_TEST_MANUAL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

#define MANUAL_FUNCTIONS 500

struct manual_function {
    char name[64];
    char first[64]; /* the first parameter's type */
    bool has_code;  /* it returns an int */
    char *comment;  /* "": none */
};

struct manual {
    char *text;
    size_t n;
    struct manual_function functions[MANUAL_FUNCTIONS];
};

static inline char *manual_text(void) {
    FILE *f = fopen(MANUAL, "r");
    CHECK(f != NULL);
    char *text = calloc(1, 1 << 20);
    CHECK(text != NULL);
    CHECK_GT(fread(text, 1, (1 << 20) - 1, f), 1000);
    fclose(f);
    return text;
}

/* The comment that ends right before `at`. */
static inline char *manual_comment(const char *text, const char *at) {
    const char *end = at, *begin;
    while (end > text && (end[-1] == ' ' || end[-1] == '\n')) {
        end--;
    }
    if (end - text < 4 || memcmp(end - 2, "*/", 2) != 0) {
        return strdup("");
    }
    for (begin = end - 2; memcmp(begin, "/*", 2) != 0; begin--) {
    }
    return strndup(begin, (size_t)(end - begin));
}

/* "MPROC_API int mproc_noun_verb(type *first, ...". */
static inline void manual_function(const char *text, const char *at, struct manual_function *out) {
    const char *open = strchr(at, '('), *name = open;
    while (name[-1] == '_' || (name[-1] >= '0' && name[-1] <= '9') ||
           (name[-1] >= 'a' && name[-1] <= 'z')) {
        name--;
    }
    size_t first = strcspn(open + 1, ",)");
    while (first > 0 && open[first] != '*' && open[first] != ' ') {
        first--;
    }
    snprintf(out->name, sizeof out->name, "%.*s", (int)(open - name), name);
    snprintf(out->first, sizeof out->first, "%.*s", (int)first, open + 1);
    out->has_code = strncmp(at, "MPROC_API int mproc_", 20) == 0;
    out->comment = manual_comment(text, at);
}

static inline struct manual *manual_read(void) {
    struct manual *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    m->text = manual_text();
    for (const char *at = m->text; (at = strstr(at, "\nMPROC_API ")) != NULL;) {
        at++;
        CHECK_LT(m->n, MANUAL_FUNCTIONS);
        manual_function(m->text, at, &m->functions[m->n++]);
    }
    CHECK_GT(m->n, 100);
    return m;
}

static inline void manual_drop(struct manual *m) {
    for (size_t i = 0; i < m->n; i++) {
        free(m->functions[i].comment);
    }
    free(m->text);
    free(m);
}

#endif
