/*
 * clear.c - destroying what is in a queue, message by message
 *
 * SPDX-License-Identifier: MIT
 *
 * Each message goes through the hand, so a member that dies here destroys it, or it is still in the
 * queue, or in what was cut off.
 */
#include "queue/clear.h"
#include "core/heap.h"

/* Under the head's guard: what a record names goes into the hand, for its destruction. The bytes of
 * the record. */
static size_t take_named(struct mproc__hand *hand, mproc_queue *queue,
                         struct mproc__record *record) {
    if (record->kind != MPROC__RECORD_BLOCK) {
        return mproc__record_inline(record->size);
    }
    mproc__guard_set(&queue->head, &hand->message,
                     ((struct mproc__block_record *)(void *)record)->message);
    return sizeof(struct mproc__block_record);
}

/* Under the head's guard: takes one record out of what was cut off, for its destruction. */
static void cut_one(struct mproc__hand *hand, mproc_queue *queue) {
    uint64_t segment = queue->cut_segment, offset = queue->cut_offset;
    if (!mproc__record_is_here(segment, offset)) {
        mproc__guard_set(&queue->head, &hand->block, segment);
        segment = mproc__queue_segment_at(segment)->next;
        offset = sizeof(struct mproc__queue_segment);
        mproc__guard_set(&queue->head, &queue->cut_segment, segment);
    }
    size_t size = take_named(hand, queue, mproc__record_at(segment, offset));
    mproc__guard_set(&queue->head, &queue->cut_offset, offset + size);
    mproc__guard_set(&queue->head, &queue->cut_left, queue->cut_left - 1);
}

/* Destroys one thing of what was cut off. False: nothing is left. */
static bool clear_one(struct mproc__hand *hand, mproc_queue *queue) {
    bool more = true;
    mproc__guard_enter(&queue->head, hand);
    if (queue->cut_left > 0) {
        cut_one(hand, queue);
    } else if (queue->cut_segment != 0 && queue->cut_segment != queue->head_segment) {
        uint64_t segment = queue->cut_segment;
        mproc__guard_set(&queue->head, &hand->block, segment);
        mproc__guard_set(&queue->head, &queue->cut_segment, mproc__queue_segment_at(segment)->next);
    } else {
        mproc__guard_set(&queue->head, &queue->cut_segment, 0);
        more = false;
    }
    mproc__guard_leave(&queue->head, hand);
    mproc__heap_free(hand, &hand->block);
    mproc__object_destroy(hand, &hand->message);
    return more;
}

void mproc__queue_clear_cut(struct mproc__hand *hand, mproc_queue *queue) {
    while (clear_one(hand, queue)) {
    }
}

/* Takes a record out and destroys what it names. */
static void discard_one(struct mproc__hand *hand, mproc_queue *queue) {
    mproc__guard_enter(&queue->head, hand);
    size_t size = take_named(hand, queue, mproc__queue_oldest(queue, hand));
    mproc__queue_advance(queue, queue->head_offset + size, 1, NULL);
    mproc__guard_leave(&queue->head, hand);
    mproc__heap_free(hand, &hand->block);
    mproc__object_destroy(hand, &hand->message);
}

void mproc__queue_destroy(struct mproc__hand *hand, void *object) {
    mproc_queue *queue = object;
    if (queue->cut_segment != 0) { /* one that was being made may have no guard yet */
        mproc__queue_clear_cut(hand, queue);
    }
    while (queue->head_segment != 0 && mproc__queue_has_item(queue)) {
        discard_one(hand, queue);
    }
    /* Behind the last record there may be one more, empty segment: the tail's. */
    while (queue->head_segment != 0) {
        mproc__guard_enter(&queue->head, hand);
        mproc__guard_set(&queue->head, &hand->block, queue->head_segment);
        mproc__guard_set(&queue->head, &queue->head_segment,
                         mproc__queue_segment_at(queue->head_segment)->next);
        mproc__guard_leave(&queue->head, hand);
        mproc__heap_free(hand, &hand->block);
    }
    mproc__heap_free(hand, &queue->spare);
}
