"""Names without documentation that other packages use: each that this Python's library has is here.

What is not here stands in docs/moving.md with the reason.
"""

import concurrent.futures.process
import functools
import struct
import threading
from concurrent.futures import Future
from importlib import import_module
from pathlib import Path

import pytest

import mproc
from mproc import futures, pool, reduction, shared_memory, synchronize
from mproc._managers import proxies
from mproc.managers import BaseManager

# Of modules and their classes; instances, which have more, are below.
NAMES = {
    "connection": "_ConnectionBase arbitrary_address address_type families default_family BUFSIZE"
    " SocketListener SocketClient ConnectionWrapper XmlListener XmlClient reduce_connection"
    " rebuild_connection CONNECTION_TIMEOUT _create_response _verify_challenge"
    " _get_digest_name_and_payload",
    "connection.Connection": "_send_bytes _recv_bytes _send _recv _poll _detach _check_closed",
    "context": "BaseContext DefaultContext Process ForkContext SpawnContext ForkServerContext"
    " ForkProcess SpawnProcess ForkServerProcess _default_context _concrete_contexts"
    " _force_start_method get_spawning_popen set_spawning_popen assert_spawning",
    "context.ForkProcess": "_start_method _Popen _after_fork",
    "forkserver": "ensure_running get_inherited_fds connect_to_new_process main _forkserver",
    "forkserver._forkserver": "_forkserver_pid _forkserver_address _forkserver_alive_fd _stop"
    " _forkserver_authkey",
    "heap": "Arena Heap BufferWrapper",
    "managers": "SharedMemoryServer _SharedMemoryTracker dispatch convert_to_error all_methods"
    " public_methods State RebuildProxy AutoProxy MakeProxyType",
    "managers.BaseManager": "_number_of_objects _debug_info _registry _Server _create _run_server",
    "managers.BaseProxy": "_callmethod _getvalue _incref",
    "managers.Server": "public shutdown create accept_connection get_methods debug_info dummy"
    " number_of_objects incref decref",
    "pool": "RUN CLOSE TERMINATE INIT worker mapstar starmapstar ExceptionWithTraceback MapResult"
    " IMapUnorderedIterator job_counter _helper_reraises_exception rebuild_exc",
    "pool.Pool": "_setup_queues _repopulate_pool Process _get_tasks",
    "process": "_current_process _parent_process _children _process_counter _dangling _cleanup"
    " _exitcode_to_name ORIGINAL_DIR _ParentProcess _MainProcess AuthenticationString",
    "queues.Queue": "_on_queue_feeder_error _reset _after_fork _terminate_broken __getstate__"
    " __setstate__",
    "reduction": "_reduce_socket _rebuild_socket _rebuild_partial _reduce_partial _reduce_method"
    " _reduce_method_descriptor",
    "resource_sharer": "_resource_sharer",
    "resource_tracker": "_resource_tracker ResourceTracker _CLEANUP_FUNCS ReentrantCallError",
    "resource_tracker._resource_tracker": "_fd _pid _check_alive _stop _exitcode _lock",
    "shared_memory": "_USE_POSIX _SHM_NAME_PREFIX _SHM_SAFE_NAME_LENGTH _make_filename _O_CREX",
    "shared_memory.ShareableList": "_types_mapping _get_packing_format _format_size_metainfo"
    " _format_packing_metainfo _format_back_transform_codes _offset_data_start"
    " _offset_packing_formats _offset_back_transform_codes",
    "sharedctypes": "SynchronizedBase rebuild_ctype reduce_ctype typecode_to_type class_cache"
    " make_property",
    "spawn": "_main is_forking spawn_main prepare old_main_modules _fixup_main_from_name"
    " _fixup_main_from_path _check_not_importing_main",
    "synchronize": "SemLock RECURSIVE_MUTEX SEMAPHORE SEM_VALUE_MAX",
    "synchronize.Lock": "_make_name _rand _cleanup",
    "synchronize.Semaphore": "_make_name _rand _cleanup",
    "util": "_finalizer_registry _run_finalizers _exit_function _afterfork_registry"
    " _run_after_forkers _cleanup_tests _close_stdin _flush_std_streams"
    " _args_from_interpreter_flags _SUN_PATH_MAX close_fds spawnv_passfds",
}


def of(package, path):
    module, _, name = path.partition(".")
    found = import_module(f"{package}.{module}")
    return getattr(found, name) if name else found


@pytest.mark.parametrize("path", NAMES)
def test_private_names_are_there(path):
    standard, own = of("multiprocessing", path), of("mproc", path)
    wanted = {name for name in NAMES[path].split() if hasattr(standard, name)}
    assert {name for name in wanted if not hasattr(own, name)} == set()
    assert wanted  # the list is about names that there are


def test_private_names_of_the_executor():
    standard = concurrent.futures.process
    names = (
        "_ThreadWakeup _ExecutorManagerThread _check_system_limits _RemoteTraceback _SafeQueue"
        " _threads_wakeups EXTRA_QUEUED_CALLS _WorkItem _ResultItem _CallItem _sendback_result"
        " _process_worker _rebuild_exc mp"
    )
    assert [n for n in names.split() if hasattr(standard, n) and not hasattr(futures, n)] == []
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        futures.nothing  # noqa: B018


def test_names_that_are_not_there_are_documented():
    text = Path(__file__).parents[2].joinpath("docs/moving.md").read_text()
    for name in ("_feed", "_start_thread", "_handle_workers", "serve_client", "_malloc"):
        assert f"`{name}`" in text


# ---- what they do


def test_bytes_past_the_messages_of_a_connection():
    reader, writer = mproc.Pipe(duplex=False)
    writer._send(b"abcdef")
    assert reader._recv(4).getvalue() == b"abcd"
    writer.close()
    with pytest.raises(OSError, match="end of file during message"):
        reader._recv(3)
    with pytest.raises(EOFError):
        reader._recv(3)
    reader.close()


def test_parts_of_a_queue_without_a_thread():
    q = mproc.Queue()
    q.put(1)
    with q._notempty:
        q._reset()
        q._after_fork()
    assert q._notempty is q._notempty
    assert (q._close, q._jointhread, q._joincancelled, q.get()) == (None, None, False, 1)


def test_names_of_semaphores():
    lock = mproc.Lock()
    assert len({lock._make_name(), lock._make_name(), next(synchronize.Semaphore._rand)}) == 3
    lock._cleanup(lock._make_name())  # of one that nobody has made: harmless


def test_where_the_parts_of_a_list_are():
    items = [1, "abc", b"x" * 9, None]
    a = shared_memory.ShareableList(items)
    try:
        buf = bytes(a.shm.buf)
        number, *offsets = struct.unpack_from("q" + a._format_size_metainfo, buf)
        assert (number, offsets) == (a._list_len, a._allocated_offsets) == (4, [0, 8, 16, 32, 40])
        assert struct.unpack_from("q", buf, a._offset_data_start) == (1,)
        formats = struct.unpack_from(a._format_packing_metainfo, buf, a._offset_packing_formats)
        assert "".join(f.rstrip(b"\0").decode() for f in formats) == a.format
        codes = a._format_back_transform_codes
        assert struct.unpack_from(codes, buf, a._offset_back_transform_codes) == (0, 1, 2, 3)
        assert a._types_mapping[int] == "q" and a._alignment == 8
    finally:
        a.shm.close()
        a.shm.unlink()


def test_what_pools_number_and_raise():
    assert next(pool.job_counter) < next(pool.job_counter)
    with pytest.raises(KeyError, match="it"):
        pool._helper_reraises_exception(KeyError("it"))
    assert str(pool.rebuild_exc(ValueError(), "there").__cause__) == "there"


def test_reductions_of_functions():
    part = functools.partial(max, 1, key=abs)
    make, arguments = reduction._reduce_partial(part)
    assert make(*arguments)(-2) == -2
    make, arguments = reduction._reduce_method(Counter().count)
    assert make(*arguments)() == 1
    make, arguments = reduction._reduce_method_descriptor(str.upper)
    assert make(*arguments)("a") == "A"


class Woken:
    times = 0

    def wakeup(self):
        self.times += 1


def test_a_queue_of_calls():
    future, woken = Future(), Woken()
    items = {7: futures._WorkItem(future, max, (), {})}
    q = futures._SafeQueue(
        5,
        ctx=mproc.get_context("fork"),
        pending_work_items=items,
        shutdown_lock=threading.Lock(),
        thread_wakeup=woken,
    )
    q.put(futures._CallItem(7, lambda: None, (), {}))  # which cannot be pickled
    assert future.exception(60) is not None and items == {} and woken.times == 1
    assert "Traceback" in str(future.exception().__cause__)
    q.put(futures._CallItem(8, max, (1, 2), {}))
    call = q.get()
    assert call.fn(*call.args, **call.kwargs) == 2 and call.work_id == 8
    futures._sendback_result(q, 8, result=2)
    result = q.get()
    assert (result.work_id, result.result, result.exception, result.exit_pid) == (8, 2, None, None)


def test_another_object_that_a_queue_of_calls_cannot_send(capfd):
    q = futures._SafeQueue(ctx=mproc.get_context("fork"), pending_work_items={})
    q.put(lambda: None)
    assert "pickle" in capfd.readouterr().err
    q.close()


class Counter:
    def count(self):
        return 1


class Counters(BaseManager):
    pass


Counters.register("Counter", Counter)


def test_the_reference_of_a_proxy_is_given_back_by_hand():
    manager = Counters(ctx=mproc.get_context("fork"))
    manager.start()
    try:
        first, second = manager.Counter(), manager.Counter()
        assert first._close.still_active() and manager._number_of_objects() == 2
        first._close()
        assert not first._close.still_active() and manager._number_of_objects() == 1
        first._close()  # harmless
        second._close.cancel()
        assert not second._close.still_active()
        del second
        assert manager._number_of_objects() == 1
    finally:
        proxies._kept.clear()
        manager.shutdown()


def test_a_proxy_of_the_arena_has_its_object_until_it_goes():
    with mproc.get_context("fork").Manager() as manager:
        a = manager.list([1])
        a._close()
        a._close.cancel()
        assert a._close.still_active() and a[:] == [1]
