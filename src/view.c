/*
 * view.c - a buffer as the private memory of one process
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A view is a hold on a buffer, whose pages are the process' own when it forks: how
 * that is done stands in core/views.c. A small buffer, which shares its pages with other blocks, is
 * merely held.
 *
 * Shared state: the buffer's, see buffer.c.
 *
 * If a member dies here: its holds are given back, and its mappings go with it.
 */
#include <stdlib.h>

#include "core/handle.h"
#include "core/kinds.h"
#include "core/object.h"
#include "core/views.h"

struct mproc_view {
    uint32_t handle; /* MPROC__HANDLE_VIEW */
    mproc_buffer *buffer;
    struct mproc__pages pages;
};

static struct mproc__pages pages_of(mproc_buffer *buffer) {
    char *start = mproc_buffer_data(buffer);
    size_t size = mproc_buffer_size(buffer);
    bool whole = (uintptr_t)start % MPROC__BUFFER_PAGE == 0 && size >= MPROC__BUFFER_PAGE;
    return (struct mproc__pages){.start = start, .size = whole ? size : 0};
}

int mproc_view_new(mproc_view **out, mproc_buffer *buffer) {
    if (!mproc__expect(buffer, MPROC__KIND_BUFFER)) {
        return MPROC_EOTHER;
    }
    mproc_view *view = calloc(1, sizeof *view);
    int r = view != NULL ? mproc_hold(buffer) : -ENOMEM;
    if (r != 0) {
        free(view);
        return r;
    }
    view->handle = MPROC__HANDLE_VIEW;
    view->buffer = buffer;
    view->pages = pages_of(buffer);
    mproc__pages_enlist(&view->pages);
    *out = view;
    return 0;
}

void *mproc_view_data(const mproc_view *view) {
    return mproc__expect_handle(view, MPROC__HANDLE_VIEW) ? mproc_buffer_data(view->buffer) : NULL;
}

size_t mproc_view_size(const mproc_view *view) {
    return mproc__expect_handle(view, MPROC__HANDLE_VIEW) ? mproc_buffer_size(view->buffer) : 0;
}

void mproc_view_drop(mproc_view *owned) {
    if (owned == NULL || !mproc__expect_handle(owned, MPROC__HANDLE_VIEW)) {
        return;
    }
    if (mproc__pages_delist(&owned->pages)) {
        (void)mproc_drop(owned->buffer);
    }
    mproc__handle_wreck(owned);
    free(owned);
}
