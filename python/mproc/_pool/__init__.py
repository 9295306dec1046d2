"""What few pools need, or only after a while: imported when it is first used.

Pool, ThreadPool and ProcessPoolExecutor have more in common than this: the owner's side is
`_engine`, the workers' `_worker`. Here are `errors`, what can go wrong; `imap`, the iterators over
results; `helper`, the thread that works when nobody waits; and what single kinds of pools need.
A private package, not modules beside the public ones: those are what `multiprocessing` has.
"""

__all__: list[str] = []
