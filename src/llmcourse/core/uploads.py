"""Publish finished pieces while the next ones are made.

Uploading waits for the network and making waits for the processor, so one thread does the first beside
the other.  A piece that could not be published is no failure yet: the push at the end sends what is
missing, and only its error counts.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import LlmcourseError

# Publishes one piece, given all files so far; raises LlmcourseError.
Publish = Callable[[str, Sequence[OutputFile]], None]
_END = None


class Uploads:
    """Pieces on their way to the Hub, one after another."""

    def __init__(
        self, publish: Publish, published: Callable[[OutputFile], None], note: Callable[[str], None]
    ) -> None:
        """`published` hears, in the thread of the uploads, of each file that the Hub was proven to hold."""
        self._publish = publish
        self._published = published
        self._note = note
        self._waiting: queue.SimpleQueue[tuple[str, tuple[OutputFile, ...]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._failure: Exception | None = None
        self.has_failed = False  # a piece could not be published; the push at the end tries again

    @contextmanager
    def running(self) -> Iterator[None]:
        """Publish what is added; at the end of the block everything added was sent or given up.

        So also when the library failed on another piece; an interrupt leaves at once.
        """
        self._thread.start()
        try:
            yield
        except LlmcourseError:
            self._finish()
            raise
        self._finish()
        if self._failure:
            raise self._failure

    def _finish(self) -> None:
        self._waiting.put(_END)
        self._thread.join()

    def add(self, piece: str, files: Sequence[OutputFile]) -> None:
        """Publish the files of `piece`, which are among `files`, all that is finished so far."""
        self._waiting.put((piece, tuple(files)))

    def _work(self) -> None:
        while (item := self._waiting.get()) is not _END:
            piece, files = item
            try:
                self._publish(piece, files)
            except LlmcourseError as error:
                self.has_failed = True
                self._note(f"! {piece} is not published yet: {error.what} The push at the end tries again.")
            except Exception as error:
                self._failure = error  # raised where people see it
                return
            else:
                for file in files:
                    if file.piece == piece:
                        self._published(file)
