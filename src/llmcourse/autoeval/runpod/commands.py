"""`llmcourse autoeval status|logs|stop ID`: ID is a pod's id or its name; also of one that is gone."""

import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmcourse.autoeval.runpod.client import Pod, RunpodClient, RunpodError, WrongKey, key_from_environment
from llmcourse.autoeval.runpod.following import LOG, REPORT
from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.core.hub.mailbox import Mailbox

_OURS = "llmcourse-"


@dataclass(frozen=True)
class PodStatus:
    """`state` is RUNNING, EXITED, done, failed, died or gone; `tasks` are those that have a result."""

    id: str
    name: str
    state: str
    reason: str
    tasks: tuple[str, ...]
    usd_per_hour: float | None
    usd: float | None

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "tasks": list(self.tasks)}

    def sentence(self) -> str:
        """For people, in one line."""
        cost = f", {self.usd:.2f} $ until now" if self.usd is not None else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.id} ({self.name}) {self.state}{why}, {len(self.tasks)} tasks finished{cost}"


def status(wanted: str, repository: str | None = None) -> PodStatus:
    """How far a pod is; `repository` is that of the results, where it is not the usual one.

    Of a run that nobody waits for, the secret is removed when its last pod is gone.

    Raises:
        PlanError: no such pod is there and none has left a word, or a key is missing.
        LibraryError: RunPod or the Hub does not answer.
    """
    client = _client()
    with tempfile.TemporaryDirectory() as folder:
        mailbox = Mailbox(repository, Path(folder))
        pod = _pod(client, wanted)
        name = pod.name if pod else _name_of_ended(mailbox, wanted)
        text = mailbox.text(name, REPORT)
        report = json.loads(text) if text else {}
        state = pod.status if pod and not report else str(report.get("state", "gone"))
        tasks = [
            path.removeprefix("tasks/").removesuffix(".json")
            for branch in mailbox.branches(f"{name}-job-")
            for path in mailbox.paths(branch)
            if path.startswith("tasks/")
        ]
        if pod is None and mailbox.was_handed_over(_run_of(name)):
            _remove_secrets_of_ended(client, _run_of(name))
    price = pod.usd_per_hour if pod else None
    spent = pod.usd_per_hour * pod.uptime_s / 3600 if pod else None
    pod_id = pod.id if pod else str(report.get("pod", wanted))
    return PodStatus(pod_id, name, state, str(report.get("reason", "")), tuple(sorted(tasks)), price, spent)


def logs(wanted: str, repository: str | None = None) -> str:
    """The end of a pod's log, as it reported it last (some minutes ago while it works).

    Raises:
        PlanError, LibraryError: as `status`.
    """
    client = _client()
    with tempfile.TemporaryDirectory() as folder:
        mailbox = Mailbox(repository, Path(folder))
        pod = _pod(client, wanted)
        name = pod.name if pod else _name_of_ended(mailbox, wanted)
        text = mailbox.text(name, LOG)
    if text is None:
        raise PlanError(f"{wanted} has reported no log yet.", "Try again in some minutes.")
    return text


def stop(wanted: str) -> list[str]:
    """End a pod and see that it is gone; with the name of a run, all pods of it. The ids that were ended.

    Secrets of the run are removed with its last pod, also where that has ended by itself and is named by its
    name or that of its run.

    Raises:
        PlanError: there is no such pod.
        LibraryError: RunPod does not answer, or the pod is still there.
    """
    client = _client()
    try:
        found = [pod for pod in client.pods(_OURS) if wanted in (pod.id, pod.name, _run_of(pod.name))]
        if not found:
            raise PlanError(
                f"There is no pod {wanted} of llmcourse at RunPod.", _fix_of_absent(client, wanted)
            )
        for pod in found:
            client.terminate(pod.id)
        _remove_secrets(client, {_run_of(pod.name) for pod in found})
        left = {pod.id for pod in client.pods(_OURS)} & {pod.id for pod in found}
    except WrongKey as error:
        raise PlanError(str(error), "Make a new key in RunPod's settings and set RUNPOD_API_KEY.") from None
    except RunpodError as error:
        raise LibraryError(
            f"RunPod failed: {error}", "Run it again, or end the pod in RunPod's console."
        ) from None
    if left:
        raise LibraryError(f"{', '.join(left)} is still there.", "Run it again, or use RunPod's console.")
    return [pod.id for pod in found]


def _fix_of_absent(client: RunpodClient, wanted: str) -> str:
    if wanted.startswith(_OURS) and _remove_secrets(client, {_run_of(wanted)}):
        return "It has ended by itself; the secret of its run was still there and is removed now."
    return "It may have ended by itself: see llmcourse autoeval status."


def _remove_secrets(client: RunpodClient, runs: set[str]) -> list[str]:
    """Remove those of runs that have no pod any more; their names."""
    others = {_run_of(pod.name) for pod in client.pods(_OURS)}
    known = client.secrets()
    names = [name for run in runs - others if (name := secret_name(run)) in known]
    for name in names:
        client.delete_secret(known[name])
    return names


def _remove_secrets_of_ended(client: RunpodClient, run: str) -> None:
    """What is asked is how the pod ended, and that is told also where RunPod does not answer now."""
    with suppress(RunpodError):
        _remove_secrets(client, {run})


def secret_name(run: str) -> str:
    """The secret of a run at RunPod, whose names have no dashes in front of ours."""
    return f"{run.replace('-', '_')}_hf"


def _run_of(name: str) -> str:
    """llmcourse-0123456789-0-again belongs to llmcourse-0123456789."""
    return "-".join(name.split("-")[:2])


def _client() -> RunpodClient:
    key = key_from_environment()
    if key is None:
        raise PlanError("There is no key for RunPod in RUNPOD_API_KEY.", "Set RUNPOD_API_KEY.")
    return RunpodClient(key)


def _pod(client: RunpodClient, wanted: str) -> Pod | None:
    try:
        found = [pod for pod in client.pods(_OURS) if wanted in (pod.id, pod.name)]
    except WrongKey as error:
        raise PlanError(str(error), "Make a new key in RunPod's settings and set RUNPOD_API_KEY.") from None
    except RunpodError as error:
        raise LibraryError(f"RunPod failed: {error}", "Run it again later.") from None
    return found[0] if found else None


def _name_of_ended(mailbox: Mailbox, wanted: str) -> str:
    """The name of a pod that is gone, from the word that it left."""
    branches = [name for name in mailbox.branches(_OURS) if "-job-" not in name]
    if wanted in branches:
        return wanted
    for branch in branches:
        text = mailbox.text(branch, REPORT)
        if text and json.loads(text).get("pod") == wanted:
            return branch
    raise PlanError(
        f"There is no pod {wanted} at RunPod, and none has left a word in {mailbox.repository}.",
        "Name the repository of the results with --results, if it is another one.",
    )
