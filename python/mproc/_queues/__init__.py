"""What queues have beside themselves: the ends that programs wait at. A private package."""

__all__: list[str] = []
