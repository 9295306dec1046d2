/*
 * setting.c - environment variables that hold a number of bytes
 *
 * SPDX-License-Identifier: MIT
 *
 * A value that is not understood is refused, so that a limit that somebody has set is never
 * ignored.
 */
#include "core/setting.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/reason.h"

/* How far the unit behind a number shifts it; -1: it is none. */
static int shift_of(const char *unit) {
    static const char letters[] = "kmgt";
    if (*unit == 0) {
        return 0;
    }
    const char *letter = strchr(letters, *unit | 0x20);
    bool whole =
        unit[1] == 0 || ((unit[1] | 0x20) == 'i' && (unit[2] | 0x20) == 'b' && unit[3] == 0);
    return letter != NULL && *letter != 0 && whole ? ((int)(letter - letters) + 1) * 10 : -1;
}

bool mproc__setting_parse(const char *text, uint64_t *out) {
    bool hex = text[0] == '0' && (text[1] | 0x20) == 'x';
    char *unit = NULL;
    if (strchr("0123456789", *text) == NULL || *text == 0) { /* strtoull() takes signs and spaces */
        return false;
    }
    errno = 0;
    unsigned long long number = strtoull(text, &unit, hex ? 16 : 10);
    int shift = shift_of(unit);
    if (errno != 0 || shift < 0 || number > UINT64_MAX >> shift) {
        return false;
    }
    *out = number << shift;
    return true;
}

/* The first one is told to those who look at no code, too. */
static int refuse(const char *name, const char *text, const char *why) {
    static bool told; /* under the lock of joining */
    int r = mproc__reason_say(MPROC_ESETTING, "%s=%.60s: %s", name, text, why);
    if (!told) {
        mproc__log("%s", mproc_join_reason(r));
        told = true;
    }
    return r;
}

int mproc__setting_bytes(const char *name, uint64_t least, uint64_t *out) {
    const char *text = getenv(name);
    char why[64];
    uint64_t bytes = 0;
    if (text == NULL || *text == 0) {
        return 0;
    }
    if (!mproc__setting_parse(text, &bytes)) {
        return refuse(name, text, "not a number of bytes such as 1073741824, 512M or 4GiB");
    }
    if (bytes < least) {
        snprintf(why, sizeof why, "less than %" PRIu64 "K, the least there can be", least >> 10);
        return refuse(name, text, why);
    }
    *out = bytes;
    return 0;
}
