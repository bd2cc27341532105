"""Two types side by side: while one is written, verified or hashed, the other keeps the processor busy."""

import queue
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.progress import Event

Message = TypeVar("Message")
Work = Callable[[], Iterator[Event | OutputFile]]


@dataclass(frozen=True)
class _Ended:
    error: BaseException | None


@contextmanager
def _dropping_the_rest(pool: ThreadPoolExecutor) -> Iterator[None]:
    """When the block fails, works that have not begun are not begun."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def side_by_side(
    works: Mapping[str, Work], lanes: int
) -> Iterator[tuple[str, Event | OutputFile | LlmcourseError]]:
    """Run the works, as many at once as there are lanes, and yield what they say as they say it.

    An error of ours that ends one work is yielded, and the others go on.
    """
    said: queue.SimpleQueue[tuple[str, Event | OutputFile | _Ended]] = queue.SimpleQueue()

    def follow(name: str, work: Work) -> None:
        try:
            for message in work():
                said.put((name, message))
        except BaseException as error:
            said.put((name, _Ended(error)))
        else:
            said.put((name, _Ended(None)))

    with ThreadPoolExecutor(lanes) as pool, _dropping_the_rest(pool):
        for name, work in works.items():
            pool.submit(follow, name, work)
        running = len(works)
        while running:
            name, message = said.get()
            if not isinstance(message, _Ended):
                yield name, message
                continue
            running -= 1
            if isinstance(message.error, LlmcourseError):
                yield name, message.error
            elif message.error is not None:
                raise message.error
