/*
 * border.c - the frame that no C++ exception passes
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A thrown exception looks for a handler first, frame by frame from the inside to the
 * outside, and nothing is unwound before it has found one. This file is compiled without unwind
 * tables (src/meson.build), so the search ends at the frame of mproc__border() and finds nothing.
 * The C++ runtime then calls std::terminate(), which says what was thrown and aborts.
 *
 * Why it has to be. Below that frame stand frames of the library, which may be in the middle of
 * something. In a forked child, below those stand copies of its parent's frames: if one of them
 * caught the exception, the child would go on as a second parent, and the destructors on the way
 * would remove what the parent uses.
 *
 * What it does not do: it stops no longjmp().
 */
#include "core/border.h"

#include "system/base.h"

/* The result is touched after the call, so that the call is no jump, which would have no frame. */
MPROC__NOINLINE int mproc__border(int (*run)(void *arg), void *arg) {
    int r = run(arg);
    __asm__ volatile("" : "+r"(r));
    return r;
}
