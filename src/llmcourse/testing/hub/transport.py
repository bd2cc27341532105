"""HTTP on a socket: parses requests, applies faults, sends answers, and cuts connections on demand.

Standard library only; which answer a request gets is decided in `routing`.
"""

import contextlib
import io
import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from typing import BinaryIO, cast

from llmcourse.testing.hub.faults import DroppedByFault, Fault
from llmcourse.testing.hub.log import RequestRecord
from llmcourse.testing.hub.pace import Pace
from llmcourse.testing.hub.protocol import HubError, Request, Response, conditional, error_response
from llmcourse.testing.hub.routing import authenticate, dispatch
from llmcourse.testing.hub.state import HubState
from llmcourse.testing.loopback import LoopbackServer

_BLOCK_BYTES = 1 << 18
_LINGER_S = 5.0
_logger = logging.getLogger(__name__)


class _Body(io.RawIOBase):
    """A request body: counts what it reads, ends where the body ends, and stops where a fault says."""

    def __init__(
        self, source: BinaryIO, length: int | None, record: RequestRecord, stop_after: int | None, pace: Pace
    ) -> None:
        self._source = source
        self._left = length  # None: chunked, and no chunk is open
        self._is_chunked = length is None
        self._record = record
        self._stop_after = stop_after
        self._pace = pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        if self._is_chunked and self._left is None:
            self._left = self._next_chunk()
        if not self._left:
            return 0
        allowed = min(len(buffer), self._left)
        if self._stop_after is not None:
            allowed = min(allowed, self._stop_after - self._record.request_bytes)
            if allowed <= 0:
                raise DroppedByFault
        data = self._source.read(allowed)
        if not data:
            raise ConnectionResetError("the client closed the connection inside the body")
        self._pace.take(len(data))
        buffer[: len(data)] = data
        self._left -= len(data)
        self._record.request_bytes += len(data)
        if self._is_chunked and self._left == 0:
            self._source.readline()
            self._left = None
        return len(data)

    def _next_chunk(self) -> int:
        size = int(self._source.readline().split(b";")[0], 16)
        if size == 0:
            while self._source.readline().strip():
                pass
            self._is_chunked = False
        return size


class HubRequestHandler(BaseHTTPRequestHandler):
    """One connection; every method goes through `_serve`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "HubServer"

    def _serve(self) -> None:
        state = self.server.state
        headers = {name.lower(): value for name, value in self.headers.items()}
        # The hub's own reading of its Xet storage is nobody's traffic: no log, no faults, no latency.
        is_internal = self.path.startswith(("/internal-cas/", "/v1/telemetry"))
        record = state.log.begin(self.command, self.path, headers, is_kept=not is_internal)
        fault = None if is_internal else state.faults.take(self.command, self.path)
        try:
            time.sleep((0.0 if is_internal else state.latency_s) + (fault.sleep_s if fault else 0.0))
            self._answer(record, fault)
        except DroppedByFault:
            record.error = "dropped by a fault"
            self._cut(is_reset=fault is not None and fault.reset)
        except ConnectionError as error:
            record.error = f"connection lost: {error}"
            self.close_connection = True
        finally:
            if not is_internal:
                state.log.finish(record)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _answer(self, record: RequestRecord, fault: Fault | None) -> None:
        request = self._request(record, fault)
        try:
            response = self._respond(request, record, fault)
        except HubError as error:
            response = error_response(error)
        # Keep-alive: the next request starts where this body ends, read by a route or not.
        while request.body.read(_BLOCK_BYTES):
            pass
        if fault is not None and fault.apply_then_drop:
            raise DroppedByFault
        self._send(response, record, fault.drop_download_after_bytes if fault else None)

    def _request(self, record: RequestRecord, fault: Fault | None) -> Request:
        is_chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        length = None if is_chunked else int(self.headers.get("Content-Length") or 0)
        stop_after = fault.drop_upload_after_bytes if fault else None
        pace = self.server.state.upload_pace
        raw = _Body(cast(BinaryIO, self.rfile), length, record, stop_after, pace)
        body = io.BufferedReader(raw, _BLOCK_BYTES)
        path, _, query = self.path.partition("?")
        return Request(self.command, path, query, cast(Mapping[str, str], self.headers), cast(BinaryIO, body))

    def _respond(self, request: Request, record: RequestRecord, fault: Fault | None) -> Response:
        try:
            state = self.server.state
            request.token, record.token = authenticate(state, request)
            limits = state.rate_limits.take(request)
            response = _faulty_response(fault) or conditional(request, dispatch(state, request))
            response.headers.update(limits)
            return response
        except (HubError, DroppedByFault, ConnectionError):
            raise
        except Exception as error:
            # A bug of the stand-in must look like one to the client, and be seen in the log.
            _logger.exception("%s %s failed", request.method, request.path)
            record.error = repr(error)
            raise HubError(500, f"Internal error of the loopback Hub: {error!r}") from error

    def _send(self, response: Response, record: RequestRecord, drop_after: int | None) -> None:
        self.send_response(response.status)
        record.status = response.status
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(response.length))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            for block in _blocks(response, drop_after):
                self.wfile.write(block)
                record.response_bytes += len(block)
        finally:
            record.weight_bytes = response.weight_bytes(record.response_bytes)
        if record.response_bytes < response.length:
            raise DroppedByFault

    def _cut(self, is_reset: bool) -> None:
        self.close_connection = True
        if is_reset:
            # Linger 0 turns close() into a reset; no shutdown() may send a FIN before it.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.server.resets.add(self.connection)
            return
        # Closing with unread bytes would reset, so say FIN first and read on until the client stops.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_S)
            while self.rfile.read1(_BLOCK_BYTES):
                pass

    def log_message(self, format: str, *args: object) -> None:
        """Silence: the request log is the record."""


def _faulty_response(fault: Fault | None) -> Response | None:
    if fault is None:
        return None
    if fault.expired_token:
        raise HubError(401, 'User Access Token "expired" is expired')
    if fault.status is not None:
        return Response(fault.status, fault.body.encode(), dict(fault.headers))
    return None


def _blocks(response: Response, drop_after: int | None) -> Iterator[bytes]:
    left = response.length if drop_after is None else min(drop_after, response.length)
    if isinstance(response.body, bytes):
        yield response.body[:left]
        return
    with response.body.path.open("rb") as source:
        source.seek(response.body.start)
        while left > 0:
            block = source.read(min(left, _BLOCK_BYTES))
            left -= len(block)
            yield block


class HubServer(LoopbackServer):
    """Listens on 127.0.0.1; closing it ends open connections and waits for their threads."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, port: int, state: HubState) -> None:
        self.state = state
        self.resets: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), HubRequestHandler)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self._open_lock:
            self._open.discard(request)
        if request in self.resets:
            self.resets.discard(request)
            request.close()
        else:
            super().shutdown_request(request)

    def server_close(self) -> None:
        with self._open_lock:
            for connection in self._open:
                # The peer may be gone already; either way the thread's read ends.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()
