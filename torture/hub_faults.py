"""The Hub fails in each phase of a job that downloads its model and publishes its result."""

import random
from dataclasses import dataclass, replace

from llmcourse.core.artifact import MANIFEST_NAME
from llmcourse.testing.hub import Fault
from torture.jobs import OUTPUT, Ground, Job, removed
from torture.running import Place
from torture.tally import Tally

HUB = "Hub faults"
ABOUT = {
    HUB: (
        "Each of {count} faults once in plan, download, upload, commit or verification: passing ones (429 "
        "with Retry-After, 500, 503, a connection cut or reset in the middle, an answer that is lost after "
        "the work was done) must end well, lasting ones with 4, 5 or 6 and both sentences, after which the "
        "same command on a mended Hub ends well. A family tree draws what cannot be read as such, and ends "
        "with 0."
    ),
}


@dataclass(frozen=True)
class _Case:
    phase: str
    fault: Fault
    codes: tuple[int, ...] = (0,)


_LATER = {"Retry-After": "1"}
_LASTING = {"plan": (4,), "download": (5,), "publish": (6,)}
_CASES = (
    _Case("plan: 429", Fault(method="GET", path="/api/models/", status=429, headers=_LATER)),
    _Case("plan: 500", Fault(method="GET", path="/api/models/", status=500)),
    _Case("plan: whoami 503", Fault(method="GET", path="whoami", status=503)),
    _Case("plan: down", Fault(method="GET", path="/api/models/", status=500, times=None), _LASTING["plan"]),
    _Case("plan: expired token", Fault(path="/api/", expired_token=True, times=None), _LASTING["plan"]),
    _Case("plan: no JSON", Fault(method="GET", path="/api/models/", status=200, body="<html>"), (0, 4)),
    _Case(
        "plan: cut header", Fault(method="GET", path=r"\.safetensors", drop_download_after_bytes=100), (0, 4)
    ),
    _Case("download: 500", Fault(method="GET", path=r"resolve/.*\.safetensors", skip=3, status=500)),
    _Case(
        "download: cut",
        Fault(method="GET", path=r"resolve/.*\.safetensors", skip=3, drop_download_after_bytes=90_000),
    ),
    _Case(
        "download: reset",
        Fault(
            method="GET",
            path=r"resolve/.*\.safetensors",
            skip=3,
            drop_download_after_bytes=90_000,
            reset=True,
        ),
    ),
    _Case(
        "download: down",
        Fault(method="GET", path=r"resolve/.*\.safetensors", skip=5, status=500, times=None),
        (0, 4, 5),
    ),
    _Case("upload: create 429", Fault(method="POST", path="repos/create", status=429, headers=_LATER)),
    _Case("upload: preupload 500", Fault(method="POST", path="preupload", status=500)),
    _Case("upload: batch 500", Fault(method="POST", path="objects/batch", status=500)),
    _Case("upload: reset", Fault(method="PUT", path="/lfs/", drop_upload_after_bytes=50_000, reset=True)),
    _Case(
        "upload: quota", Fault(method="POST", path="preupload", status=403, times=None), _LASTING["publish"]
    ),
    _Case(
        "upload: token expires",
        Fault(method="POST", path="preupload", expired_token=True, times=None),
        _LASTING["publish"],
    ),
    _Case("commit: 500", Fault(method="POST", path="/commit/", status=500)),
    _Case("commit: lost answer", Fault(method="POST", path="/commit/", apply_then_drop=True)),
    _Case("commit: down", Fault(method="POST", path="/commit/", status=500, times=None), _LASTING["publish"]),
    _Case("verification: 500", Fault(method="GET|POST", path="(tree|paths-info)/", status=500)),
    _Case(
        "verification: down",
        Fault(method="GET|POST", path="(tree|paths-info)/", status=500, times=None),
        (0, 4, 6),
    ),
)
ABOUT = {HUB: ABOUT[HUB].format(count=len(_CASES))}


def break_hub(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    """`tries` of the cases, all of them where it is so many.

    Where the fault is in what follows the making, the case starts from a result that is made already.
    """
    tally = Tally(job.command, HUB)
    if job.is_stand_in:
        tally.skipped = (
            "its stand-in program takes a local model; its publishing is tested in tests/quantize_exl2"
        )
        return tally
    cases = [case for case in _CASES if job.has_five_steps or case.phase.startswith("plan")]
    chosen = cases if tries >= len(cases) else chance.sample(cases, tries)
    expected, _ = ground.expected(job)
    made = ground.place(job)
    if job.has_five_steps:
        ended = made.run(job.arguments())
        tally.check(ended, [0], "before the faults")
    for number, case in enumerate(chosen):
        is_late = case.phase.startswith(("upload", "commit", "verification"))
        place = made if is_late else ground.place(job)
        _one(ground, job, place, case, f"alice/{job.command}-{number}", tally)
        tally.compare(job.digests(place.folder / OUTPUT), expected, case.phase)
        tally.left(place.leftovers(job.known(place)), case.phase)
        if not is_late:
            removed(place.folder)
    removed(made.folder)
    return tally


def _one(ground: Ground, job: Job, place: Place, case: _Case, repo: str, tally: Tally) -> None:
    push = repo if job.has_five_steps else None
    fault = replace(case.fault)
    # A relative that cannot be read is part of the drawing; the model that was asked for is not.
    codes = (*case.codes, 0) if not job.has_five_steps else case.codes
    ground.hub.faults.append(fault)
    try:
        ended = place.run(job.arguments(push=push))
    finally:
        ground.hub.clear_faults()
    tally.see(ended, codes, case.phase)
    again = ended if ended.code == 0 and job.has_five_steps else place.run(job.arguments(push=push))
    if tally.check(again, [0], f"after {case.phase}") and push:
        _published(ground, place, repo, case, tally)


def _published(ground: Ground, place: Place, repo: str, case: _Case, tally: Tally) -> None:
    """What is in the repository is what is on disk."""
    output = place.folder / OUTPUT
    held = ground.hub.repo(repo).files() if ground.hub.repo(repo).exists() else {}
    ours = {
        path.relative_to(output).as_posix(): path.stat().st_size
        for path in output.rglob("*")
        if path.is_file()
    }
    # The manifest says where the result was published here alone.
    wrong = [
        name
        for name, size in ours.items()
        if name not in held or (name != MANIFEST_NAME and held[name].size != size)
    ]
    if wrong:
        tally.wrong.append(f"{case.phase}: not on the Hub as on disk: {', '.join(wrong)}")
