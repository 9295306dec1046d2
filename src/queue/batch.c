/*
 * batch.c - several messages that are put or taken by one section
 *
 * SPDX-License-Identifier: MIT
 *
 * A put or a get of several messages is the section for the first one, in which the others follow
 * before the ticket is published. They stay in its segment, bring or take one large message at
 * most, and are BATCH_BYTES or little more. So the section saves no more words than that of one
 * message, moves one block, and keeps others out hardly longer.
 */
#include "queue/batch.h"
#include "queue/bound.h"

#define BATCH_BYTES ((size_t)16384) /* so much, and no other message follows */

/* Under the tail's guard: how many of n messages the bound lets in behind the one that is being
 * appended. */
static size_t places_behind(mproc_queue *queue, size_t n) {
    if (queue->bound == 0) {
        return n;
    }
    if (queue->most_bytes != 0) { /* one at a time, and each is looked at */
        return 0;
    }
    if (mproc__queue_places(queue) <= n) {
        mproc__queue_look_at_head(queue);
    }
    return mproc__queue_places(queue) <= n ? (size_t)mproc__queue_places(queue) - 1 : n;
}

uint64_t mproc__queue_write_followers(mproc_queue *queue, uint64_t offset,
                                      struct mproc__followers *followers) {
    size_t n = places_behind(queue, followers->n), i = 0;
    uint64_t most = queue->tail_offset + BATCH_BYTES;
    const struct iovec *head = followers->head;
    size_t more = head != NULL ? head->iov_len : 0;
    for (; i < n && offset < most; i++) {
        size_t size = followers->pieces[i].iov_len + more;
        struct iovec all[2] = {followers->pieces[i], {NULL, 0}};
        if (size > MPROC__RECORD_MOST ||
            !mproc__queue_segment_fits(queue->tail_segment, offset, mproc__record_inline(size))) {
            break;
        }
        if (head != NULL) {
            all[1] = all[0];
            all[0] = *head;
        }
        mproc__record_write(mproc__record_at(queue->tail_segment, offset), all,
                            head != NULL ? 2 : 1, size);
        offset += mproc__record_inline(size);
    }
    followers->put = i;
    return offset;
}

/* Under the head's guard: how many of n messages there are behind the one that is being taken. */
static size_t there_behind(mproc_queue *queue, size_t n) {
    if (queue->most_bytes != 0) { /* each is counted */
        return 0;
    }
    if (mproc__queue_there(queue) <= n) {
        mproc__queue_look_at_tail(queue);
    }
    return mproc__queue_there(queue) <= n ? (size_t)mproc__queue_there(queue) - 1 : n;
}

uint64_t mproc__queue_receive_more(mproc_queue *queue, struct mproc__hand *hand, uint64_t offset,
                                   struct mproc__more *more) {
    size_t n = there_behind(queue, more->n), i = 0;
    uint64_t segment = queue->head_segment, most = queue->head_offset + BATCH_BYTES;
    for (; i < n && offset < most && hand->message == 0 && mproc__record_is_here(segment, offset);
         i++) {
        mproc_message got = mproc__record_unread(&more->messages[i]);
        size_t size =
            mproc__record_read(&queue->head, hand, mproc__record_at(segment, offset), &got);
        if (size == 0) {
            break;
        }
        more->messages[i] = got;
        offset += size;
    }
    more->got = i;
    return offset;
}
