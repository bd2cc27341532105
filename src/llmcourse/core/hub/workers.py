"""Threads that do calls side by side and hold nobody up: who is interrupted need not wait for their answers.

`concurrent.futures` joins its threads when the program ends, and one may wait half a minute for a server.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import count
from queue import PriorityQueue
from typing import Generic, TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Call(Generic[Result]):
    def __init__(self, call: Callable[[], Result]) -> None:
        self.future: Future[Result] = Future()
        self._call = call

    def run(self, is_done: Callable[[], None]) -> None:
        """`is_done` comes before the result, at which another call may begin for which we are free."""
        try:
            result = self._call()
        except BaseException as error:  # whoever asks for the result gets it
            is_done()
            self.future.set_exception(error)
        else:
            is_done()
            self.future.set_result(result)


class Workers:
    """Up to `most` threads, started as there is work for them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: PriorityQueue[tuple[float, int, _Call[object] | None]] = PriorityQueue()
        self._order = count()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def submit(self, call: Callable[[], Result], priority: int = 0) -> "Future[Result]":
        """Have a call made, those of lower numbers first; from one thread only."""
        made = _Call(call)
        if not self._idle.acquire(blocking=False) and self._count < self._most:
            self._count += 1
            threading.Thread(target=self._work, name=f"worker-{self._count}", daemon=True).start()
        self._calls.put((priority, next(self._order), cast("_Call[object]", made)))
        return made.future

    def map(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results in the order of the items; all calls begin at once."""
        futures = [self.submit(partial(call, item)) for item in items]
        return (future.result() for future in futures)

    def stop(self) -> None:
        """No call begins any more; those under way end by themselves."""
        for _ in range(self._count):
            self._calls.put((-math.inf, next(self._order), None))

    def _work(self) -> None:
        while (call := self._calls.get()[2]) is not None:
            call.run(self._idle.release)
