/*
 * rights.h - a test's process gives up a right that root has
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TEST_RIGHTS_H
#define MPROC_TEST_RIGHTS_H

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "test.h"

/* The test's process may not lift a hard limit any more. */
static inline void give_up_right_to_resources(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    CHECK_OK((int)syscall(SYS_capget, &head, sets));
    sets[0].effective &= ~(UINT32_C(1) << CAP_SYS_RESOURCE);
    sets[0].permitted &= ~(UINT32_C(1) << CAP_SYS_RESOURCE);
    CHECK_OK((int)syscall(SYS_capset, &head, sets));
}

#endif
