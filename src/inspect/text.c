/*
 * text.c - text of a program that is looked at, made harmless for who reads it
 *
 * SPDX-License-Identifier: MIT
 *
 * Names come out of an arena, so they may have any bytes. On a terminal some of them are commands:
 * those below a space, those that ISO 6429 has put at 0x80 to 0x9f, which a terminal obeys as
 * characters of UTF-8 as well, and marks that turn the direction of a line around, so that it reads
 * as another one. U+FFFE and U+FFFF are no characters of XML.
 */
#include "inspect/text.h"

#include <stdbool.h>
#include <string.h>

int mproc__text_character(const unsigned char *s) {
    int n = s[0] < 0x80                    ? 1
            : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
            : s[0] >= 0xe0 && s[0] <= 0xef ? 3
            : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                           : 0;
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool wrong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
                 (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f);
    return wrong ? 0 : n;
}

unsigned mproc__text_code(const unsigned char *s, int bytes) {
    unsigned code = bytes == 1 ? s[0] : s[0] & (0xffU >> (bytes + 1));
    for (int i = 1; i < bytes; i++) {
        code = code << 6 | (s[i] & 0x3f);
    }
    return code;
}

static bool is_obeyed(unsigned code) {
    return code < ' ' || (code >= 0x7f && code <= 0x9f) || code == 0x61c ||
           (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069) || code == 0xfffe || code == 0xffff;
}

int mproc__text_printable(const unsigned char *s) {
    int n = mproc__text_character(s);
    return n > 0 && !is_obeyed(mproc__text_code(s, n)) ? n : 0;
}

/* How many bytes are to be passed over where nothing printable is. */
static int width(const unsigned char *s) {
    int n = mproc__text_character(s);
    return n > 0 ? n : 1;
}

void mproc__text_clean(const char *from, char *to, size_t size) {
    const unsigned char *s = (const unsigned char *)from;
    char *end = to + size - 1;
    while (*s != 0) {
        int n = mproc__text_printable(s), wide = n > 0 ? n : 1;
        if (end - to < wide) {
            break;
        }
        for (int i = 0; i < wide; i++) {
            *to++ = n > 0 ? (char)s[i] : '?';
        }
        s += n > 0 ? n : width(s);
    }
    *to = 0;
}

void mproc__text_print(FILE *out, const char *text) {
    for (const unsigned char *s = (const unsigned char *)text; *s != 0;) {
        int n = mproc__text_printable(s);
        fwrite(n > 0 ? s : (const unsigned char *)"?", 1, n > 0 ? (size_t)n : 1, out);
        s += n > 0 ? n : width(s);
    }
}

void mproc__text_escaped(FILE *out, const char *text) {
    for (const unsigned char *s = (const unsigned char *)text; *s != 0;) {
        int n = *s == '\n' ? 1 : mproc__text_printable(s);
        if (n == 0) {
            fputc('?', out);
        } else if (*s == '<' || *s == '>' || *s == '&' || *s == '"') {
            fprintf(out, "&#%d;", *s);
        } else {
            fwrite(s, 1, (size_t)n, out);
        }
        s += n > 0 ? n : width(s);
    }
}

const char *mproc__text_last_line(char *text) {
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == '\n') {
        text[--n] = 0;
    }
    const char *line = strrchr(text, '\n');
    return line != NULL ? line + 1 : text;
}
