"""The Hub fails in each phase of a job that downloads its model and publishes its result."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llmcourse.core.artifact import MANIFEST_NAME, Artifact
from llmcourse.core.workspace import read_artifact
from llmcourse.testing.hub import Fault
from torture.ground import OUTPUT, Ground, removed
from torture.jobs import Job
from torture.running import Place
from torture.tally import Tally

HUB = "Hub faults"


@dataclass(frozen=True)
class _Case:
    """`fault` in a phase, after which the command ends with one of `codes`.

    A fault of the phase `download` passes over the reading of headers, which the plan does.  Other phases
    than those two start from a result that is made already.
    """

    phase: str
    about: str
    fault: Fault
    codes: tuple[int, ...] = (0,)
    is_of_large_files: bool = False
    is_of_github: bool = False

    @property
    def name(self) -> str:
        return f"{self.phase}: {self.about}"


_LATER = {"Retry-After": "1"}
_WEIGHTS = r"resolve/.*\.safetensors"
_BOARD = r"/api/datasets/.*-board/"
_CASES = (
    # The first, since a Hub that has some bytes already takes them no second time.
    _Case("upload", "reset",
          Fault(method="PUT", path="/lfs/", drop_upload_after_bytes=300, reset=True), (0,), True),
    _Case("plan", "429", Fault(method="GET", path="/api/models/", status=429, headers=_LATER)),
    _Case("plan", "500", Fault(method="GET", path="/api/models/", status=500)),
    _Case("plan", "whoami 503", Fault(method="GET", path="whoami", status=503)),
    _Case("plan", "down", Fault(method="GET", path="/api/models/", status=500, times=None), (4,)),
    _Case("plan", "expired token", Fault(path="/api/", expired_token=True, times=None), (4,)),
    _Case("plan", "no JSON", Fault(method="GET", path="/api/models/", status=200, body="<html>"), (0, 4)),
    _Case("headers", "cut", Fault(method="GET", path=_WEIGHTS, drop_download_after_bytes=5), (0, 4)),
    _Case("download", "500", Fault(method="GET", path=_WEIGHTS, status=500)),
    _Case("download", "cut", Fault(method="GET", path=_WEIGHTS, drop_download_after_bytes=90_000)),
    _Case(
        "download", "reset", Fault(method="GET", path=_WEIGHTS, drop_download_after_bytes=90_000, reset=True)
    ),
    _Case("download", "down", Fault(method="GET", path=_WEIGHTS, status=500, times=None), (4, 5)),
    _Case("upload", "create 429", Fault(method="POST", path="repos/create", status=429, headers=_LATER)),
    _Case("upload", "preupload 500", Fault(method="POST", path="preupload", status=500)),
    _Case("upload", "batch 500", Fault(method="POST", path="objects/batch", status=500), (0,), True),
    _Case("upload", "quota", Fault(method="POST", path="preupload", status=403, times=None), (6,)),
    _Case(
        "upload", "expired token",
        Fault(method="POST", path="preupload", expired_token=True, times=None), (6,),
    ),
    _Case("commit", "500", Fault(method="POST", path="/commit/", status=500)),
    _Case("commit", "lost answer", Fault(method="POST", path="/commit/", apply_then_drop=True)),
    _Case("commit", "down", Fault(method="POST", path="/commit/", status=500, times=None), (6,)),
    _Case("verification", "500", Fault(method="GET|POST", path="(tree|paths-info)/", status=500)),
    _Case(
        "verification", "down",
        Fault(method="GET|POST", path="(tree|paths-info)/", status=500, times=None), (4, 6),
    ),
    _Case("figures", "leaderboard 500", Fault(method="POST", path=f"{_BOARD}commit/", status=500)),
    _Case("figures", "lost answer", Fault(method="POST", path=f"{_BOARD}commit/", apply_then_drop=True)),
    _Case(
        "figures", "moved meanwhile",
        Fault(method="POST", path=f"{_BOARD}commit/", status=412, body='{"error": "Branch moved"}'),
    ),
    _Case("figures", "down", Fault(method="POST", path=f"{_BOARD}commit/", status=500, times=None), (6,)),
    _Case("figures", "gist 502", Fault(method="POST", path="/gists", status=502), (0,), False, True),
    _Case(
        "figures", "GitHub down",
        Fault(method="POST", path="/gists", status=502, times=None), (6,), False, True,
    ),
)  # fmt: skip
_ON_NEW_MODELS = ("headers", "download")  # what was downloaded is not asked for again
_WITHOUT_RIGHTS = ("whoami 503",)
ABOUT = {
    HUB: (
        f"Each of {sum(case.phase != 'figures' for case in _CASES)} faults once in plan, download, upload, "
        "commit or verification: passing ones (429 with Retry-After, 500, 503, a connection cut or reset in "
        "the middle, an answer that is lost after the work was done) must end well, lasting ones with 4, 5 "
        "or 6 and both sentences, after which the same command on a mended Hub ends well and the Hub has "
        "what is here. A fault that no request meets is wrong. An evaluation has no large files, and "
        "publishes its figures to the model, a leaderboard and a gist too: "
        f"{sum(case.phase == 'figures' for case in _CASES)} faults more. A family tree has those of the "
        "plan; it draws what cannot be read as such, and ends with 0."
    ),
}


def _cases(job: Job) -> list[_Case]:
    if not job.can_publish:
        return [case for case in _CASES if case.phase == "plan" and case.about not in _WITHOUT_RIGHTS]
    if job.publishes_figures:
        return [case for case in _CASES if not case.is_of_large_files]
    return [case for case in _CASES if case.phase != "figures"]


def break_hub(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    """`tries` of the cases, all of them where it is so many."""
    tally = Tally(job.command, HUB)
    cases = _cases(job)
    chosen = cases if tries >= len(cases) else sorted(chance.sample(cases, tries), key=cases.index)
    undisturbed = ground.expected(job)
    made = ground.place(job)
    if job.can_publish:
        tally.check(made.run(job.arguments()), [0], "before the faults")
    for number, case in enumerate(chosen):
        is_new = case.phase in _ON_NEW_MODELS or not job.can_publish
        place = ground.place(job) if is_new else made
        _one(ground, job, place, case, f"alice/{job.command}-{number}", tally)
        tally.compare(job.digests(place.folder / OUTPUT), undisturbed.digests, case.name)
        tally.left(place.leftovers(job.known), case.name)
        if is_new:
            removed(place.folder)
    removed(made.folder)
    return tally


def _one(ground: Ground, job: Job, place: Place, case: _Case, repo: str, tally: Tally) -> None:
    # What is published says in its own metadata by whom, so what is not is compared.
    push = repo if job.can_publish and case.phase not in _ON_NEW_MODELS else None
    skip = ground.expected(job).headers if case.phase == "download" else 0
    fault = replace(case.fault, skip=skip)
    # A relative that cannot be read is part of the drawing; the model that was asked for is not.
    codes = case.codes if job.can_publish else (*case.codes, 0)
    rules = ground.github.faults if case.is_of_github else ground.hub.faults
    ground.github.gists.clear()  # or nothing is new in it, and no request is made
    rules.append(fault)
    try:
        ended = place.run(job.arguments(push=push))
    finally:
        rules.clear()
    tally.see(ended, codes, case.name)
    if fault.matches <= skip:
        tally.wrong.append(f"{case.name}: no request met it")
    again = ended if ended.code == 0 and job.can_publish else place.run(job.arguments(push=push))
    if tally.check(again, [0], f"after {case.name}") and push:
        wrong = list(_unpublished(ground, place.folder / OUTPUT, repo))
        if wrong:
            tally.wrong.append(f"{case.name}: not on the Hub as on disk: {', '.join(wrong)}")


def _unpublished(ground: Ground, output: Path, repo: str) -> Iterator[str]:
    """Files of results in a folder, or in those of its steps, that the Hub does not hold as they are here."""
    folders = [path for path in (output, *output.iterdir()) if (path / MANIFEST_NAME).is_file()]
    artifacts = [found for folder in folders if (found := read_artifact(folder)) and found.hub]
    if not artifacts:
        yield "all of it"
    for artifact in artifacts:
        assert artifact.hub is not None
        if not artifact.hub.repo.startswith(repo):
            yield f"{artifact.hub.repo} in place of {repo}"
        yield from _not_as_here(ground, artifact)


def _not_as_here(ground: Ground, artifact: Artifact) -> Iterator[str]:
    for file in artifact.files:
        own = artifact.places.get(file.path.partition("/")[0])
        name = file.path.partition("/")[2] if own else file.path
        place = own or artifact.hub
        assert place is not None
        held = ground.hub.repo(place.repo, place.kind).files(place.revision).get(name)
        if held is None or held.size != file.size:
            yield file.path
