"""What the stand-ins have in common: a server of this machine whose clients may vanish, and its life."""

import sys
import threading
from abc import ABC, abstractmethod
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class LoopbackServer(ThreadingHTTPServer):
    """A client that is killed within a request is no error of the server, and goes unmentioned."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Loopback(ABC):
    """Answers in background threads from `start` to `stop`; `with` does both."""

    _server: LoopbackServer | None = None
    _thread: threading.Thread | None = None

    @abstractmethod
    def _listen(self) -> LoopbackServer:
        """The server, which listens already."""

    @property
    def address(self) -> str:
        """`http://127.0.0.1:<port>`."""
        assert self._server is not None, "it listens from start() on"
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        self._server = self._listen()
        name = type(self).__name__
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name=name)
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and wait for all threads."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
