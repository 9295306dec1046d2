/*
 * stacks.h - where the threads of a family's members are
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_STACKS_H
#define MPROC_STACKS_H

#include "inspect/show.h"

/* Of one member, which is stopped for a moment; or why none can be had. runs_code: its interpreter
 * may be asked, which runs code in it. */
void mproc__show_stack(const struct mproc__show *show, int member, bool runs_code);

/* Of all that live. */

void mproc__show_stacks(const struct mproc__show *show);
/* The same as one JSON object, with all that mproc__show_json() says. */
void mproc__show_stacks_json(const struct mproc__show *show);

#endif
