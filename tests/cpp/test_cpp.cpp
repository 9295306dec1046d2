/*
 * test_cpp.cpp - mproc.hpp: each noun, over start methods, and what its errors are
 *
 * SPDX-License-Identifier: MIT
 */
#include "mproc.hpp"

#include <cerrno>
#include <csignal>
#include <numeric>
#include <string>
#include <sys/mman.h>
#include <vector>

#include "../c/test.h"

using namespace std::chrono_literals;

/* Of process/process.h, which is C. */
extern "C" void mproc__template_stop_default(void);

/* What decides which captures compile. */
static_assert(std::is_trivially_copyable_v<mproc::queue_ref>);
static_assert(std::is_trivially_copyable_v<mproc::array_ref<double>>);
static_assert(std::is_trivially_copyable_v<mproc::connection_ref>);
static_assert(!std::is_trivially_copyable_v<mproc::queue>);
static_assert(!std::is_trivially_copyable_v<mproc::connection>);
static_assert(!std::is_copy_constructible_v<mproc::connection>);

namespace {

const mproc_method methods[] = {MPROC_FORK, MPROC_SPAWN, MPROC_FORKSERVER};

mproc_process_options by(mproc_method method) {
    mproc_process_options options = {};
    options.method = method;
    return options;
}

/* Runs a function in a child, which has to end with 0. */
template <class F> void in_child(F function, mproc_method method = MPROC_FORK) {
    const mproc::process child(function, by(method));
    child.join();
    CHECK_EQ(*child.exitcode(), 0);
}

/* The code of the error that a function throws, 0 if it throws none. */
template <class F> int code_of(F function) {
    try {
        function();
    } catch (const mproc::error &e) {
        CHECK(*e.what() != '\0');
        return e.code().value();
    }
    return 0;
}

} // namespace

/* ---------------------------------------------------------------- errors */

TEST(an_errno_compares_with_a_condition_of_the_standard_library) {
    const mproc::queue queue;
    const mproc::event event;
    try {
        mproc::semaphore(MPROC_SEMAPHORE_MAX + 1u);
        CHECK(!"made");
    } catch (const mproc::error &e) {
        CHECK(e.code() == std::errc::invalid_argument);
        CHECK_STR(e.code().category().name(), "mproc");
        CHECK(std::string(e.what()).find("mproc_semaphore_new") != std::string::npos);
    }
    queue.close();
    CHECK_EQ(code_of([&] { queue.put("late"); }), MPROC_ECLOSED);
    CHECK(!event.wait_for(1ms));
    CHECK(!event.wait_for(-1s));
}

/* ---------------------------------------------------------------- objects */

TEST(a_copy_is_a_hold_more_and_a_move_is_none) {
    const size_t before = test_arena_used();
    {
        const mproc::event first;
        CHECK_EQ(mproc_holds(first.native()), 1);
        mproc::event second = first;
        CHECK_EQ(mproc_holds(first.native()), 2);
        mproc::event third = std::move(second);
        CHECK_EQ(mproc_holds(first.native()), 2);
        CHECK(!second); // NOLINT: what was moved from is null
        second = third;
        CHECK_EQ(mproc_holds(first.native()), 3);
        third = std::move(second);
        CHECK_EQ(mproc_holds(first.native()), 2);
        const mproc::held<mproc::event_ref> more(first);
        CHECK_EQ(mproc_holds(first.native()), 3);
    }
    CHECK_EQ(test_arena_used(), before);
}

TEST(what_is_gone_cannot_be_held) {
    mproc::event_ref gone;
    CHECK(!gone);
    CHECK_EQ(code_of([&] { mproc::held<mproc::event_ref> hold(gone); }), -EINVAL);
}

TEST(elements_of_a_vector_are_shared) {
    std::vector<int, mproc::allocator<int>> numbers(1000, 1);
    int *elements = numbers.data();
    in_child([elements] { std::iota(elements, elements + 1000, 0); });
    CHECK_EQ(std::accumulate(numbers.begin(), numbers.end(), 0), 499500);
}

/* ---------------------------------------------------------------- process */

TEST(a_lambda_runs_in_a_child_of_each_method) {
    for (mproc_method method : methods) {
        const mproc::queue_of<int> queue;
        const int number = 20 + method;
        mproc::process child(
            [number, out = queue.ref()] {
                out.put(number);
                return number;
            },
            by(method));
        CHECK_EQ(queue.get(), number);
        mproc::process moved = std::move(child);
        CHECK(moved.join_for(60s));
        CHECK_EQ(*moved.exitcode(), number);
    }
    mproc__template_stop_default();
}

namespace {

int seven() {
    return 7;
}

int doubled(int n) {
    return 2 * n;
}

} // namespace

TEST(a_plain_function_is_found_wherever_the_program_lies) {
    for (mproc_method method : methods) {
        const mproc::process child(seven, by(method));
        child.join();
        CHECK_EQ(*child.exitcode(), 7);
        mproc_pool_options options = {};
        options.workers = 1;
        options.method = method;
        const mproc::pool pool(options);
        CHECK_EQ(pool.submit(seven).get(), 7);
        CHECK_EQ(pool.map(doubled, std::vector<int>{1, 2, 3})[2], 6);
    }
    mproc__template_stop_default();
}

TEST(the_destructor_of_a_process_waits_for_its_end) {
    const mproc::event go;
    const mproc::array<int> done(1);
    {
        const mproc::process child([go = go.ref(), done = done.ref()] {
            go.wait();
            done.set(0, 1);
        });
        CHECK(!child.exitcode());
        CHECK(!child.join_for(0s));
        go.set();
    }
    CHECK_EQ(done.get(0), 1);
}

TEST(a_process_that_is_assigned_ends_the_one_before) {
    const mproc::array<int> runs(1);
    const auto add = [runs = runs.ref()] { runs.fetch_add(0, 1); };
    mproc::process child(add);
    child = mproc::process(add);
    child = mproc::process();
    CHECK_EQ(runs[0], 2);
}

TEST(a_killed_child_says_its_signal) {
    const mproc::event never;
    const mproc::process child([never = never.ref()] { never.wait(); });
    child.kill();
    child.join();
    CHECK_EQ(*child.exitcode(), -SIGKILL);
    CHECK_EQ(code_of([&] { child.terminate(); }), -ESRCH);
}

/* ---------------------------------------------------------------- queue */

TEST(a_range_takes_messages_until_the_queue_is_closed) {
    const mproc::queue queue;
    in_child([queue = queue.ref()] {
        queue.put("one");
        queue.put(std::string(100000, 'x'));
        queue.put("");
        queue.close();
    });
    std::vector<size_t> sizes;
    for (mproc::message &one : queue) {
        sizes.push_back(one.size());
        const mproc::message moved = std::move(one);
        CHECK_EQ(moved.size(), sizes.back());
        CHECK(moved.size() != 3 || moved.text() == "one");
    }
    CHECK((sizes == std::vector<size_t>{3, 100000, 0}));
    CHECK_EQ(code_of([&] { queue.get(); }), MPROC_ECLOSED);
}

TEST(a_queue_of_plain_data_keeps_its_type) {
    struct point {
        int x;
        double y;
    };
    const mproc::queue_of<point> queue(2);
    CHECK(queue.try_put({1, 0.5}));
    CHECK(queue.try_put_for({2, 1.5}, 1ms));
    CHECK(!queue.try_put({3, 2.5}));
    CHECK_EQ(queue.size(), 2);
    CHECK_EQ(queue.get().x, 1);
    CHECK(queue.try_get()->y == 1.5);
    CHECK(!queue.try_get());
    CHECK(!queue.try_get_for(1ms));
    queue.bytes().put("no point");
    CHECK_EQ(code_of([&] { queue.get(); }), -EBADMSG);
    queue.close();
    for (const point &one : queue) {
        CHECK_EQ(one.x, -1);
    }
}

TEST(a_message_brings_buffers_along) {
    const mproc::queue queue;
    in_child([queue = queue.ref()] {
        const mproc::buffer buffer(1000);
        std::memset(buffer.data(), 7, 1000);
        queue.put_with("head", {buffer});
    });
    const mproc::message one = queue.get();
    const mproc::held<mproc::buffer_ref> kept(one.buffer(0));
    CHECK_EQ(static_cast<unsigned char *>(kept.data())[999], 7);
    CHECK(!one.buffer(1));
    const mproc::view mine(kept);
    CHECK_EQ(mine.size(), 1000);
}

TEST(a_queue_is_joined_when_all_is_done) {
    const mproc::queue queue;
    queue.put("work");
    CHECK(!queue.join_for(1ms));
    CHECK(queue.try_get().has_value());
    queue.task_done();
    queue.join();
    CHECK_EQ(code_of([&] { queue.task_done(); }), MPROC_EDONE);
}

/* ---------------------------------------------------------------- pool */

TEST(tasks_give_what_their_functions_return) {
    const mproc::pool pool(2);
    const auto number = pool.submit([] { return 6 * 7; });
    const auto text = pool.submit([] { return std::string(50000, 'a'); });
    const auto list = pool.submit([] { return std::vector<double>{1.5, 2.5}; });
    const auto empty = pool.submit([] { return std::vector<int>(); });
    const mproc::task<void> nothing = pool.submit([] {});
    CHECK_EQ(number.get(), 42);
    CHECK_EQ(number.get(), 42);
    CHECK_EQ(text.get().size(), 50000);
    CHECK(list.get()[1] == 2.5);
    CHECK(empty.get().empty());
    nothing.get();
    CHECK(nothing.ready());
}

TEST(an_exception_in_a_task_is_thrown_by_get) {
    const mproc::pool pool(1);
    const auto bad = pool.submit([]() -> int { throw std::out_of_range("no such thing"); });
    const auto odd = pool.submit([] { throw 5; });
    const auto code = pool.submit([] { throw mproc::error(-ENOENT, "looked in vain"); });
    try {
        bad.get();
        CHECK(!"thrown");
    } catch (const mproc::task_exception &e) {
        CHECK_STR(e.what(), "no such thing");
        CHECK_STR(e.type().c_str(), typeid(std::out_of_range).name());
    }
    try {
        odd.get();
        CHECK(!"thrown");
    } catch (const mproc::task_exception &e) {
        CHECK(e.type().empty());
    }
    CHECK_EQ(code_of([&] { code.get(); }), -ENOENT);
    CHECK_EQ(pool.submit([] { return 1; }).get(), 1);
}

TEST(a_task_whose_worker_dies_says_so) {
    const mproc::pool pool(1);
    const auto task = pool.submit([] { raise(SIGKILL); });
    try {
        task.get();
        CHECK(!"thrown");
    } catch (const mproc::task_failure &e) {
        CHECK_EQ(e.code().value(), MPROC_EDIED);
        CHECK_EQ(e.why().exitcode, -SIGKILL);
    }
    pool.close();
    pool.join();
}

TEST(a_task_can_be_cancelled_or_killed) {
    const mproc::event begun, never;
    const mproc::pool pool(1);
    const auto runs = pool.submit([begun = begun.ref(), never = never.ref()] {
        begun.set();
        never.wait();
    });
    const auto waits = pool.submit([] { return 1; });
    begun.wait();
    CHECK(!runs.cancel());
    CHECK(!runs.wait_for(1ms));
    CHECK(waits.cancel());
    CHECK(runs.kill());
    CHECK_EQ(code_of([&] { runs.get(); }), -ECANCELED);
    CHECK_EQ(code_of([&] { waits.get(); }), -ECANCELED);
}

TEST(the_first_of_several_tasks_is_told) {
    const mproc::event never;
    const mproc::pool pool(2);
    std::vector<mproc::task<int>> tasks;
    tasks.push_back(pool.submit([never = never.ref()] {
        never.wait();
        return 0;
    }));
    tasks.push_back(pool.submit([] { return 1; }));
    CHECK_EQ(mproc::wait_any(tasks), 1);
    CHECK_EQ(pool.workers().size(), 2);
}

TEST(a_map_gives_a_vector) {
    for (mproc_method method : methods) {
        mproc_pool_options options = {};
        options.workers = 2;
        options.method = method;
        const mproc::pool pool(options);
        std::vector<int> in(1000);
        std::iota(in.begin(), in.end(), 0);
        const int factor = static_cast<int>(options.workers) + 1;
        const std::vector<long> out =
            pool.map([factor](const int &i) { return static_cast<long>(i) * factor; }, in);
        CHECK_EQ(out.size(), 1000);
        CHECK_EQ(out[999], 2997);
        const mproc::array<long> sum(1);
        pool.map([sum = sum.ref()](int i) { sum.fetch_add(0, i); }, in);
        CHECK_EQ(sum[0], 499500);
        CHECK(pool.map([](int i) { return i; }, std::vector<int>()).empty());
    }
    mproc__template_stop_default();
}

TEST(an_exception_in_a_map_is_thrown_by_it) {
    const mproc::pool pool(2);
    const std::vector<int> in = {1, 2, 3};
    mproc_task_error why = {};
    mproc_map_options options = {};
    options.error = &why;
    try {
        pool.map(
            [](int i) { return i == 2 ? throw std::runtime_error(std::string(2000, 'x')) : i; }, in,
            options);
        CHECK(!"thrown");
    } catch (const mproc::task_exception &e) {
        CHECK_EQ(std::string(e.what()).size(), 891);
        CHECK_EQ(why.task, 1);
    }
    CHECK_EQ(code_of([&] {
                 pool.map([](int i) { return i == 3 ? throw mproc::error(-EDOM, "item") : i; }, in);
             }),
             -EDOM);
    CHECK_EQ(code_of([&] { pool.map([](int) { raise(SIGKILL); }, in); }), MPROC_EDIED);
}

/* ---------------------------------------------------------------- synchronisation */

TEST(guards_of_the_standard_library_hold_locks) {
    const mproc::array<long> count(1, mproc::locked::no);
    mproc::mutex first;
    mproc::recursive_mutex second;
    auto work = [count = count.ref(), a = first.ref(), b = second.ref()]() mutable {
        for (int i = 0; i < 1000; i++) {
            const std::scoped_lock both(a, b);
            count[0]++;
        }
    };
    {
        const mproc::process other(work);
        work();
        other.join();
        CHECK_EQ(*other.exitcode(), 0);
    }
    CHECK_EQ(count[0], 2000);
    const std::unique_lock guard(first, std::try_to_lock);
    CHECK(guard.owns_lock());
    CHECK(!first.try_lock());
    CHECK(!first.try_lock_for(1ms));
    CHECK_EQ(code_of([&] { second.unlock(); }), MPROC_ENOTHELD);
}

TEST(a_dead_holder_is_told_and_its_words_are_undone) {
    const mproc::mutex lock(1);
    const mproc::array<int64_t> word(1, mproc::locked::no);
    const mproc::process child([lock = lock.ref(), word = word.ref()] {
        lock.lock();
        lock.save(&word[0]);
        word[0] = 7;
        raise(SIGKILL);
    });
    child.join();
    CHECK(lock.acquire_for(60s) == mproc::acquired::owner_died);
    CHECK_EQ(word[0], 0);
    lock.unlock();
    CHECK(lock.acquire() == mproc::acquired::yes);
    lock.unlock();
}

TEST(semaphores_count) {
    const mproc::semaphore semaphore(1);
    const mproc::bsemaphore bounded(1);
    semaphore.acquire();
    CHECK(!semaphore.try_acquire());
    CHECK(!semaphore.try_acquire_for(1ms));
    semaphore.release();
    CHECK_EQ(semaphore.value(), 1);
    in_child([bounded = bounded.ref()] { bounded.acquire(); });
    CHECK(bounded.try_acquire_for(60s));
    CHECK(!bounded.try_acquire());
    bounded.release();
    CHECK_EQ(bounded.value(), 1);
    CHECK_EQ(code_of([&] { bounded.release(); }), MPROC_ENOTHELD);
}

TEST(a_condition_waits_for_what_a_lock_guards) {
    mproc::mutex lock;
    const mproc::condition condition;
    const mproc::array<int> turn(1, mproc::locked::no);
    const mproc::process child([lock = lock.ref(), condition = condition.ref(), turn = turn.ref()] {
        mproc::mutex_ref held = lock;
        std::unique_lock guard(held);
        condition.wait(guard, [&] { return turn[0] == 1; });
        turn[0] = 2;
        condition.notify_all();
    });
    std::unique_lock guard(lock);
    CHECK(!condition.wait_for(guard, 1ms, [&] { return turn[0] == 2; }));
    turn[0] = 1;
    condition.notify_one();
    CHECK(condition.wait_for(guard, 60s, [&] { return turn[0] == 2; }));
    guard.unlock();
    child.join();
    CHECK_EQ(*child.exitcode(), 0);
    guard.lock();
    CHECK(!condition.wait_for(guard, 1ms));
}

TEST(a_barrier_lets_all_pass_or_breaks) {
    const mproc::barrier barrier(2);
    in_child([barrier = barrier.ref()] {
        mproc::process other([barrier] { barrier.wait(); });
        return static_cast<int>(barrier.wait()) > 1;
    });
    CHECK_EQ(code_of([&] { barrier.wait_for(1ms); }), MPROC_EBROKEN);
    CHECK(barrier.broken());
    barrier.reset();
    CHECK(!barrier.broken());
    barrier.abort();
    CHECK(barrier.broken());
}

/* ---------------------------------------------------------------- array */

TEST(numbers_of_each_type_are_shared) {
    const mproc::array<unsigned char> bytes(3);
    const mproc::array<float> floats(2, mproc::locked::no);
    in_child([bytes = bytes.ref(), floats = floats.ref()] {
        bytes.set(2, 255);
        floats[1] = 0.25f;
    });
    CHECK_EQ(mproc_array_type(bytes.native()), MPROC_UINT8);
    CHECK_EQ(bytes.get(2), 255);
    CHECK_EQ(bytes.fetch_add(2, 2), 255);
    CHECK_EQ(bytes.exchange(2, 9), 1);
    unsigned char expected = 8;
    CHECK(!bytes.compare_exchange(2, expected, 10));
    CHECK_EQ(expected, 9);
    CHECK(bytes.compare_exchange(2, expected, 10));
    CHECK_EQ(std::accumulate(bytes.begin(), bytes.end(), 0), 10);
    CHECK(floats.get(1) == 0.25f);
    CHECK(!floats.lock());
    mproc::recursive_mutex_ref own = bytes.lock();
    const std::lock_guard guard(own);
    CHECK_EQ(code_of([&] { bytes.get(3); }), -ERANGE);
    CHECK_EQ(code_of([&] { floats.fetch_add(0, 1); }), -EINVAL);
}

/* ---------------------------------------------------------------- dict and list */

TEST(a_dict_is_one_for_all) {
    const mproc::dict dict;
    in_child([dict = dict.ref()] {
        dict.set("a", "1");
        dict.set("b", std::string(9000, 'b'));
        dict.add("n", 5);
    });
    CHECK(dict.get("a")->text() == "1");
    CHECK_EQ(dict.get("b")->size(), 9000);
    CHECK(!dict.get("c"));
    CHECK(!dict.insert("a", "2"));
    CHECK(dict.insert("c", "3"));
    CHECK(!dict.replace("c", "2", "4"));
    CHECK(!dict.replace("d", "2", "4"));
    CHECK(dict.replace("c", "3", "4"));
    CHECK_EQ(dict.add("n", -1), 4);
    CHECK_EQ(dict.number("n"), 4);
    CHECK_EQ(dict.number("nothing"), 0);
    CHECK_EQ(code_of([&] { dict.number("b"); }), -EINVAL);
    std::string keys;
    for (const auto &[key, value] : dict.items()) {
        keys += key;
        CHECK(!value.empty());
    }
    CHECK_STR(keys.c_str(), "abnc");
    CHECK(dict.pop("c")->text() == "4");
    CHECK(!dict.erase("c"));
    CHECK(dict.erase("b"));
    CHECK_EQ(dict.size(), 2);
    dict.clear();
    CHECK(!dict.contains("a"));
}

TEST(a_set_is_one_for_all) {
    const mproc::set set;
    in_child([set = set.ref()] {
        CHECK(set.insert("a"));
        CHECK(set.insert("b"));
    });
    CHECK(!set.insert("a"));
    CHECK(set.insert("c"));
    std::string elements;
    for (const std::string_view element : set.items()) {
        elements += element;
    }
    CHECK_STR(elements.c_str(), "abc");
    CHECK(set.contains("b"));
    CHECK(set.erase("b"));
    CHECK(!set.erase("b"));
    CHECK(set.pop()->text() == "c");
    CHECK_EQ(set.size(), 1);
    set.clear();
    CHECK(!set.pop());
    CHECK_EQ(code_of([&] { set.insert(std::string(MPROC_DICT_KEY_MAX + 1, 'x')); }), MPROC_ETOOBIG);
}

TEST(a_function_updates_an_entry_or_throws) {
    const mproc::dict dict;
    const auto longer = [](std::optional<std::string_view> old) {
        return old ? std::string(*old) + "x" : std::string("first");
    };
    dict.update("key", longer);
    dict.update("key", longer);
    CHECK(dict.get("key")->text() == "firstx");
    bool thrown = false;
    try {
        dict.update("key", [](std::optional<std::string_view>) -> std::string {
            throw std::logic_error("not now");
        });
    } catch (const std::logic_error &) {
        thrown = true;
    }
    CHECK(thrown);
    CHECK(dict.get("key")->text() == "firstx");
}

TEST(a_list_is_one_for_all) {
    const mproc::list list;
    in_child([list = list.ref()] {
        list.append("b");
        list.append("c");
        list.insert(0, "a");
    });
    list.swap(0, -1);
    list.set(1, "middle");
    std::string all;
    for (std::string_view one : list.items()) {
        all += one;
    }
    CHECK_STR(all.c_str(), "cmiddlea");
    CHECK(list.pop().text() == "a");
    CHECK(list.get(-1).text() == "middle");
    CHECK_EQ(code_of([&] { list.get(2); }), -ERANGE);
    list.clear();
    CHECK_EQ(list.size(), 0);
    CHECK_EQ(code_of([&] { list.pop(); }), -ERANGE);
}

/* ---------------------------------------------------------------- connection */

TEST(a_pipe_carries_messages_of_any_size_both_ways) {
    std::pair<mproc::connection, mproc::connection> ends = mproc::connection::pipe();
    mproc::connection &mine = ends.first, &others = ends.second;
    const mproc::process child([far = others.ref(), near = mine.ref()] {
        near.close();
        for (int i = 0; i < 4; i++) {
            const mproc::message one = far.recv();
            far.send(one.data(), one.size());
        }
    });
    others.close();
    others.close(); // a second time is nothing
    for (size_t size : {0, 100, 5000, 3000000}) {
        const std::string text(size, 'm');
        mine.send(text);
        CHECK(mine.recv().text() == text);
    }
    CHECK(mine.poll_for(60s));
    CHECK_EQ(code_of([&] { mine.recv(); }), MPROC_EEOF);
    child.join();
}

TEST(a_descriptor_of_a_connection_tells_what_is_there) {
    auto [receiver, sender] = mproc::connection::pipe(false);
    sender.send("before");
    CHECK_GE(receiver.fd(), 0);
    sender.send(std::string(3000, 'p'));
    CHECK(receiver.poll());
    CHECK(receiver.recv().text() == "before");
    CHECK_EQ(receiver.recv().size(), 3000);
    CHECK(!receiver.poll());
    mproc::connection moved = std::move(receiver);
    moved = std::move(sender);
    moved.close();
}

TEST(a_connection_that_is_assigned_to_itself_stays_open) {
    auto [receiver, sender] = mproc::connection::pipe(false);
    mproc::connection &same = sender;
    sender = std::move(same);
    sender.send("still");
    CHECK(receiver.recv().text() == "still");
}

/* ---------------------------------------------------------------- named memory, watch */

TEST(a_segment_is_found_by_its_name) {
    const mproc::segment made = mproc::segment::create(4096);
    std::memcpy(made.data(), "hello", 6);
    const mproc::segment found = mproc::segment::open(made.name());
    CHECK_STR(static_cast<const char *>(found.data()), "hello");
    CHECK_EQ(found.size(), 4096);
    made.unlink();
    const std::string name = found.name();
    CHECK_EQ(code_of([&] { mproc::segment::open(name.c_str()); }), -ENOENT);
}

TEST(a_watch_tells_of_operations) {
    const mproc::watch watch;
    const mproc::queue queue;
    const mproc::event event;
    const int get = watch.add(queue, MPROC_WATCH_GET);
    const int wait = watch.add(event, MPROC_WATCH_WAIT);
    CHECK(watch.arm(get));
    CHECK(watch.arm(wait));
    CHECK(!watch.next());
    queue.put("here");
    CHECK_EQ(*watch.next(), get);
    CHECK(!watch.next());
    CHECK(!watch.arm(get));
    watch.disarm(wait);
    watch.remove(wait);
    CHECK_GE(watch.fd(), 0);
    CHECK_EQ(code_of([&] { watch.arm(wait); }), -EINVAL);
}

TEST(members_are_counted) {
    CHECK_EQ(mproc::members().size(), 1);
    CHECK_EQ(mproc::members()[0].pid, mproc_pid());
}

TEST(a_template_forks_what_it_is_asked_for) {
    const mproc::process_template one;
    mproc_process_options options = by(MPROC_FORKSERVER);
    options.from = one.native();
    const mproc::process child([] { return 3; }, options);
    child.join();
    CHECK_EQ(*child.exitcode(), 3);
    CHECK_GT(one.pid(), 0);
}
