"""The helper of a pool: a thread that works on when nobody waits for results.

It looks every LOOK seconds whether somebody has pumped since its last look. If nobody has, and
there is work, it pumps itself until somebody else comes. Where it is needed for every result, it
pumps all the time. Between two looks it does not keep the engine, which may be freed.

Its first look only says since when. So it does not disturb a program that submits many tasks, and
then waits: that finds the death of a worker at its futures.

Imported when the first helper starts, for an executor before its first worker does. What it shares
with the engine stands in `_engine.py`.
"""

from __future__ import annotations

from _thread import get_ident as _get_ident

from .._engine import LOOK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable

    from .._engine import Engine

__all__ = ["be"]

REST = 100  # looks at an engine without work, after which its helper ends or parks


def _help(engine: Engine) -> bool | None:
    """Do the helper's share. False: it is to end; None: to park; True: to come again."""
    if engine._ending or engine._helper is None or engine._helper.ident != _get_ident():
        return False
    looks = engine._pumping.looks
    if engine._needed:
        _pump(engine, lambda: False)
        engine._needed = False
        if engine._has_work():  # of somebody who has called while this was so
            engine._needed = True
    elif looks != engine._seen:
        engine._seen = looks  # somebody has pumped since
    else:
        _stand_in(engine)
    if engine._has_work():
        engine._rests = 0
        return True
    return _rest(engine)


def _pump(engine: Engine, is_relieved: Callable[[], bool]) -> None:
    """Pump until there is no work, or it is another's."""

    def is_over() -> bool:
        engine._run_on()
        return not engine._has_work() or engine._ending or is_relieved()

    engine._pump_until(is_over, None, True)


def _stand_in(engine: Engine) -> None:
    """Pump until somebody else comes: each of the own times counts as one, too."""

    def is_relieved() -> bool:
        if engine._pumping.looks != engine._seen:
            return True
        engine._seen += 1
        return False

    _pump(engine, is_relieved)


def _rest(engine: Engine) -> bool | None:
    engine._finish_up()
    if engine._is_over():
        return engine._leave()
    engine._rests += 1
    if engine._rests <= REST:
        return True
    engine._rests = 0
    return _park(engine) if engine._helper_stays else engine._leave()


def _park(engine: Engine) -> bool | None:
    engine._parked = True
    if engine._has_work() or engine._needed or engine._is_over():
        engine._parked = False
        return True
    return None


def _help_safely(engine: Engine) -> bool | None:
    """Have the helper do its share; what goes wrong breaks the engine, and the helper goes on."""
    try:
        return _help(engine)
    except KeyboardInterrupt:
        return True  # what a result was unpickled to raise: it is booked, and no one's signal
    except Exception as error:
        engine._break(error)
        return True
    except BaseException as error:  # of a callback, such as sys.exit()
        import threading

        what = type(error), error, error.__traceback__, threading.current_thread()
        threading.excepthook(threading.ExceptHookArgs(what))
        return True


def be(reference: Callable[[], Engine | None], bell: LockType) -> None:
    """Be the helper of an engine, until it is over or has rested for long."""
    while (engine := reference()) is not None:
        again = _help_safely(engine)
        if again is False:
            return
        noted, note_end = engine._tasks.note_wait(), engine._tasks.note_end
        del engine
        bell.acquire(True, LOOK if again else -1)
        if noted:
            note_end()
        if not again and (engine := reference()) is not None:
            engine._parked = False
