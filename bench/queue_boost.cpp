/*
 * queue_boost.cpp - the queue's peer Boost.Interprocess: a message_queue in shared memory
 *
 * SPDX-License-Identifier: MIT
 */
#include <unistd.h>

#include <string>

#include "channel.h"

#if BENCH_BOOST
#include <boost/interprocess/ipc/message_queue.hpp>

using boost::interprocess::message_queue;

static message_queue *queues[2];

static std::string name_of(int way) {
    return "mproc-bench-" + std::to_string(getpid()) + "-" + std::to_string(way);
}

static const char *open_boost(size_t size) {
    for (int way = 0; way < 2; way++) {
        queues[way] = new message_queue(boost::interprocess::create_only, name_of(way).c_str(),
                                        channel_depth(size), size);
        message_queue::remove(name_of(way).c_str()); /* the mapping stays, also in the child */
    }
    return nullptr;
}

static void put_boost(int way, const void *lent, size_t size) {
    queues[way]->send(lent, size, 0);
}

static void get_boost(int way, void *room, size_t size) {
    message_queue::size_type got;
    unsigned priority;
    queues[way]->receive(room, size, got, priority);
}

static void close_boost() {
    delete queues[0];
    delete queues[1];
}

extern "C" const struct channel channel_boost = {"Boost.Interprocess message_queue",
                                                 open_boost,
                                                 nullptr,
                                                 put_boost,
                                                 get_boost,
                                                 nullptr,
                                                 close_boost,
                                                 nullptr};
#else
static const char *absent(size_t) {
    return "libboost-dev was not there when this was built";
}

extern "C" const struct channel channel_boost = {"Boost.Interprocess message_queue",
                                                 absent,
                                                 nullptr,
                                                 nullptr,
                                                 nullptr,
                                                 nullptr,
                                                 nullptr,
                                                 nullptr};
#endif
