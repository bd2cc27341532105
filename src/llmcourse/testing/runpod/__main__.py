"""`python -m llmcourse.testing.runpod`: an account in a process of its own, until SIGTERM or SIGINT."""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from llmcourse.testing.runpod.server import LoopbackRunpod


def main() -> None:
    """Serve; one JSON line on stdout says where and with which key. At the end all pods are ended."""
    parser = argparse.ArgumentParser(prog="python -m llmcourse.testing.runpod", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder for the pods' disks and logs")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    arguments = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with LoopbackRunpod(arguments.root, arguments.port) as runpod:
        sys.stdout.write(json.dumps({"endpoint": runpod.endpoint, "key": runpod.key}) + "\n")
        sys.stdout.flush()
        stopped.wait()


if __name__ == "__main__":
    main()
