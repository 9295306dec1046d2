/*
 * mproc.hpp - mproc for C++: the nouns of mproc.h as classes
 *
 * SPDX-License-Identifier: MIT
 *
 * Header only, C++17 and later. It adds ownership, types and exceptions, and nothing else: mproc.h
 * is the manual of what each noun does, and its laws hold here.
 *
 *  1. Ways to refer. A NOUN (queue, mutex, dict, ...) owns one hold on its object, as
 *     std::shared_ptr owns one count: a copy takes another one, the destructor gives it back. A
 *     NOUN_ref is a plain pointer with the same functions and owns nothing. Every noun converts to
 *     its ref.
 *  2. Lambdas that cross. A function that another process runs (of a process, a task, a map) is
 *     copied there byte by byte. So its captures are plain data: numbers, structs of these, and
 *     refs. Anything else does not compile. A plain function of the program may stand for the
 *     lambda; a pointer to one that is captured is right in forked processes only. A child that is
 *     spawned, and does not take holds of its own, uses a ref while its starter holds the object.
 *  3. Errors are exceptions. A function that fails throws mproc::error with the code of mproc.h,
 *     and nothing has happened. A code that is an errno compares with std::errc.
 *  4. Waits. Without a time they wait for ever. Those that are called try_ do not wait, those that
 *     end in _for wait so long; all of these say by their result whether it was done. A signal
 *     handler that runs meanwhile ends a wait by an error that equals std::errc::interrupted.
 *  5. Exceptions do not cross as objects. One that leaves a task or an item of a map is caught in
 *     the worker, which goes on; the owner gets a mproc::task_exception with its type's name and
 *     its text. A mproc::error fails the task with its code instead, so that
 *     mproc_task_options.retry_on finds it. One that leaves the function of a process ends that
 *     process by std::terminate(), as it would end a thread's.
 *  6. native() is the pointer of mproc.h, for what has no function here.
 */
#ifndef MPROC_HPP
#define MPROC_HPP

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <iterator>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/uio.h>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <unistd.h>
#include <utility>
#include <vector>

#include "mproc.h"

namespace mproc {

/* ---------------------------------------------------------------- errors */

/* The category of the library's codes, which are negative. */
inline const std::error_category &category() noexcept {
    struct codes final : std::error_category {
        const char *name() const noexcept override {
            return "mproc";
        }
        std::string message(int code) const override {
            return mproc_strerror(code);
        }
        std::error_condition default_error_condition(int code) const noexcept override {
            return code < 0 && code > -4096 ? std::error_condition(-code, std::generic_category())
                                            : std::error_condition(code, *this);
        }
    };
    static const codes one;
    return one;
}

/* A code of mproc.h, which code().value() is, and the call that returned it. */
class error : public std::system_error {
  public:
    error(int code, const std::string &what) : std::system_error(code, category(), what) {
    }
};

/* An exception that left a task or an item of a map. */
class task_exception : public std::runtime_error {
  public:
    task_exception(std::string type, const std::string &text)
        : std::runtime_error(text), type_(std::move(type)) {
    }
    /* The name of its type, as typeid() has it. */
    const std::string &type() const noexcept {
        return type_;
    }

  private:
    std::string type_;
};

/* A task that has failed otherwise: its worker died, its time was up, it was cancelled, ... */
class task_failure : public error {
  public:
    explicit task_failure(const mproc_task_error &why) : error(why.code, text(why)), why_(why) {
    }
    const mproc_task_error &why() const noexcept {
        return why_;
    }

  private:
    static std::string text(const mproc_task_error &why) {
        char line[256];
        return mproc_task_error_text(&why, line, sizeof line);
    }
    mproc_task_error why_;
};

namespace detail {

inline void ignore(int) noexcept {
}

/* Throws what is an error, and passes on what is none. */
inline int check(int code, const char *call) {
    if (code < 0) {
        const char *reason = mproc_join_reason(code);
        throw error(code, *reason != '\0' ? std::string(call) + ": " + reason : call);
    }
    return code;
}

/* Whether a wait has ended before its time. */
inline bool waited(int code, const char *call) {
    return code != -ETIMEDOUT && check(code, call) >= 0;
}

/* A duration as mproc.h has timeouts. One that has passed is a try, a very long one no timeout. */
template <class Rep, class Period> int64_t timeout(std::chrono::duration<Rep, Period> time) {
    const double seconds = std::chrono::duration<double>(time).count();
    if (!(seconds > 0)) {
        return 0;
    }
    return seconds < 9e9 ? std::chrono::duration_cast<std::chrono::nanoseconds>(time).count()
                         : MPROC_FOREVER;
}

/* An object of plain data from its bytes, which need not be aligned. */
template <class T> T load(const void *bytes) {
    static_assert(std::is_trivially_copyable_v<T>,
                  "what crosses to another process is plain data: capture by value, and refs "
                  "instead of nouns");
    alignas(T) unsigned char raw[sizeof(T)];
    std::memcpy(raw, bytes, sizeof raw);
    return *std::launder(reinterpret_cast<T *>(raw));
}

/* A pointer to a function of this program, as its distance from another one: in a process that was
 * not forked the program lies at other addresses. */
template <class F> class distant {
  public:
    explicit distant(F function) noexcept : distance_(address(function) - address(&here)) {
    }
    template <class... Arguments>
    std::invoke_result_t<F, Arguments...> operator()(Arguments &&...arguments) const {
        const F function = reinterpret_cast<F>(address(&here) + distance_);
        return function(std::forward<Arguments>(arguments)...);
    }

  private:
    static void here() noexcept {
    }
    template <class Function> static uintptr_t address(Function *function) noexcept {
        return reinterpret_cast<uintptr_t>(function);
    }
    uintptr_t distance_;
};

/* A function in the form in which its bytes cross. */
template <class F> auto crossing(F function) noexcept {
    if constexpr (std::is_function_v<std::remove_pointer_t<F>>) {
        return distant<F>(function);
    } else {
        return function;
    }
}

} // namespace detail

/* ---------------------------------------------------------------- family */

/* First thing in main(): in a spawned child it runs the child's function and does not return. */
inline void init(int argc, char **argv) {
    detail::check(mproc_init(argc, argv), "mproc_init");
}

/* The living members, the caller included. */
inline std::vector<mproc_member> members() {
    std::vector<mproc_member> all;
    for (size_t n = mproc_members(nullptr, 0); all.size() < n;) {
        all.resize(n);
        n = mproc_members(all.data(), all.size());
        if (n <= all.size()) {
            all.resize(n);
        }
    }
    return all;
}

/* ---------------------------------------------------------------- arena */

/* Memory of the arena for a container of the standard library: std::vector<int, allocator<int>>.
 * Its elements are at the same addresses in all members; the container itself is private, so other
 * members are given a pointer to the elements. Throws std::bad_alloc. */
template <class T> struct allocator {
    using value_type = T;
    static_assert(alignof(T) <= 16, "blocks of the arena are 16-byte aligned");

    allocator() noexcept = default;
    template <class U> allocator(const allocator<U> &) noexcept { // NOLINT: containers rebind it
    }
    T *allocate(size_t n) {
        if (n > std::numeric_limits<size_t>::max() / sizeof(T)) {
            throw std::bad_array_new_length();
        }
        void *block = mproc_alloc(n != 0 ? n * sizeof(T) : 1);
        if (block == nullptr) {
            throw std::bad_alloc();
        }
        return static_cast<T *>(block);
    }
    void deallocate(T *block, size_t) noexcept {
        mproc_free(block);
    }
    friend bool operator==(const allocator &, const allocator &) noexcept {
        return true;
    }
    friend bool operator!=(const allocator &, const allocator &) noexcept {
        return false;
    }
};

/* ---------------------------------------------------------------- objects */

/* What every ref is: a pointer of mproc.h. A ref that was made of nothing is null. */
template <class Object> class ref {
  public:
    constexpr ref() noexcept = default;
    constexpr explicit ref(Object *object) noexcept : object_(object) {
    }
    constexpr Object *native() const noexcept {
        return object_;
    }
    constexpr explicit operator bool() const noexcept {
        return object_ != nullptr;
    }

  protected:
    Object *object_ = nullptr;
};

/* What every noun is: a ref with a hold. One that was moved from is null. */
template <class Ref> class owner : public Ref {
  public:
    owner(const owner &other) : Ref(other) {
        if (this->native() != nullptr) {
            detail::check(mproc_hold(this->native()), "mproc_hold");
        }
    }
    owner(owner &&other) noexcept : Ref(std::exchange(static_cast<Ref &>(other), Ref())) {
    }
    owner &operator=(owner other) noexcept {
        std::swap(static_cast<Ref &>(*this), static_cast<Ref &>(other));
        return *this;
    }
    ~owner() {
        detail::ignore(mproc_drop(this->native()));
    }
    /* The noun without its hold, to be captured by what another process runs. */
    Ref ref() const noexcept {
        return *this;
    }

  protected:
    explicit owner(Ref made) noexcept : Ref(made) {
    }
};

/* One more hold on what a ref refers to. */
template <class Ref> class held : public owner<Ref> {
  public:
    explicit held(Ref object) : owner<Ref>(object) {
        const int r = mproc_hold(object.native());
        if (r != 0) {
            static_cast<Ref &>(*this) = Ref(); // there is nothing to give back
        }
        detail::check(r, "mproc_hold");
    }
};

namespace detail {

/* A handle of mproc.h, and the function that gives it back. */
template <auto Drop> struct dropper {
    template <class Object> void operator()(Object *one) const noexcept {
        Drop(one);
    }
};
template <class Object, auto Drop> using handle = std::unique_ptr<Object, dropper<Drop>>;

/* What a constructor of mproc.h makes: made<queue_ref>("mproc_queue_new", mproc_queue_new, 0). */
template <class Ref, class Object, class... Parameters, class... Arguments>
Ref made(const char *call, int (*make)(Object **, Parameters...), Arguments... arguments) {
    Object *object = nullptr;
    check(make(&object, arguments...), call);
    return Ref(object);
}

} // namespace detail

/* ---------------------------------------------------------------- buffer */

/* See mproc_buffer in mproc.h: memory of the arena, with holds. */
class buffer_ref : public ref<mproc_buffer> {
  public:
    using ref::ref;
    void *data() const {
        return mproc_buffer_data(object_);
    }
    size_t size() const {
        return mproc_buffer_size(object_);
    }
};

class buffer : public owner<buffer_ref> {
  public:
    explicit buffer(size_t size)
        : owner(detail::made<buffer_ref>("mproc_buffer_new", mproc_buffer_new, size)) {
    }
};

/* A buffer as private memory of this process: see mproc_view in mproc.h. */
class view {
  public:
    explicit view(buffer_ref buffer)
        : view_(detail::made<detail::handle<mproc_view, mproc_view_drop>>(
              "mproc_view_new", mproc_view_new, buffer.native())) {
    }
    void *data() const {
        return mproc_view_data(view_.get());
    }
    size_t size() const {
        return mproc_view_size(view_.get());
    }

  private:
    detail::handle<mproc_view, mproc_view_drop> view_;
};

/* ---------------------------------------------------------------- message */

/* Bytes that were received. Small ones are in the message itself, large ones in the arena until it
 * is destroyed. */
class message {
  public:
    message() noexcept {
        point();
    }
    message(message &&other) noexcept {
        take(other);
    }
    message &operator=(message &&other) noexcept {
        if (this != &other) {
            mproc_message_drop(&raw_);
            take(other);
        }
        return *this;
    }
    ~message() {
        mproc_message_drop(&raw_);
    }
    const void *data() const noexcept {
        return raw_.data;
    }
    size_t size() const noexcept {
        return raw_.size;
    }
    std::string_view text() const noexcept {
        return {static_cast<const char *>(raw_.data), raw_.size};
    }
    /* The plain data that the message is. Throws an error, -EBADMSG, if it has another size. */
    template <class T> T as() const {
        if (raw_.size != sizeof(T)) {
            throw error(-EBADMSG, "mproc::message::as");
        }
        return detail::load<T>(raw_.data);
    }
    /* The i-th buffer that it has brought along, lent; null: it has no such. */
    buffer_ref buffer(size_t i) const {
        return buffer_ref(mproc_message_buffer(&raw_, i));
    }
    /* Not filled yet, for functions of mproc.h that fill one. */
    mproc_message *native() noexcept {
        return &raw_;
    }
    /* Private memory of so many bytes as the room for small messages. Whatever it had is lost. */
    void make_room(size_t size) {
        mproc_message_drop(&raw_);
        heap_.reset(new unsigned char[size]);
        raw_ = MPROC_MESSAGE_INIT(heap_.get(), size);
    }

  private:
    void point() noexcept {
        raw_ = MPROC_MESSAGE_INIT(room_, sizeof room_);
    }
    void take(message &other) noexcept {
        raw_ = other.raw_;
        heap_ = std::move(other.heap_);
        if (raw_.room == other.room_) {
            raw_.room = room_;
        }
        if (raw_.data == other.room_) {
            raw_.data = room_;
            std::memcpy(room_, other.room_, raw_.size);
        }
        other.point();
    }

    mproc_message raw_;
    std::unique_ptr<unsigned char[]> heap_;
    alignas(16) unsigned char room_[240];
};

/* ---------------------------------------------------------------- process */

/* Several templates may stand side by side: see mproc_template in mproc.h. */
class process_template {
  public:
    explicit process_template(const mproc_process_options &options = {})
        : template_(detail::made<detail::handle<mproc_template, mproc_template_drop>>(
              "mproc_template_new", mproc_template_new, &options)) {
    }
    pid_t pid() const {
        return mproc_template_pid(template_.get());
    }
    mproc_template *native() const noexcept {
        return template_.get();
    }

  private:
    detail::handle<mproc_template, mproc_template_drop> template_;
};

namespace detail {

/* What std::data and std::size take: a container whose items stand side by side in memory. */
template <class Items, class = void> struct is_contiguous : std::false_type {};
template <class Items>
struct is_contiguous<Items, std::void_t<decltype(*std::data(std::declval<const Items &>())),
                                        decltype(std::size(std::declval<const Items &>()))>>
    : std::true_type {};

template <class F> int run_process(void *function, size_t) noexcept {
    F f = load<F>(function);
    if constexpr (std::is_void_v<std::invoke_result_t<F &>>) {
        f();
        return 0;
    } else {
        return static_cast<int>(f());
    }
}

} // namespace detail

/*
 * A child process that runs a function without parameters, whose result, if it has one, is the exit
 * code. The destructor waits for its end, as that of std::jthread does; a process that was moved
 * from has nothing to wait for.
 */
class process {
  public:
    process() noexcept = default;
    template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, process>>>
    explicit process(F function, const mproc_process_options &options = {}) {
        static_assert(
            std::is_invocable_v<F &>,
            "the function of a process has no parameters: a lambda captures what it needs");
        static_assert(std::is_trivially_copyable_v<F>,
                      "the function of a process captures plain data, and refs instead of nouns");
        if constexpr (std::is_invocable_v<F &>) {
            auto crossing = detail::crossing(function);
            detail::check(mproc_process_start(&process_, detail::run_process<decltype(crossing)>,
                                              &crossing, sizeof crossing, &options),
                          "mproc_process_start");
        }
    }
    process(process &&other) noexcept : process_(std::exchange(other.process_, nullptr)) {
    }
    process &operator=(process &&other) noexcept {
        if (this != &other) {
            end();
            process_ = std::exchange(other.process_, nullptr);
        }
        return *this;
    }
    ~process() {
        end();
    }
    void join() const {
        detail::check(mproc_process_join(process_, MPROC_FOREVER), "mproc_process_join");
    }
    template <class Rep, class Period>
    bool join_for(std::chrono::duration<Rep, Period> time) const {
        return detail::waited(mproc_process_join(process_, detail::timeout(time)),
                              "mproc_process_join");
    }
    /* As mproc_process_exitcode(); nothing while it runs. */
    std::optional<int> exitcode() const {
        int code = 0;
        const int r = mproc_process_exitcode(process_, &code);
        if (r == -EAGAIN) {
            return std::nullopt;
        }
        detail::check(r, "mproc_process_exitcode");
        return code;
    }
    pid_t pid() const {
        return mproc_process_pid(process_);
    }
    /* Readable when it has ended; its own. */
    int sentinel() const {
        return mproc_process_sentinel(process_);
    }
    void signal(int number) const {
        detail::check(mproc_process_signal(process_, number), "mproc_process_signal");
    }
    void terminate() const {
        detail::check(mproc_process_terminate(process_), "mproc_process_terminate");
    }
    void kill() const {
        detail::check(mproc_process_kill(process_), "mproc_process_kill");
    }
    mproc_process *native() const noexcept {
        return process_;
    }

  private:
    void end() noexcept {
        while (process_ != nullptr && mproc_process_drop(process_) == -EBUSY) {
            detail::ignore(mproc_process_join(process_, MPROC_FOREVER));
        }
        process_ = nullptr;
    }
    mproc_process *process_ = nullptr;
};

/* ---------------------------------------------------------------- queue */

namespace detail {

/* What a range-based for needs: take() of Queue until that gives nothing. */
template <class Queue, class Item> class item_iterator {
  public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Item;
    using difference_type = std::ptrdiff_t;
    using pointer = Item *;
    using reference = Item &;

    item_iterator() = default;
    explicit item_iterator(const Queue &queue) : queue_(queue), item_(queue.take()) {
    }
    reference operator*() {
        return *item_;
    }
    pointer operator->() {
        return &*item_;
    }
    item_iterator &operator++() {
        item_ = queue_.take();
        return *this;
    }
    void operator++(int) {
        ++*this;
    }
    /* Two iterators are equal if both are at the end. */
    bool operator==(const item_iterator &other) const {
        return item_.has_value() == other.item_.has_value();
    }
    bool operator!=(const item_iterator &other) const {
        return !(*this == other);
    }

  private:
    Queue queue_;
    std::optional<Item> item_;
};

} // namespace detail

/* See mproc_queue in mproc.h. A range-based for takes messages until the queue is closed and
 * empty. */
class queue_ref : public ref<mproc_queue> {
  public:
    using ref::ref;
    using iterator = detail::item_iterator<queue_ref, message>;

    void put(const void *data, size_t size) const {
        detail::check(mproc_queue_put(object_, data, size, MPROC_FOREVER), "mproc_queue_put");
    }
    void put(std::string_view text) const {
        put(text.data(), text.size());
    }
    bool try_put(std::string_view text) const {
        return try_put_for(text, std::chrono::seconds(0));
    }
    template <class Rep, class Period>
    bool try_put_for(std::string_view text, std::chrono::duration<Rep, Period> time) const {
        return detail::waited(
            mproc_queue_put(object_, text.data(), text.size(), detail::timeout(time)),
            "mproc_queue_put");
    }
    /* The message takes the buffers along. */
    void put_with(std::string_view text, const std::vector<buffer_ref> &buffers) const {
        std::vector<mproc_buffer *> natives;
        for (const buffer_ref &one : buffers) {
            natives.push_back(one.native());
        }
        const iovec piece = {const_cast<char *>(text.data()), text.size()};
        detail::check(
            mproc_queue_put_with(object_, &piece, 1, natives.data(), natives.size(), MPROC_FOREVER),
            "mproc_queue_put_with");
    }
    message get() const {
        message one;
        detail::check(mproc_queue_get(object_, one.native(), MPROC_FOREVER), "mproc_queue_get");
        return one;
    }
    std::optional<message> try_get() const {
        return try_get_for(std::chrono::seconds(0));
    }
    template <class Rep, class Period>
    std::optional<message> try_get_for(std::chrono::duration<Rep, Period> time) const {
        std::optional<message> one(std::in_place);
        if (!detail::waited(mproc_queue_get(object_, one->native(), detail::timeout(time)),
                            "mproc_queue_get")) {
            one.reset();
        }
        return one;
    }
    /* As get(), but nothing when the queue is closed and empty. */
    std::optional<message> take() const {
        std::optional<message> one(std::in_place);
        const int r = mproc_queue_get(object_, one->native(), MPROC_FOREVER);
        if (r == MPROC_ECLOSED) {
            return std::nullopt;
        }
        detail::check(r, "mproc_queue_get");
        return one;
    }
    void task_done() const {
        detail::check(mproc_queue_task_done(object_), "mproc_queue_task_done");
    }
    void join() const {
        detail::check(mproc_queue_join(object_, MPROC_FOREVER), "mproc_queue_join");
    }
    template <class Rep, class Period>
    bool join_for(std::chrono::duration<Rep, Period> time) const {
        return detail::waited(mproc_queue_join(object_, detail::timeout(time)), "mproc_queue_join");
    }
    void close() const {
        mproc_queue_close(object_);
    }
    void shutdown(bool immediate = false) const {
        mproc_queue_shutdown(object_, immediate);
    }
    uint64_t size() const {
        return mproc_queue_count(object_);
    }
    iterator begin() const {
        return iterator(*this);
    }
    iterator end() const {
        return {};
    }
};

/* `bound`: most messages in it at a time, 0 for no bound but memory. */
class queue : public owner<queue_ref> {
  public:
    explicit queue(uint64_t bound = 0)
        : owner(detail::made<queue_ref>("mproc_queue_new", mproc_queue_new, bound)) {
    }
};

/* A queue whose messages are plain data of one type. */
template <class T> class queue_of_ref : public ref<mproc_queue> {
    static_assert(std::is_trivially_copyable_v<T>, "messages of a queue_of are plain data");

  public:
    using ref<mproc_queue>::ref;
    using iterator = detail::item_iterator<queue_of_ref, T>;

    void put(const T &one) const {
        bytes().put(&one, sizeof one);
    }
    bool try_put(const T &one) const {
        return bytes().try_put(text(one));
    }
    template <class Rep, class Period>
    bool try_put_for(const T &one, std::chrono::duration<Rep, Period> time) const {
        return bytes().try_put_for(text(one), time);
    }
    T get() const {
        return bytes().get().template as<T>();
    }
    std::optional<T> try_get() const {
        return value(bytes().try_get());
    }
    template <class Rep, class Period>
    std::optional<T> try_get_for(std::chrono::duration<Rep, Period> time) const {
        return value(bytes().try_get_for(time));
    }
    std::optional<T> take() const {
        return value(bytes().take());
    }
    void task_done() const {
        bytes().task_done();
    }
    void join() const {
        bytes().join();
    }
    void close() const {
        bytes().close();
    }
    uint64_t size() const {
        return bytes().size();
    }
    iterator begin() const {
        return iterator(*this);
    }
    iterator end() const {
        return {};
    }
    /* The same queue, whose messages are bytes. */
    queue_ref bytes() const noexcept {
        return queue_ref(this->object_);
    }

  private:
    static std::string_view text(const T &one) {
        return {reinterpret_cast<const char *>(&one), sizeof one};
    }
    static std::optional<T> value(const std::optional<message> &one) {
        return one ? std::optional<T>(one->template as<T>()) : std::nullopt;
    }
};

template <class T> class queue_of : public owner<queue_of_ref<T>> {
  public:
    explicit queue_of(uint64_t bound = 0)
        : owner<queue_of_ref<T>>(
              detail::made<queue_of_ref<T>>("mproc_queue_new", mproc_queue_new, bound)) {
    }
};

/* ---------------------------------------------------------------- pool */

namespace detail {

/* How a task's result crosses. */
template <class R> struct packing {
    static_assert(std::is_trivially_copyable_v<R>,
                  "a task's result is plain data, a std::string, or a std::vector of plain data");
    static int write(mproc_result *out, const R &result) {
        return mproc_result_write(out, &result, sizeof result);
    }
    static R read(const char *data, size_t) {
        return load<R>(data);
    }
};

template <> struct packing<std::string> {
    static int write(mproc_result *out, const std::string &result) {
        return mproc_result_write(out, result.data(), result.size());
    }
    static std::string read(const char *data, size_t size) {
        return std::string(data, size);
    }
};

template <class T> struct packing<std::vector<T>> {
    static_assert(std::is_trivially_copyable_v<T> && !std::is_same_v<T, bool>,
                  "a vector that is a task's result has elements of plain data, not of bool");
    static int write(mproc_result *out, const std::vector<T> &result) {
        return mproc_result_write(out, result.data(), result.size() * sizeof(T));
    }
    static std::vector<T> read(const char *data, size_t size) {
        std::vector<T> result(size / sizeof(T));
        if (size != 0) {
            std::memcpy(result.data(), data, size);
        }
        return result;
    }
};

/* What stands before a result: whether it is one, or an exception's type, a 0, and its text. */
struct result_head {
    uint64_t threw;
    uint64_t unused;
};

inline int write_head(mproc_result *out, bool threw) {
    const result_head head = {threw, 0};
    return mproc_result_write(out, &head, sizeof head);
}

inline int write_exception(mproc_result *out, const char *type, const char *text) {
    int r = write_head(out, true);
    if (r == 0) {
        r = mproc_result_write(out, type, std::strlen(type) + 1);
    }
    return r != 0 ? r : mproc_result_write(out, text, std::strlen(text));
}

template <class F> int call_task(F &f, mproc_result *out) {
    using R = std::invoke_result_t<F &>;
    if constexpr (std::is_void_v<R>) {
        f();
        return write_head(out, false);
    } else {
        const R result = f();
        const int r = write_head(out, false);
        return r != 0 ? r : packing<R>::write(out, result);
    }
}

template <class F> int run_task(const void *function, size_t, mproc_result *out) noexcept {
    F f = load<F>(function);
    try {
        return call_task(f, out);
    } catch (const error &e) {
        return e.code().value();
    } catch (const std::exception &e) {
        return write_exception(out, typeid(e).name(), e.what());
    } catch (...) {
        return write_exception(out, "", "an exception that is no std::exception");
    }
}

template <class R> R read_result(const void *data, size_t size) {
    const char *bytes = static_cast<const char *>(data);
    if (size < sizeof(result_head)) {
        throw error(-EBADMSG, "mproc::task::get");
    }
    const result_head head = load<result_head>(bytes);
    bytes += sizeof head, size -= sizeof head;
    if (head.threw != 0) {
        const std::string type(bytes);
        throw task_exception(type, std::string(bytes + type.size() + 1, size - type.size() - 1));
    }
    if constexpr (!std::is_void_v<R>) {
        return packing<R>::read(bytes, size);
    }
}

} // namespace detail

/* A task of a pool, whose result is an R. One thread uses it. A task that is destroyed before it is
 * done is done all the same, and its result forgotten. */
template <class R> class task {
  public:
    task() noexcept = default;
    explicit task(mproc_task *owned) noexcept : task_(owned) {
    }
    void wait() const {
        detail::check(mproc_task_wait(native(), MPROC_FOREVER), "mproc_task_wait");
    }
    template <class Rep, class Period>
    bool wait_for(std::chrono::duration<Rep, Period> time) const {
        return detail::waited(mproc_task_wait(native(), detail::timeout(time)), "mproc_task_wait");
    }
    bool ready() const {
        return mproc_task_is_done(native()) != 0;
    }
    /* Waits, and gives a copy of the result. Throws task_exception or task_failure instead. */
    R get() const {
        const void *data = nullptr;
        size_t size = 0;
        wait();
        if (mproc_task_result(native(), &data, &size) != 0) {
            mproc_task_error why;
            mproc_task_failure(native(), &why);
            throw task_failure(why);
        }
        return detail::read_result<R>(data, size);
    }
    /* False: a worker has begun it. */
    bool cancel() const {
        return stopped(mproc_task_cancel(native()), "mproc_task_cancel");
    }
    /* False: it is done, or its result is on the way. */
    bool kill() const {
        return stopped(mproc_task_kill(native()), "mproc_task_kill");
    }
    mproc_task *native() const noexcept {
        return task_.get();
    }

  private:
    static bool stopped(int code, const char *call) {
        return code != -EBUSY && detail::check(code, call) == 0;
    }
    detail::handle<mproc_task, mproc_task_drop> task_;
};

/* Waits until one of several tasks of a pool is done, and gives the index of the first such. */
template <class R> size_t wait_any(const std::vector<task<R>> &tasks) {
    std::vector<mproc_task *> natives;
    size_t index = 0;
    for (const task<R> &one : tasks) {
        natives.push_back(one.native());
    }
    detail::check(mproc_task_wait_any(natives.data(), natives.size(), MPROC_FOREVER, &index),
                  "mproc_task_wait_any");
    return index;
}

namespace detail {

/* What the workers of a map share, in the arena: the first exception's text, and, behind it, the
 * map's function. */
struct alignas(16) map_place {
    static constexpr int threw = -EREMOTEIO; /* the code of an item that has thrown */
    enum { none, being_written, written };

    std::atomic<int> state{none};
    char type[128];
    char text[892];

    void *function() noexcept {
        return this + 1;
    }
    static void copy(char *out, size_t room, const char *text) noexcept {
        size_t n = std::strlen(text);
        n = n < room ? n : room - 1;
        std::memcpy(out, text, n);
        out[n] = '\0';
    }
    int note(const char *of_type, const char *what) noexcept {
        int expected = none;
        if (state.compare_exchange_strong(expected, being_written)) {
            copy(type, sizeof type, of_type);
            copy(text, sizeof text, what);
            state.store(written, std::memory_order_release);
        }
        return threw;
    }
};

using map_place_ptr = handle<map_place, mproc_free>;

inline map_place_ptr make_map_place(const void *function, size_t size) {
    void *block = mproc_alloc(sizeof(map_place) + size);
    if (block == nullptr) {
        throw error(-ENOMEM, "mproc::pool::map");
    }
    map_place_ptr place(new (block) map_place);
    std::memcpy(place->function(), function, size);
    return place;
}

template <class F, class T> int run_item(const void *in, void *out, void *context) noexcept {
    using R = std::invoke_result_t<F &, const T &>;
    map_place *place = static_cast<map_place *>(context);
    F f = load<F>(place->function());
    try {
        if constexpr (std::is_void_v<R>) {
            f(*static_cast<const T *>(in));
        } else {
            const R result = f(*static_cast<const T *>(in));
            std::memcpy(out, &result, sizeof result);
        }
        return 0;
    } catch (const error &e) {
        return e.code().value();
    } catch (const std::exception &e) {
        return place->note(typeid(e).name(), e.what());
    } catch (...) {
        return place->note("", "an exception that is no std::exception");
    }
}

} // namespace detail

/*
 * Worker processes that run functions. The destructor ends the workers at once, and fails the tasks
 * that are not done: close() and join() let them finish.
 */
class pool {
  public:
    /* 0: as many workers as there are CPUs that the process may use. */
    explicit pool(unsigned workers = 0) : pool(of(workers)) {
    }
    explicit pool(const mproc_pool_options &options)
        : pool_(detail::made<detail::handle<mproc_pool, mproc_pool_drop>>(
              "mproc_pool_new", mproc_pool_new, &options)) {
    }
    /* A task: a function without parameters, whose result is plain data, a std::string, a
     * std::vector of plain data, or nothing. */
    template <class F> auto submit(F function, const mproc_task_options &options = {}) const {
        static_assert(std::is_invocable_v<F &>,
                      "the function of a task has no parameters: a lambda captures what it needs");
        static_assert(std::is_trivially_copyable_v<F>,
                      "the function of a task captures plain data, and refs instead of nouns");
        if constexpr (std::is_invocable_v<F &>) {
            mproc_task *one = nullptr;
            const auto crossing = detail::crossing(function);
            using Crossing = std::remove_const_t<decltype(crossing)>;
            detail::check(mproc_pool_submit(native(), detail::run_task<Crossing>, &crossing,
                                            sizeof crossing, &options, &one),
                          "mproc_pool_submit");
            return task<std::invoke_result_t<F &>>(one);
        }
    }
    /*
     * A vector of function(item) for each item of a contiguous container of plain data; nothing if
     * the function has no result. Throws task_exception with the text of the first exception that
     * was thrown (at most 891 bytes of it), or task_failure. options.context is not the caller's.
     */
    template <class F, class Items>
    auto map(F function, const Items &in, mproc_map_options options = {}) const {
        static_assert(detail::is_contiguous<Items>::value,
                      "the items of a map stand side by side in memory, as in a std::vector or a "
                      "std::array: copy those of another container into a vector");
        if constexpr (detail::is_contiguous<Items>::value) {
            using T = std::remove_cv_t<std::remove_reference_t<decltype(*std::data(in))>>;
            static_assert(std::is_invocable_v<F &, const T &>,
                          "the function of a map takes one item, by value or as const &");
            if constexpr (std::is_invocable_v<F &, const T &>) {
                return map_items<T>(function, in, options);
            }
        }
    }
    void resize(unsigned workers) const {
        detail::check(mproc_pool_resize(native(), workers), "mproc_pool_resize");
    }
    std::vector<pid_t> workers() const {
        std::vector<pid_t> pids(mproc_pool_workers(native(), nullptr, 0));
        const size_t n = mproc_pool_workers(native(), pids.data(), pids.size());
        pids.resize(n < pids.size() ? n : pids.size());
        return pids;
    }
    /* Readable when collect() should be called: see mproc_pool_fd(). */
    int fd() const {
        return detail::check(mproc_pool_fd(native()), "mproc_pool_fd");
    }
    /* Collects what is there, without waiting. False: nothing was. */
    bool collect() const {
        return detail::waited(mproc_pool_collect(native(), 0), "mproc_pool_collect");
    }
    void close() const {
        mproc_pool_close(native());
    }
    void terminate() const {
        mproc_pool_terminate(native());
    }
    void join() const {
        detail::check(mproc_pool_join(native(), MPROC_FOREVER), "mproc_pool_join");
    }
    mproc_pool *native() const noexcept {
        return pool_.get();
    }

  private:
    static mproc_pool_options of(unsigned workers) {
        mproc_pool_options options = {};
        options.workers = workers;
        return options;
    }
    template <class T, class F>
    void run_map(const F &function, const T *in, void *out, size_t out_size, size_t n,
                 mproc_map_options options) const {
        mproc_task_error why = {};
        const detail::map_place_ptr place = detail::make_map_place(&function, sizeof function);
        mproc_task_error *wanted = std::exchange(options.error, &why);
        options.context = place.get();
        const int r = mproc_pool_map(native(), detail::run_item<F, T>, in, sizeof(T), out, out_size,
                                     n, &options);
        if (wanted != nullptr) {
            *wanted = why;
        }
        if (r == detail::map_place::threw &&
            place->state.load(std::memory_order_acquire) == detail::map_place::written) {
            throw task_exception(place->type, place->text);
        }
        if (r != 0 && why.code == r) {
            throw task_failure(why);
        }
        detail::check(r, "mproc_pool_map");
    }
    template <class T, class F, class Items>
    auto map_items(F function, const Items &in, const mproc_map_options &options) const {
        using R = std::invoke_result_t<F &, const T &>;
        static_assert(std::is_trivially_copyable_v<F>,
                      "the function of a map captures plain data, and refs instead of nouns");
        static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 16,
                      "the items of a map are plain data, aligned by at most 16 bytes");
        if constexpr (std::is_void_v<R>) {
            run_map<T>(detail::crossing(function), std::data(in), nullptr, 0, std::size(in),
                       options);
        } else {
            static_assert(
                std::is_trivially_copyable_v<R> && !std::is_same_v<R, bool>,
                "the results of a map are plain data, and not bool; a task may give a std::string");
            std::vector<R> out(std::size(in));
            run_map<T>(detail::crossing(function), std::data(in), out.data(), sizeof(R),
                       std::size(in), options);
            return out;
        }
    }
    detail::handle<mproc_pool, mproc_pool_drop> pool_;
};

/* ---------------------------------------------------------------- locks */

/* How an acquire has ended. owner_died: the lock is held, and who held it before died with it; what
 * it guards may be half done, but for the words that were saved. */
enum class acquired { no, yes, owner_died };

namespace detail {

inline acquired taken(int code, const char *call) {
    if (code == -EOWNERDEAD) {
        return acquired::owner_died;
    }
    return waited(code, call) ? acquired::yes : acquired::no;
}

} // namespace detail

namespace detail {

struct lock_calls {
    using object = mproc_lock;
    static constexpr const char *acquire_name = "mproc_lock_acquire";
    static constexpr const char *release_name = "mproc_lock_release";
    static int acquire(mproc_lock *lock, int64_t timeout) {
        return mproc_lock_acquire(lock, timeout);
    }
    static int release(mproc_lock *lock) {
        return mproc_lock_release(lock);
    }
};

struct rlock_calls {
    using object = mproc_rlock;
    static constexpr const char *acquire_name = "mproc_rlock_acquire";
    static constexpr const char *release_name = "mproc_rlock_release";
    static int acquire(mproc_rlock *lock, int64_t timeout) {
        return mproc_rlock_acquire(lock, timeout);
    }
    static int release(mproc_rlock *lock) {
        return mproc_rlock_release(lock);
    }
};

/* What std::lock_guard and its like need of a lock, and acquire(). */
template <class Calls> class lockable : public ref<typename Calls::object> {
  public:
    using ref<typename Calls::object>::ref;
    acquired acquire() const {
        return taken(Calls::acquire(this->object_, MPROC_FOREVER), Calls::acquire_name);
    }
    template <class Rep, class Period>
    acquired acquire_for(std::chrono::duration<Rep, Period> time) const {
        return taken(Calls::acquire(this->object_, timeout(time)), Calls::acquire_name);
    }
    void lock() const {
        acquire();
    }
    bool try_lock() const {
        return acquire_for(std::chrono::seconds(0)) != acquired::no;
    }
    template <class Rep, class Period>
    bool try_lock_for(std::chrono::duration<Rep, Period> time) const {
        return acquire_for(time) != acquired::no;
    }
    void unlock() const {
        check(Calls::release(this->object_), Calls::release_name);
    }
};

} // namespace detail

/* mproc_lock of mproc.h, under the name that C++ has for it. Works with std::lock_guard,
 * std::unique_lock, and std::scoped_lock. These do not tell that an owner died: acquire() does. */
class mutex_ref : public detail::lockable<detail::lock_calls> {
  public:
    using lockable::lockable;
    /* Keeps the value of a word of 8 bytes for undoing, if the holder dies. */
    template <class Word> void save(Word *word) const {
        static_assert(sizeof(Word) == 8, "words of 8 bytes can be undone");
        detail::check(mproc_lock_save(object_, word), "mproc_lock_save");
    }
    void rollback() const {
        detail::check(mproc_lock_rollback(object_), "mproc_lock_rollback");
    }
};

/* `undo`: how many words its holder can save. */
class mutex : public owner<mutex_ref> {
  public:
    explicit mutex(unsigned undo = 0)
        : owner(detail::made<mutex_ref>("mproc_lock_new", mproc_lock_new, undo)) {
    }
};

/* mproc_rlock of mproc.h; otherwise as mutex. */
class recursive_mutex_ref : public detail::lockable<detail::rlock_calls> {
  public:
    using lockable::lockable;
};

class recursive_mutex : public owner<recursive_mutex_ref> {
  public:
    recursive_mutex()
        : owner(detail::made<recursive_mutex_ref>("mproc_rlock_new", mproc_rlock_new)) {
    }
};

/* ---------------------------------------------------------------- semaphores */

namespace detail {

struct semaphore_calls {
    using object = mproc_semaphore;
    static constexpr const char *acquire_name = "mproc_semaphore_acquire";
    static constexpr const char *release_name = "mproc_semaphore_release";
    static int acquire(mproc_semaphore *semaphore, int64_t timeout) {
        return mproc_semaphore_acquire(semaphore, timeout);
    }
    static int release(mproc_semaphore *semaphore) {
        return mproc_semaphore_release(semaphore);
    }
    static unsigned value(mproc_semaphore *semaphore) {
        return mproc_semaphore_value(semaphore);
    }
};

struct bsemaphore_calls {
    using object = mproc_bsemaphore;
    static constexpr const char *acquire_name = "mproc_bsemaphore_acquire";
    static constexpr const char *release_name = "mproc_bsemaphore_release";
    static int acquire(mproc_bsemaphore *semaphore, int64_t timeout) {
        return mproc_bsemaphore_acquire(semaphore, timeout);
    }
    static int release(mproc_bsemaphore *semaphore) {
        return mproc_bsemaphore_release(semaphore);
    }
    static unsigned value(mproc_bsemaphore *semaphore) {
        return mproc_bsemaphore_value(semaphore);
    }
};

/* Functions as std::counting_semaphore has them. */
template <class Calls> class counting : public ref<typename Calls::object> {
  public:
    using ref<typename Calls::object>::ref;
    void acquire() const {
        check(Calls::acquire(this->object_, MPROC_FOREVER), Calls::acquire_name);
    }
    bool try_acquire() const {
        return try_acquire_for(std::chrono::seconds(0));
    }
    template <class Rep, class Period>
    bool try_acquire_for(std::chrono::duration<Rep, Period> time) const {
        return waited(Calls::acquire(this->object_, timeout(time)), Calls::acquire_name);
    }
    void release() const {
        check(Calls::release(this->object_), Calls::release_name);
    }
    unsigned value() const {
        return Calls::value(this->object_);
    }
};

} // namespace detail

/* See mproc_semaphore in mproc.h. */
class semaphore_ref : public detail::counting<detail::semaphore_calls> {
  public:
    using counting::counting;
};

class semaphore : public owner<semaphore_ref> {
  public:
    explicit semaphore(unsigned value)
        : owner(detail::made<semaphore_ref>("mproc_semaphore_new", mproc_semaphore_new, value)) {
    }
};

/* Gives the permits of the dead back. See mproc_bsemaphore in mproc.h. */
class bsemaphore_ref : public detail::counting<detail::bsemaphore_calls> {
  public:
    using counting::counting;
};

class bsemaphore : public owner<bsemaphore_ref> {
  public:
    explicit bsemaphore(unsigned bound)
        : owner(detail::made<bsemaphore_ref>("mproc_bsemaphore_new", mproc_bsemaphore_new, bound)) {
    }
};

/* ---------------------------------------------------------------- event */

/* See mproc_event in mproc.h. */
class event_ref : public ref<mproc_event> {
  public:
    using ref::ref;
    void set() const {
        mproc_event_set(object_);
    }
    void clear() const {
        mproc_event_clear(object_);
    }
    bool is_set() const {
        return mproc_event_is_set(object_) != 0;
    }
    void wait() const {
        detail::check(mproc_event_wait(object_, MPROC_FOREVER), "mproc_event_wait");
    }
    template <class Rep, class Period>
    bool wait_for(std::chrono::duration<Rep, Period> time) const {
        return detail::waited(mproc_event_wait(object_, detail::timeout(time)), "mproc_event_wait");
    }
};

class event : public owner<event_ref> {
  public:
    event() : owner(detail::made<event_ref>("mproc_event_new", mproc_event_new)) {
    }
};

/* ---------------------------------------------------------------- condition */

/* Functions as std::condition_variable_any has them, for std::unique_lock of a mutex or a
 * recursive_mutex. That a lock's owner died meanwhile is not told. See mproc_condition in
 * mproc.h. */
class condition_ref : public ref<mproc_condition> {
  public:
    using ref::ref;
    template <class Lock> void wait(std::unique_lock<Lock> &guard) const {
        wait_ns(guard, MPROC_FOREVER);
    }
    template <class Lock, class Predicate>
    void wait(std::unique_lock<Lock> &guard, Predicate holds) const {
        while (!holds()) {
            wait(guard);
        }
    }
    /* False: the time has passed. */
    template <class Lock, class Rep, class Period>
    bool wait_for(std::unique_lock<Lock> &guard, std::chrono::duration<Rep, Period> time) const {
        return wait_ns(guard, detail::timeout(time));
    }
    /* What the predicate says in the end. */
    template <class Lock, class Rep, class Period, class Predicate>
    bool wait_for(std::unique_lock<Lock> &guard, std::chrono::duration<Rep, Period> time,
                  Predicate holds) const {
        const int64_t limit = detail::timeout(time);
        const auto began = std::chrono::steady_clock::now();
        while (!holds()) {
            const auto gone = std::chrono::steady_clock::now() - began;
            if (limit < 0) {
                wait(guard);
            } else if (!wait_for(guard, std::chrono::nanoseconds(limit) - gone)) {
                return holds();
            }
        }
        return true;
    }
    void notify_one() const {
        mproc_condition_notify(object_, 1);
    }
    void notify_all() const {
        mproc_condition_notify_all(object_);
    }

  private:
    template <class Lock> bool wait_ns(std::unique_lock<Lock> &guard, int64_t timeout) const {
        const int r = mproc_condition_wait(object_, guard.mutex()->native(), timeout);
        return r == -EOWNERDEAD || detail::waited(r, "mproc_condition_wait");
    }
};

class condition : public owner<condition_ref> {
  public:
    condition() : owner(detail::made<condition_ref>("mproc_condition_new", mproc_condition_new)) {
    }
};

/* ---------------------------------------------------------------- barrier */

/* See mproc_barrier in mproc.h. */
class barrier_ref : public ref<mproc_barrier> {
  public:
    using ref::ref;
    /* The order of coming, from 0. */
    unsigned wait() const {
        return wait_ns(MPROC_FOREVER);
    }
    /* A time that passes breaks the barrier, and is an error: MPROC_EBROKEN. */
    template <class Rep, class Period>
    unsigned wait_for(std::chrono::duration<Rep, Period> time) const {
        return wait_ns(detail::timeout(time));
    }
    void abort() const {
        mproc_barrier_abort(object_);
    }
    void reset() const {
        mproc_barrier_reset(object_);
    }
    bool broken() const {
        return mproc_barrier_broken(object_) != 0;
    }

  private:
    unsigned wait_ns(int64_t timeout) const {
        unsigned index = 0;
        detail::check(mproc_barrier_wait(object_, timeout, &index), "mproc_barrier_wait");
        return index;
    }
};

class barrier : public owner<barrier_ref> {
  public:
    explicit barrier(unsigned parties)
        : owner(detail::made<barrier_ref>("mproc_barrier_new", mproc_barrier_new, parties)) {
    }
};

/* ---------------------------------------------------------------- array */

namespace detail {

template <class T> constexpr mproc_type type_of() {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && sizeof(T) <= 8,
                  "the elements of an array are numbers of at most 8 bytes");
    if constexpr (std::is_floating_point_v<T>) {
        return sizeof(T) == sizeof(float) ? MPROC_FLOAT : MPROC_DOUBLE;
    } else {
        constexpr mproc_type types[2][4] = {{MPROC_UINT8, MPROC_UINT16, MPROC_UINT32, MPROC_UINT64},
                                            {MPROC_INT8, MPROC_INT16, MPROC_INT32, MPROC_INT64}};
        return types[std::is_signed_v<T>][sizeof(T) == 1   ? 0
                                          : sizeof(T) == 2 ? 1
                                          : sizeof(T) == 4 ? 2
                                                           : 3];
    }
}

} // namespace detail

/*
 * Numbers that all members share: a contiguous range, which std::span can view. begin(), data() and
 * [] are the bare memory; get(), set() and the others are as mproc.h says of mproc_array. The error
 * -EOWNERDEAD is not told: what it says is of concern to those who hold lock() themselves.
 */
template <class T> class array_ref : public ref<mproc_array> {
  public:
    using value_type = T;
    using ref<mproc_array>::ref;

    size_t size() const {
        return mproc_array_count(object_);
    }
    T *data() const {
        return static_cast<T *>(mproc_array_data(object_));
    }
    T *begin() const {
        return data();
    }
    T *end() const {
        return data() + size();
    }
    T &operator[](size_t i) const {
        return data()[i];
    }
    T get(size_t i) const {
        T out = {};
        done(mproc_array_get(object_, i, &out), "mproc_array_get");
        return out;
    }
    void set(size_t i, T number) const {
        done(mproc_array_set(object_, i, &number), "mproc_array_set");
    }
    /* Each is one indivisible step on an integer, and gives what was there before. */
    T fetch_add(size_t i, T number) const {
        int64_t old = 0;
        detail::check(mproc_array_add(object_, i, static_cast<int64_t>(number), &old),
                      "mproc_array_add");
        return static_cast<T>(old);
    }
    T exchange(size_t i, T number) const {
        int64_t old = 0;
        detail::check(mproc_array_exchange(object_, i, static_cast<int64_t>(number), &old),
                      "mproc_array_exchange");
        return static_cast<T>(old);
    }
    /* True: `expected` was there, and `desired` is now. False: `expected` is what is there. */
    bool compare_exchange(size_t i, T &expected, T desired) const {
        int64_t old = static_cast<int64_t>(expected);
        const int done = detail::check(
            mproc_array_compare_exchange(object_, i, &old, static_cast<int64_t>(desired)),
            "mproc_array_compare_exchange");
        expected = static_cast<T>(old);
        return done == 1;
    }
    /* The array's own lock; null for one that was made without. */
    recursive_mutex_ref lock() const {
        return recursive_mutex_ref(mproc_array_lock(object_));
    }

  private:
    static void done(int code, const char *call) {
        if (code != -EOWNERDEAD) {
            detail::check(code, call);
        }
    }
};

/* Whether a new array has a lock of its own. */
enum class locked { no, yes };

template <class T> class array : public owner<array_ref<T>> {
  public:
    /* n numbers, all 0. */
    explicit array(size_t n, locked with = locked::yes)
        : owner<array_ref<T>>(detail::made<array_ref<T>>(
              "mproc_array_new", with == locked::yes ? mproc_array_new : mproc_array_new_raw,
              detail::type_of<T>(), n)) {
    }
};

/* ---------------------------------------------------------------- dict */

namespace detail {

/* begin() and end() of a snapshot: entry i of it, for i from 0 to its size. */
template <class Snapshot> class snapshot_iterator {
  public:
    using iterator_category = std::input_iterator_tag;
    using value_type = decltype(std::declval<const Snapshot &>()[0]);
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type *;
    using reference = value_type;

    snapshot_iterator(const Snapshot &snapshot, size_t i) : snapshot_(&snapshot), i_(i) {
    }
    reference operator*() const {
        return (*snapshot_)[i_];
    }
    snapshot_iterator &operator++() {
        i_++;
        return *this;
    }
    snapshot_iterator operator++(int) {
        snapshot_iterator before = *this;
        i_++;
        return before;
    }
    bool operator==(const snapshot_iterator &other) const {
        return i_ == other.i_;
    }
    bool operator!=(const snapshot_iterator &other) const {
        return i_ != other.i_;
    }

  private:
    const Snapshot *snapshot_;
    size_t i_;
};

/* What a container held at one moment; `item` fetches entry i. */
template <class Native, auto drop, auto count, auto item> class snapshot {
  public:
    using iterator = snapshot_iterator<snapshot>;

    size_t size() const {
        return count(native_.get());
    }
    auto operator[](size_t i) const {
        return item(native_.get(), i);
    }
    iterator begin() const {
        return {*this, 0};
    }
    iterator end() const {
        return {*this, size()};
    }

  protected:
    template <class Function, class... Args>
    snapshot(const char *name, Function make, Args... args)
        : native_(made<handle<Native, drop>>(name, make, args...)) {
    }

  private:
    handle<Native, drop> native_;
};

inline std::pair<std::string_view, std::string_view> entry_of(const mproc_dict_snapshot *snapshot,
                                                              size_t i) {
    mproc_dict_item item;
    check(mproc_dict_snapshot_item(snapshot, i, &item), "mproc_dict_snapshot_item");
    return {{static_cast<const char *>(item.key), item.key_size},
            {static_cast<const char *>(item.value.data), item.value.size}};
}

inline std::string_view key_of(const mproc_dict_snapshot *snapshot, size_t i) {
    return entry_of(snapshot, i).first;
}

inline std::string_view element_of(const mproc_list_snapshot *snapshot, size_t i) {
    mproc_message item;
    check(mproc_list_snapshot_item(snapshot, i, &item), "mproc_list_snapshot_item");
    return {static_cast<const char *>(item.data), item.size};
}

} // namespace detail

/* The entries of a dict at one moment, in the order of insertion: pairs of key and value, which are
 * the snapshot's. */
class dict_snapshot : public detail::snapshot<mproc_dict_snapshot, mproc_dict_snapshot_drop,
                                              mproc_dict_snapshot_count, detail::entry_of> {
  public:
    explicit dict_snapshot(mproc_dict *dict)
        : snapshot("mproc_dict_snapshot_new", mproc_dict_snapshot_new, dict, 1) {
    }
};

/* Keys and values are bytes. See mproc_dict in mproc.h. */
class dict_ref : public ref<mproc_dict> {
  public:
    using ref::ref;
    /* Nothing: the key is not there. */
    std::optional<message> get(std::string_view key) const {
        return found(mproc_dict_get, "mproc_dict_get", key, static_cast<uint64_t *>(nullptr));
    }
    bool contains(std::string_view key) const {
        return mproc_dict_has(object_, key.data(), key.size()) != 0;
    }
    void set(std::string_view key, std::string_view value) const {
        detail::check(mproc_dict_set(object_, key.data(), key.size(), value.data(), value.size()),
                      "mproc_dict_set");
    }
    /* False: the key is there already. */
    bool insert(std::string_view key, std::string_view value) const {
        const int r =
            mproc_dict_insert(object_, key.data(), key.size(), value.data(), value.size());
        return r != -EEXIST && detail::check(r, "mproc_dict_insert") == 0;
    }
    /* False: the key's value is not `old`, or it is not there. */
    bool replace(std::string_view key, std::string_view old, std::string_view value) const {
        const int r = mproc_dict_replace(object_, key.data(), key.size(), old.data(), old.size(),
                                         value.data(), value.size());
        return r != -ESTALE && r != -ENOENT && detail::check(r, "mproc_dict_replace") == 0;
    }
    /* False: the key is not there. */
    bool erase(std::string_view key) const {
        const int r = mproc_dict_delete(object_, key.data(), key.size(), MPROC_DICT_ANY);
        return r != -ENOENT && detail::check(r, "mproc_dict_delete") == 0;
    }
    /* Takes the entry out. */
    std::optional<message> pop(std::string_view key) const {
        return found(mproc_dict_pop, "mproc_dict_pop", key);
    }
    /* Adds to a number, and gives the sum; a key that is not there counts as 0. */
    int64_t add(std::string_view key, int64_t n) const {
        int64_t sum = 0;
        detail::check(mproc_dict_add(object_, key.data(), key.size(), n, &sum), "mproc_dict_add");
        return sum;
    }
    /* The number that add() has made; 0 if the key is not there. */
    int64_t number(std::string_view key) const {
        int64_t n = 0;
        const std::optional<message> value = get(key);
        if (value) {
            detail::check(mproc_dict_number(value->data(), value->size(), &n), "mproc_dict_number");
        }
        return n;
    }
    /* The key gets the std::string that fn(old) returns, with the key locked; `old` is an
     * optional std::string_view. May call fn several times. What fn throws is thrown here, and
     * nothing is changed then. */
    template <class F> void update(std::string_view key, F fn) const {
        updating<F> call = {fn, {}, {}, {}};
        const int r = mproc_dict_update(object_, key.data(), key.size(), updating<F>::next, &call);
        if (call.thrown) {
            std::rethrow_exception(call.thrown);
        }
        detail::check(r, "mproc_dict_update");
    }
    uint64_t size() const {
        return mproc_dict_count(object_);
    }
    void clear() const {
        mproc_dict_clear(object_);
    }
    dict_snapshot items() const {
        return dict_snapshot(object_);
    }

  private:
    template <class F> struct updating {
        F &fn;
        std::string value;
        iovec piece;
        std::exception_ptr thrown;

        static int next(void *arg, const mproc_message *old, mproc_dict_value *out) noexcept {
            updating *self = static_cast<updating *>(arg);
            std::optional<std::string_view> seen;
            if (old != nullptr) {
                seen.emplace(static_cast<const char *>(old->data), old->size);
            }
            try {
                self->value = self->fn(seen);
            } catch (...) {
                self->thrown = std::current_exception();
                return -ECANCELED;
            }
            self->piece = {self->value.data(), self->value.size()};
            *out = {&self->piece, 1, nullptr, 0};
            return 0;
        }
    };
    template <class Call, class... More>
    std::optional<message> found(Call *call, const char *name, std::string_view key,
                                 More... more) const {
        std::optional<message> one(std::in_place);
        const int r = call(object_, key.data(), key.size(), one->native(), more...);
        if (r == -ENOENT) {
            return std::nullopt;
        }
        detail::check(r, name);
        return one;
    }
};

class dict : public owner<dict_ref> {
  public:
    dict() : owner(detail::made<dict_ref>("mproc_dict_new", mproc_dict_new)) {
    }
};

/* ---------------------------------------------------------------- set */

/* The elements of a set at one moment, in the order in which they were added. They are the
 * snapshot's. */
class set_snapshot : public detail::snapshot<mproc_dict_snapshot, mproc_dict_snapshot_drop,
                                             mproc_dict_snapshot_count, detail::key_of> {
  public:
    explicit set_snapshot(mproc_set *set)
        : snapshot("mproc_set_snapshot_new", mproc_set_snapshot_new, set) {
    }
};

/* Elements are bytes. See mproc_set in mproc.h. */
class set_ref : public ref<mproc_set> {
  public:
    using ref::ref;
    bool contains(std::string_view element) const {
        return mproc_set_has(object_, element.data(), element.size()) != 0;
    }
    /* False: the element is there already. */
    bool insert(std::string_view element) const {
        const int r = mproc_set_add(object_, element.data(), element.size());
        return r != -EEXIST && detail::check(r, "mproc_set_add") == 0;
    }
    /* False: the element is not there. */
    bool erase(std::string_view element) const {
        const int r = mproc_set_remove(object_, element.data(), element.size());
        return r != -ENOENT && detail::check(r, "mproc_set_remove") == 0;
    }
    /* Takes out the element that was added last. Nothing: the set is empty. */
    std::optional<message> pop() const {
        std::optional<message> one(std::in_place);
        const int r = mproc_set_pop(object_, one->native());
        if (r == -ENOENT) {
            return std::nullopt;
        }
        detail::check(r, "mproc_set_pop");
        return one;
    }
    uint64_t size() const {
        return mproc_set_count(object_);
    }
    void clear() const {
        mproc_set_clear(object_);
    }
    set_snapshot items() const {
        return set_snapshot(object_);
    }
};

class set : public owner<set_ref> {
  public:
    set() : owner(detail::made<set_ref>("mproc_set_new", mproc_set_new)) {
    }
};

/* ---------------------------------------------------------------- list */

/* The elements of a list at one moment, which are the snapshot's. */
class list_snapshot : public detail::snapshot<mproc_list_snapshot, mproc_list_snapshot_drop,
                                              mproc_list_snapshot_count, detail::element_of> {
  public:
    explicit list_snapshot(mproc_list *list)
        : snapshot("mproc_list_snapshot_new", mproc_list_snapshot_new, list, 0, INT64_MAX, 1) {
    }
};

/* Elements are bytes; an index below 0 counts from the end. See mproc_list in mproc.h. */
class list_ref : public ref<mproc_list> {
  public:
    using ref::ref;
    message get(int64_t i) const {
        message one;
        detail::check(mproc_list_get(object_, i, one.native(), nullptr), "mproc_list_get");
        return one;
    }
    void set(int64_t i, std::string_view value) const {
        detail::check(mproc_list_set(object_, i, value.data(), value.size()), "mproc_list_set");
    }
    void append(std::string_view value) const {
        detail::check(mproc_list_append(object_, value.data(), value.size()), "mproc_list_append");
    }
    void insert(int64_t i, std::string_view value) const {
        detail::check(mproc_list_insert(object_, i, value.data(), value.size()),
                      "mproc_list_insert");
    }
    /* Takes an element out. */
    message pop(int64_t i = -1) const {
        message one;
        detail::check(mproc_list_pop(object_, i, one.native()), "mproc_list_pop");
        return one;
    }
    void swap(int64_t i, int64_t j) const {
        detail::check(mproc_list_swap(object_, i, j), "mproc_list_swap");
    }
    uint64_t size() const {
        return mproc_list_count(object_);
    }
    void clear() const {
        detail::check(mproc_list_clear(object_), "mproc_list_clear");
    }
    list_snapshot items() const {
        return list_snapshot(object_);
    }
};

class list : public owner<list_ref> {
  public:
    list() : owner(detail::made<list_ref>("mproc_list_new", mproc_list_new)) {
    }
};

/* ---------------------------------------------------------------- connection */

/* One end of a pipe through memory, for functions that other processes run: see mproc_channel in
 * mproc.h. The descriptor is the connection's. */
class connection_ref : public ref<mproc_channel> {
  public:
    constexpr connection_ref() noexcept = default;
    constexpr connection_ref(mproc_channel *channel, int side, int end) noexcept
        : ref(channel), side_(side), end_(end) {
    }
    void send(std::string_view text) const {
        send(text.data(), text.size());
    }
    void send(const void *data, size_t size) const {
        detail::check(mproc_channel_send(object_, side_, end_, data, size), "mproc_channel_send");
    }
    /* The next message, for which it waits. MPROC_EEOF: the other end is closed. */
    message recv() const {
        message one;
        int r = mproc_channel_recv_message(object_, side_, end_, one.native());
        while (r == MPROC_CHANNEL_LARGER) {
            one.make_room(one.size());
            r = mproc_channel_recv_message(object_, side_, end_, one.native());
        }
        if (detail::check(r, "mproc_channel_recv_message") == MPROC_CHANNEL_BODY) {
            receive_body(one);
        }
        return one;
    }
    /* Whether a message, or the end, is there within that time. */
    template <class Rep, class Period>
    bool poll_for(std::chrono::duration<Rep, Period> time) const {
        return detail::check(mproc_channel_poll(object_, side_, end_, detail::timeout(time)),
                             "mproc_channel_poll") == 1;
    }
    bool poll() const {
        return poll_for(std::chrono::seconds(0));
    }
    /* Closes this process's copy of the end: in a forked child, that of the other side. */
    void close() const {
        mproc_channel_leave(object_, side_);
        ::close(end_);
    }
    /* For poll(), select(), and programs that know only descriptors: from now on the messages of
     * both directions are bytes in the kernel. */
    int fd() const {
        detail::check(mproc_channel_plain(object_, side_, end_), "mproc_channel_plain");
        return end_;
    }

  private:
    void receive_body(message &one) const {
        const size_t size = one.size();
        one.make_room(size);
        int r = -EINTR;
        while (r == -EINTR) { // the message has begun
            r = mproc_pipe_recv_body(end_, one.native()->room, size);
        }
        detail::check(r, "mproc_pipe_recv_body");
        one.native()->data = one.native()->room;
        one.native()->size = size;
    }
    int side_ = 0;
    int end_ = -1;
};

/* Owns its descriptor and a hold on the channel; it can be moved, and not be copied. */
class connection : public owner<connection_ref> {
  public:
    connection(connection &&) noexcept = default;
    connection &operator=(connection &&other) noexcept {
        connection next(std::move(other)); // by way of it, what is assigned to itself stays open
        std::swap(static_cast<connection_ref &>(*this), static_cast<connection_ref &>(next));
        return *this;
    }
    ~connection() {
        close();
    }
    /* A connection that was closed is null. */
    void close() {
        if (native() != nullptr) {
            connection_ref::close();
            const owner gone(std::move(static_cast<owner &>(*this))); // gives the hold back
        }
    }
    /* Two connected ends; without `duplex` the first one receives and the second one sends. */
    static std::pair<connection, connection> pipe(bool duplex = true) {
        mproc_channel *channel = nullptr;
        int ends[2];
        detail::check(mproc_channel_new(&channel, ends, duplex), "mproc_channel_new");
        connection first(connection_ref(channel, 0, ends[0]));
        const int r = mproc_hold(channel);
        if (r != 0) {
            ::close(ends[1]);
        }
        detail::check(r, "mproc_hold");
        return {std::move(first), connection(connection_ref(channel, 1, ends[1]))};
    }

  private:
    explicit connection(connection_ref made) noexcept : owner(made) {
    }
};

/* ---------------------------------------------------------------- named shared memory */

/* A segment that unrelated processes find by its name: see mproc_shm in mproc.h. The destructor
 * unmaps it, and leaves its name. */
class segment {
    using owned = detail::handle<mproc_shm, mproc_shm_drop>;

  public:
    static segment create(size_t size, const char *name = nullptr,
                          const mproc_shm_options &options = {}) {
        return segment(
            detail::made<owned>("mproc_shm_create", mproc_shm_create, name, size, &options));
    }
    static segment open(const char *name) {
        return segment(detail::made<owned>("mproc_shm_open", mproc_shm_open, name));
    }
    void *data() const {
        void *memory = nullptr;
        detail::check(mproc_shm_data(segment_.get(), &memory), "mproc_shm_data");
        return memory;
    }
    size_t size() const {
        return mproc_shm_size(segment_.get());
    }
    const char *name() const {
        return mproc_shm_name(segment_.get());
    }
    void unlink() const {
        detail::check(mproc_shm_unlink(name()), "mproc_shm_unlink");
    }
    mproc_shm *native() const noexcept {
        return segment_.get();
    }

  private:
    explicit segment(owned one) : segment_(std::move(one)) {
    }
    owned segment_;
};

/* ---------------------------------------------------------------- watch */

/* One descriptor for many operations, for event loops: see mproc_watch in mproc.h. */
class watch {
  public:
    watch()
        : watch_(detail::made<detail::handle<mproc_watch, mproc_watch_drop>>("mproc_watch_new",
                                                                             mproc_watch_new)) {
    }
    int fd() const {
        return detail::check(mproc_watch_fd(watch_.get()), "mproc_watch_fd");
    }
    /* A request, not armed yet: its number. */
    template <class Object> int add(const ref<Object> &object, mproc_watch_for what) const {
        return detail::check(mproc_watch_add(watch_.get(), object.native(), what),
                             "mproc_watch_add");
    }
    /* False: it is not armed, since the operation would succeed now. */
    bool arm(int number) const {
        return detail::check(mproc_watch_arm(watch_.get(), number), "mproc_watch_arm") == 0;
    }
    void disarm(int number) const {
        detail::check(mproc_watch_disarm(watch_.get(), number), "mproc_watch_disarm");
    }
    void remove(int number) const {
        detail::check(mproc_watch_remove(watch_.get(), number), "mproc_watch_remove");
    }
    /* A request whose operation would succeed, until there is none. */
    std::optional<int> next() const {
        const int r = mproc_watch_next(watch_.get());
        return r == -EAGAIN ? std::nullopt
                            : std::optional<int>(detail::check(r, "mproc_watch_next"));
    }

  private:
    detail::handle<mproc_watch, mproc_watch_drop> watch_;
};

} // namespace mproc

#endif
