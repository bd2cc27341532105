"""`python -m llmcourse.testing.hub`: a hub in a process of its own, until SIGTERM or SIGINT."""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from llmcourse.testing.hub.server import LoopbackHub


def main() -> None:
    """Serve; one JSON line on stdout says where and with which tokens, once requests are answered."""
    parser = argparse.ArgumentParser(prog="python -m llmcourse.testing.hub", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds the state")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--no-xet", action="store_true", help="offer plain LFS only")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--upload-rate", type=float, help="bytes per second that all uploads together get")
    arguments = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    hub = LoopbackHub(arguments.root, arguments.port, xet=not arguments.no_xet)
    hub.settings.latency_s = arguments.latency
    hub.settings.upload_pace.bytes_per_s = arguments.upload_rate
    with hub:
        sys.stdout.write(json.dumps({"endpoint": hub.endpoint, "tokens": hub.tokens}) + "\n")
        sys.stdout.flush()
        stopped.wait()


if __name__ == "__main__":
    main()
