/*
 * methods.h - tests that run once for each way to start a process
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef METHODS_H
#define METHODS_H

#include "process/process.h"
#include "test.h"

/* Runs a test once for each method, the default template included. */
#define TEST_METHODS(name_)                                                                        \
    static void each_##name_(mproc_method method);                                                 \
    TEST(name_##_fork) {                                                                           \
        each_##name_(MPROC_FORK);                                                                  \
    }                                                                                              \
    TEST(name_##_spawn) {                                                                          \
        each_##name_(MPROC_SPAWN);                                                                 \
    }                                                                                              \
    TEST(name_##_forkserver) {                                                                     \
        each_##name_(MPROC_FORKSERVER);                                                            \
        mproc__template_stop_default();                                                            \
    }                                                                                              \
    static void each_##name_(mproc_method method)

#endif
