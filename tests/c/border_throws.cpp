/*
 * border_throws.cpp - functions of C++ that throw, and one that catches
 *
 * SPDX-License-Identifier: MIT
 */
#include "border_throws.h"

#include <stdexcept>

/* Marks that an exception has unwound these frames. */
static int *unwound;

namespace {
struct guard {
    ~guard() {
        if (unwound != nullptr) {
            ++*unwound;
        }
    }
};
} // namespace

extern "C" void throws_mark(int *word) {
    unwound = word;
}

static int throws() {
    guard here;
    throw std::runtime_error("thrown by a test");
}

extern "C" int throws_main(void *, size_t) {
    return throws();
}

extern "C" int throws_task(const void *, size_t, mproc_result *) {
    return throws();
}

extern "C" int throws_item(const void *in, void *, void *) {
    return *static_cast<const int *>(in) == 3 ? throws() : 0;
}

extern "C" int throws_handler(void *, const void *, size_t, mproc_result *) {
    return throws();
}

extern "C" void throws_callback(mproc_task *, void *) {
    throws();
}

extern "C" void throws_progress(size_t, size_t, void *) {
    throws();
}

extern "C" bool catches(void (*run)(void *), void *arg) {
    guard here;
    try {
        run(arg);
    } catch (...) {
        return true;
    }
    return false;
}
