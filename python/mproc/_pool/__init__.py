"""What Pool, ThreadPool and ProcessPoolExecutor share.

`errors` has what can go wrong, `worker` the workers' side, `imap` the iterators over results, and
`engine` the owner's side: the books of open tasks, the worker processes, and who collects results.
A private package, not a module beside the public ones: those are what `multiprocessing` has.
"""

from .. import _mproc

__all__: list[str] = []

_mproc._add_pool()
