"""Says when an upload stands still: the Hub's Xet client is known to hang behind some networks, silently."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_STILL_S = 60.0
_GLANCE_S = 5.0
_LEAST_BYTES = 20_000  # in a glance; what keeps connections alive, and our own asking, is less

# Where `struct tcp_info` has tcpi_bytes_acked (linux/tcp.h, since 4.1).
_BYTES_ACKED = slice(120, 128)


@contextmanager
def watched(what: str, tell: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, `tell` once for each minute in which nothing was sent."""
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(what, tell, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _watch(what: str, tell: Callable[[str], None], ended: threading.Event) -> None:
    sent, moved, told = _sent_bytes(), time.monotonic(), time.monotonic()
    while not ended.wait(min(_GLANCE_S, _STILL_S)):
        before, sent, now = sent, _sent_bytes(), time.monotonic()
        if sent - before > _LEAST_BYTES:
            moved = told = now
        if now - told >= _STILL_S:
            told = now
            tell(f"! {what} stands still: nothing was sent for {round(now - moved)} s. {_advice()}")


def _advice() -> str:
    if os.environ.get("HF_HUB_DISABLE_XET", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "If it stays so, press Ctrl-C and run the same command again: it goes on from here."
    return (
        "If it stays so, press Ctrl-C and run the same command with HF_HUB_DISABLE_XET=1 in its environment: "
        "it goes on from here in the older way."
    )


def _sent_bytes() -> int:
    """What our connections have sent and the other side has received.

    Where the system does not tell that, of all programs on this machine: others may hide a standstill then,
    but none is made up.
    """
    sockets = Path("/proc/self/fd")
    if not sockets.is_dir():
        return int(psutil.net_io_counters().bytes_sent)
    total = 0
    for entry in list(sockets.iterdir()):
        try:
            with socket.socket(fileno=os.dup(int(entry.name))) as connection:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.stop)
        except OSError:
            continue  # closed meanwhile, or no connection
        total += int.from_bytes(info[_BYTES_ACKED], sys.byteorder)
    return total
