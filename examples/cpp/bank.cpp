/*
 * bank.cpp - money moves between accounts that several processes share; none is made or lost
 *
 * SPDX-License-Identifier: MIT
 *
 * Each account has a mutex. A transfer takes both by std::scoped_lock, which cannot deadlock. The
 * clerks are lambdas; what they capture, a pointer into the arena and a number, goes along.
 * examples/c/bank.c does the same.
 */
#include <cstdint>
#include <cstdio>
#include <exception>
#include <mutex>
#include <vector>

#include "mproc.hpp"

namespace {

constexpr int accounts = 5, clerks = 4, transfers = 1000;
constexpr int64_t opening = 100;

struct account {
    mproc::mutex_ref mutex;
    int64_t balance;
};

void transfer(account &from, account &to, int64_t amount) {
    const std::scoped_lock both(from.mutex, to.mutex);
    from.balance -= amount;
    to.balance += amount;
}

/* All clerks' transfers add up to the same in any order. */
void work(account *bank, int clerk) {
    for (int i = 0; i < transfers; i++) {
        const int from = (clerk + i) % accounts, to = (from + 1 + i % 3) % accounts;
        transfer(bank[from], bank[to], 1 + i % 7);
    }
}

int run() {
    const std::vector<mproc::mutex> mutexes = [] {
        std::vector<mproc::mutex> all;
        for (int i = 0; i < accounts; i++) {
            all.emplace_back();
        }
        return all;
    }();
    std::vector<account, mproc::allocator<account>> bank;
    for (const mproc::mutex &one : mutexes) {
        bank.push_back({one, opening});
    }

    std::vector<mproc::process> all;
    for (int i = 0; i < clerks; i++) {
        all.emplace_back([bank = bank.data(), i] { work(bank, i); });
    }
    for (const mproc::process &clerk : all) {
        clerk.join();
        if (clerk.exitcode() != 0) {
            return 1;
        }
    }

    int64_t total = 0;
    for (int i = 0; i < accounts; i++) {
        std::printf("account %d: %lld\n", i, static_cast<long long>(bank[i].balance));
        total += bank[i].balance;
    }
    std::printf("total after %d transfers: %lld\n", clerks * transfers,
                static_cast<long long>(total));
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    try {
        mproc::init(argc, argv);
        return run();
    } catch (const std::exception &e) {
        std::fprintf(stderr, "bank: %s\n", e.what());
        return 1;
    }
}
