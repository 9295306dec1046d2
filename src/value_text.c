/*
 * value_text.c - is it UTF-8?
 *
 * SPDX-License-Identifier: MIT
 *
 * Shared state: none.
 *
 * If a member dies here: nothing that others see has changed.
 */
#include "value.h"

bool mproc__is_utf8(const unsigned char *text, size_t n) {
    /* The smallest code point of each length: a longer form than needed is no UTF-8. */
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    for (size_t i = 0; i < n;) {
        unsigned char lead = text[i++];
        size_t more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        uint32_t point = more == 0 ? lead : lead & (0x3fu >> more);
        if ((lead >= 0x80 && lead < 0xc2) || lead > 0xf4 || more > n - i) {
            return false;
        }
        for (size_t k = 0; k < more; k++, i++) {
            if ((text[i] & 0xc0) != 0x80) {
                return false;
            }
            point = point << 6 | (text[i] & 0x3f);
        }
        if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) {
            return false;
        }
    }
    return true;
}
