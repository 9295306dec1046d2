/*
 * place.c - which line of a program an address of its code is
 *
 * SPDX-License-Identifier: MIT
 *
 * An origin of C is "/path/of/file(function)+0x1f2". addr2line of the binutils is asked once for
 * each different one. The words come out of an arena, which may be scribbled over: they are
 * arguments of a program, never a shell's, and a path begins with '/', so that none is an option.
 */
#include "inspect/place.h"

#include <stdio.h>
#include <string.h>

#include "inspect/grow.h"
#include "system/os_tool.h"

#define PLACES_MOST 64 /* different ones that are asked for */
#define PATIENCE (5 * MPROC_SEC)

struct place {
    uint32_t from, to; /* texts of the picture; to 0: not known */
};

/* The end of the file's path, and the address; NULL: it is no place of code. */
static const char *split(const char *text, const char **address) {
    const char *plus = strrchr(text, '+'), *end = NULL;
    if (text[0] != '/' || plus == NULL || plus == text || plus[-1] != ')') {
        return NULL;
    }
    for (const char *s = text; s < plus; s++) {
        end = *s == '(' ? s : end;
    }
    *address = plus + 1;
    return strncmp(*address, "0x", 2) == 0 ? end : NULL;
}

/* Whether `out` has a line "file.c:12". */
static bool ask(const char *text, const char *end, const char *address, char *out, size_t size) {
    char path[MPROC__LABEL_MOST + 1];
    snprintf(path, sizeof path, "%.*s", (int)(end - text), text);
    const char *const argv[] = {"addr2line", "-e", path, address, NULL};
    if (mproc__os_tool(argv, out, size, PATIENCE) <= 0) {
        return false;
    }
    out[strcspn(out, "\n ")] = 0;
    return out[0] != '?' && strstr(out, ":?") == NULL && strstr(out, ":0") == NULL;
}

static uint32_t find_line(struct mproc__picture *p, uint32_t text) {
    char words[MPROC__LABEL_MOST + 1], line[1024];
    const char *address;
    snprintf(words, sizeof words, "%s", &p->texts[text]);
    const char *end = split(words, &address);
    return end != NULL && ask(words, end, address, line, sizeof line) ? mproc__picture_text(p, line)
                                                                      : 0;
}

/* The place of a text that is equal to one that was asked for; NULL: there is no room for more. */
static struct place *place_of(struct mproc__picture *p, struct place *places, int *n,
                              uint32_t text) {
    for (int i = *n - 1; i >= 0; i--) {
        if (strcmp(&p->texts[places[i].from], &p->texts[text]) == 0) {
            return &places[i];
        }
    }
    if (*n == PLACES_MOST) {
        return NULL;
    }
    places[*n] = (struct place){text, find_line(p, text)};
    return &places[(*n)++];
}

void mproc__places_resolve(struct mproc__picture *p) {
    struct place places[PLACES_MOST];
    int n = 0;
    for (int i = 0; i < p->nobjects; i++) {
        uint32_t text = p->objects[i].origin;
        const char *address;
        bool code = text != 0 && split(&p->texts[text], &address) != NULL;
        const struct place *place = code ? place_of(p, places, &n, text) : NULL;
        if (place != NULL && place->to != 0) {
            p->objects[i].origin = place->to;
        }
    }
}
