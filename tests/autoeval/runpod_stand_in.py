"""A stand-in for `llmcourse autoeval -` on a pod, for tests of what happens around it.

It reads the pod's config on stdin and publishes a result for each task, a commit each; the end of a task's
name says what happens instead: `_slow` takes a minute, `_fails` is a task with an error, `_full` finds no
disk, `_crash` is killed, `_kills_pod` ends the container's first process.
"""

import base64
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ["LLMCOURSE_SOURCES"])

from llmcourse.autoeval.results import TaskResult, result_path


def post(path: str, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {os.environ['HF_TOKEN']}", "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["HF_ENDPOINT"] + path, body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def publish(hub: dict[str, Any], path: str, content: bytes) -> None:
    file = {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}
    lines = [{"key": "header", "value": {"summary": path}}, {"key": "file", "value": file}]
    body = "\n".join(map(json.dumps, lines)).encode()
    post(f"/api/datasets/{hub['repo']}/commit/{hub['revision']}", body)


def evaluate(config: dict[str, Any], model: str, task: str) -> bool:
    """Whether the task has a result."""
    if task.endswith("_slow"):
        time.sleep(60)
    if task.endswith("_crash"):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.endswith("_kills_pod"):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if task.endswith("_full"):
        sys.stderr.write("Error: /root: the disk is full.\n")
        sys.exit(4)
    path = Path(config["output"]) / result_path(model, task)
    fails = task.endswith("_fails")
    result = TaskResult(model, task, metrics={} if fails else {"acc,none": 0.5}, error="no metric" * fails)
    result.write(path)
    if not fails:
        publish(config["hub"], result_path(model, task), path.read_bytes())
    return not fails


def main() -> None:
    config = json.load(sys.stdin)
    assert config["publish"] == {"partial": True}
    suite = json.loads(Path(config["suite"]).read_text())
    hub = config["hub"]
    sys.stdout.write(f"token {os.environ['HF_TOKEN']}\n")
    with suppress(urllib.error.HTTPError):  # it is there where the pod was started anew
        post(f"/api/datasets/{hub['repo']}/branch/{hub['revision']}", b"{}")
    tasks = [task["name"] for group in suite["groups"] for task in group["tasks"]]
    results = [evaluate(config, model, task) for model in config["model"] for task in tasks]
    sys.exit(0 if all(results) else 5)


if __name__ == "__main__":
    main()
