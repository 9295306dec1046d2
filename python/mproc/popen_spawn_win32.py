"""The popen object of start method spawn under Windows, where mproc does not run."""

__all__: list[str] = []

raise ImportError("mproc.popen_spawn_win32 needs Windows", name=__name__)
