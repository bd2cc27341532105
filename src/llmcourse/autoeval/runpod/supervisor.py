"""The pod's own program: installs llmcourse, runs its jobs, tells how it went, and ends the pod.

It is sent as text in the pod's environment and runs before anything is installed, so it uses Python's own
library only and imports nothing of ours.  What it is to do is JSON in LLMCOURSE_POD:

    name         the pod's name; its branch of the results repository gets `pod.json` and `log.txt`
    repository   the data set repository of the results
    jobs         of each the `config`, which goes to the command's stdin, and `files` that are written for it
    command      what is run for each of them
    package      what pip installs, or a folder of sources that is used as it is; empty for nothing
    deadline     Unix time at which the pod must be gone; `seconds` the same from the start on
    lease        branch that moves while the client is there, empty where nobody waits; `lease_s` how long it
                 may stand still
    report_s     seconds between two reports of the log
    ends         whether the pod is terminated at the end
"""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TAIL_BYTES = 200_000
_HUB_ERRORS = (OSError, ValueError, http.client.HTTPException)
_SECRETS = ("HF_TOKEN", "RUNPOD_API_KEY", "GITHUB_TOKEN")


def _say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def _post(url: str, token: str, body: bytes, kind: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind, "User-Agent": "llmcourse-pod"}
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


class Results:
    """The repository of the results, as much of it as a pod needs."""

    def __init__(self, repository: str, branch: str) -> None:
        endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        self._api = f"{endpoint}/api/datasets/{repository}"
        self._branch = branch

    def write(self, files: dict[str, str]) -> None:
        """One commit on the pod's branch; tries for a minute."""
        lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": "Report of the pod"}}]
        for path, text in files.items():
            content = base64.b64encode(_without_secrets(text).encode()).decode()
            lines.append({"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}})
        body = "\n".join(json.dumps(line) for line in lines).encode()
        url, token = f"{self._api}/commit/{self._branch}", os.environ.get("HF_TOKEN", "")
        for pause in (1, 2, 4, 8, 15, 30, 0):
            try:
                _post(url, token, body, "application/x-ndjson")
                return
            except urllib.error.HTTPError as error:
                _say(f"the report was refused: HTTP {error.code}")
                if error.code in (401, 403, 404):
                    return
            except _HUB_ERRORS as error:
                _say(f"the report could not be sent ({type(error).__name__})")
            time.sleep(pause)

    def head(self, branch: str) -> str:
        """The commit a branch is at, "" while that cannot be known."""
        headers = {"Authorization": f"Bearer {os.environ.get('HF_TOKEN', '')}"}
        request = urllib.request.Request(f"{self._api}/revision/{branch}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return str(json.load(answer)["sha"])
        except (*_HUB_ERRORS, KeyError):
            return ""


def _without_secrets(text: str) -> str:
    for name in _SECRETS:
        if os.environ.get(name):
            text = text.replace(os.environ[name], "***")
    return text


class Watch:
    """Ends what runs when its time is over or the client is gone, and says which it was."""

    def __init__(self, task: dict[str, Any], results: Results, began: float) -> None:
        self._results = results
        self._lease, self._lease_s = str(task["lease"]), float(task["lease_s"])
        # A tenth is kept for what comes after: the report and the end itself.
        seconds = float(task["seconds"])
        reserve = min(120.0, seconds / 10)
        self._end = min(began + seconds, float(task["deadline"])) - reserve
        self._running: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.reason = ""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        seen, moved = "", time.monotonic()
        pause = max(0.2, min(15.0, self._lease_s / 10))
        while not self.reason:
            if time.time() >= self._end:
                self._stop("its time is over")
            elif self._lease:
                head = self._results.head(self._lease)
                if head != seen and head:
                    seen, moved = head, time.monotonic()
                elif time.monotonic() - moved > self._lease_s:
                    self._stop("the client is gone")
            time.sleep(max(0.05, min(pause, self._end - time.time())))

    def _stop(self, reason: str) -> None:
        with self._lock:
            self.reason = reason
            if self._running:
                _end_group(self._running)

    def run(self, command: list[str], text: str, environment: dict[str, str], log: Path) -> int:
        """Run a command to its end, which may be that of its time; the exit code, -9 where it was stopped."""
        with log.open("ab") as output:
            with self._lock:
                if self.reason:
                    return -signal.SIGKILL
                self._running = subprocess.Popen(
                    command, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output,
                    start_new_session=True,
                )  # fmt: skip
            assert self._running.stdin is not None
            try:
                self._running.stdin.write(text.encode())
                self._running.stdin.close()
            except BrokenPipeError:
                pass  # it ended before it read that; its exit code says why
            return self._running.wait()


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """An interrupt, which lets it publish what it has; after some seconds the end."""
    for number, patience_s in ((signal.SIGINT, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        until = time.monotonic() + patience_s
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)


def _failed_tasks(folder: Path) -> list[dict[str, Any]]:
    """Outcomes with an error, which are no finished pieces and so were not published."""
    found = []
    for path in sorted(folder.rglob("tasks/*/*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # cut off by the end of its writer: the client then has no outcome, and says so
        if isinstance(data, dict) and data.get("error"):
            found.append(data)
    return found


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace")


def _install(task: dict[str, Any], watch: Watch, log: Path) -> tuple[int, dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if name != "LLMCOURSE_POD"}
    environment |= {"LLMCOURSE_PROGRESS": "plain", "PYTHONUNBUFFERED": "1", "PIP_BREAK_SYSTEM_PACKAGES": "1"}
    package = task["package"]
    if not package:
        return 0, environment
    if (Path(package[0]) / "llmcourse").is_dir():
        return 0, {**environment, "PYTHONPATH": package[0]}
    _say(f"installs {' '.join(package)}")
    keys = {"HF_TOKEN", "RUNPOD_API_KEY"}  # what packages run while they are built needs neither
    bare = {name: value for name, value in environment.items() if name not in keys}
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", *package]
    return watch.run(command, "", bare, log), environment


def _work(task: dict[str, Any], watch: Watch, log: Path) -> dict[str, Any]:
    """Install and run every job; what there is to tell of it."""
    code, environment = _install(task, watch, log)
    if code:
        return {
            "state": "failed",
            "reason": watch.reason or "llmcourse could not be installed",
            "codes": [code],
        }
    codes, command = [], [sys.executable if part == "python3" else part for part in task["command"]]
    for number, job in enumerate(task["jobs"]):
        _say(f"job {number + 1} of {len(task['jobs'])}")
        for name, text in job["files"].items():
            Path(name).write_text(text, encoding="utf-8")
        codes.append(watch.run(command, job["config"], environment, log))
        if watch.reason:
            break
    state = "done" if not any(codes) and not watch.reason else "failed"
    return {"state": state, "reason": watch.reason or _last_words(log, codes), "codes": codes}


def _last_words(log: Path, codes: list[int]) -> str:
    """Why a command failed: our errors are marked, else its last line."""
    if not any(codes):
        return ""
    lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(error|Error)\b", line)]
    said = (errors or lines or ["it said nothing"])[-1]
    return f"exit code {next(code for code in codes if code)}: {said[:500].rstrip('.')}"


def _end_pod() -> None:
    """Terminate this pod, and try so until it is gone: nothing else costs money for nothing."""
    pod, key = os.environ.get("RUNPOD_POD_ID", ""), os.environ.get("RUNPOD_API_KEY", "")
    base = os.environ.get("RUNPOD_API_BASE_URL") or "https://api.runpod.io"
    query = f"mutation {{ podTerminate(input: {{ podId: {json.dumps(pod)} }}) }}"
    pause = 1.0
    while True:
        _say("ends this pod")
        try:
            _post(f"{base}/graphql", key, json.dumps({"query": query}).encode(), "application/json")
        except _HUB_ERRORS as error:
            _say(f"RunPod did not end this pod ({error})")
        runpodctl = shutil.which("runpodctl")
        if runpodctl and pause > 4:
            subprocess.run([runpodctl, "remove", "pod", pod], check=False)
        time.sleep(pause)
        pause = min(pause * 2, 60)


def _report_meanwhile(results: Results, log: Path, every_s: float, ended: threading.Event) -> None:
    sent = ""
    while not ended.wait(every_s):
        text = _tail(log)
        if text != sent:
            results.write({"log.txt": text})
            sent = text


def _tell(what: Callable[[], dict[str, Any]], results: Results, log: Path) -> None:
    try:
        report = what()
    except Exception as error:
        report = {"state": "failed", "reason": f"{type(error).__name__}: {error}", "codes": [1]}
    _say(f"{report['state']}: {report['reason'] or 'all jobs ended well'}")
    report |= {"failed_tasks": _failed_tasks(Path.cwd()), "pod": os.environ.get("RUNPOD_POD_ID", "")}
    results.write({"pod.json": json.dumps(report, indent=2), "log.txt": _tail(log)})


def main() -> None:
    """Do what LLMCOURSE_POD says, and end the pod."""
    task = json.loads(base64.b64decode(os.environ["LLMCOURSE_POD"]))
    folder = Path.home() / task["name"]
    is_again = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    results, log = Results(task["repository"], task["name"]), Path("llmcourse.log")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        if is_again:
            # RunPod starts what has exited anew; whatever that was, its time and money are not spent twice.
            again = {"state": "died", "reason": "the pod was started anew by RunPod", "codes": [1]}
            _tell(lambda: again, results, log)
            return
        watch = Watch(task, results, time.time())
        report = threading.Thread(
            target=_report_meanwhile, args=(results, log, task["report_s"], ended), daemon=True
        )
        report.start()
        _tell(lambda: _work(task, watch, log), results, log)
    finally:
        ended.set()
        if task["ends"]:
            _end_pod()
        while True:
            time.sleep(60)  # an exit would start everything anew


if __name__ == "__main__":
    main()
