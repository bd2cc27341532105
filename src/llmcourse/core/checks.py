"""The checks that every plan gets: libraries, output folder, disk, memory, push target."""

import os
import shutil
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmcourse.core import extras
from llmcourse.core.console import human_bytes
from llmcourse.core.errors import LlmcourseError, MissingError
from llmcourse.core.machine import Machine, existing_parent, free_disk_bytes, same_disk
from llmcourse.core.plan import Check, Estimate, fail, failure, ok, warn
from llmcourse.core.workspace import read_artifact

if TYPE_CHECKING:
    from llmcourse.core.hub import Target

# Planners cannot count everything that libraries hold; below this share of free memory we say so.
_TIGHT = 0.8


def library_checks(libraries: Iterable[str], extra: str) -> Iterator[Check]:
    """One for each that is here, and one for all that are not: a single command installs them."""
    names = list(libraries)
    problem = extras.missing(names, extra)
    if problem:
        yield failure(problem)
    for name in filter(extras.installed, names):
        yield ok(name, extras.library_version(name) or "installed")


def device_checks(device: str, machine: Machine, key: str) -> Iterator[Check]:
    """Whether the device is there that is computed on; `key` is where the config says it."""
    if device == "cuda" and not machine.gpus:
        yield fail(
            "device",
            "There is no CUDA device on this machine.",
            f"Use {key}: cpu, or a machine with an NVIDIA GPU.",
            MissingError.exit_code,
        )
    elif device == "mps" and sys.platform != "darwin":
        yield fail("device", "mps is there on Macs only.", f"Use {key}: auto.", MissingError.exit_code)
    else:
        yield ok("device", device)


def output_check(
    output: Path, fingerprint: str | None, force: bool, inputs: Iterable[Path], changed: Sequence[str] = ()
) -> Check:
    """A new folder, an empty one, or an older result of ours with --force; nothing else is touched.

    Without `fingerprint` nobody knows what the result would be: then an older one is none's fault.
    `changed` are files of this very result that are not what was made any more.
    """
    for folder in inputs:
        if folder.resolve().is_relative_to(output.resolve()):
            return fail(
                "output",
                f"{output} holds the model that this is made from.",
                "Choose a new folder with -o.",
            )
    if output == Path.cwd():
        return fail("output", "The output is the folder you are in.", "Choose a new folder with -o.")
    if output.is_symlink() or output.is_file():
        return fail("output", f"{output} is a file.", "Choose a new folder with -o.")
    if output.is_mount():
        fix = f"Choose a folder in it, as -o {output / 'result'}."
        return fail("output", f"{output} is a disk of its own, which a result cannot replace.", fix)
    parent = existing_parent(output)
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        return fail("output", f"{parent} is no folder you may write to.", "Choose a folder of yours with -o.")
    if not output.exists() or not any(output.iterdir()):
        return ok("output", str(output))
    present = read_artifact(output)
    if present is None:
        return fail(
            "output", f"{output} exists and llmcourse did not make it.", "Choose a new folder with -o."
        )
    if fingerprint is None:
        return warn("output", f"{output} holds a result; whether it is this one cannot be told now.")
    if present.fingerprint == fingerprint and changed:
        return fail(
            "output",
            f"{changed[0]} in {output} was changed since it was made.",
            "Move it elsewhere, or have it made anew with --force.",
        )
    if present.fingerprint == fingerprint:
        return ok("output", f"{output} (made already, or to be completed)")
    if force:
        return warn("output", f"{output} holds another result; its files will be replaced.")
    return fail(
        "output",
        f"{output} holds the result of another run.",
        "Choose a new folder with -o, or replace it with --force.",
    )


def disk_check(estimate: Estimate, output: Path, cache: Path | None) -> Check:
    free = free_disk_bytes(output)
    together = cache is not None and same_disk(output, cache)
    made = estimate.write + estimate.scratch
    needed = made + (estimate.download if together else 0)
    if needed > free and shutil.disk_usage(existing_parent(output)).total == 0:
        # /proc and its like, where permissions say nothing
        return fail(
            "disk",
            f"{existing_parent(output)} cannot be written to: there is no disk behind it.",
            "Choose a folder on a disk with -o.",
        )
    if needed > free:
        return fail(
            "disk",
            f"{human_bytes(needed)} are needed near {output.parent}, {human_bytes(free)} are free.",
            "Free space, or choose a folder on another disk with -o.",
        )
    if cache is not None and not together and estimate.download > free_disk_bytes(cache):
        return fail(
            "disk",
            f"{human_bytes(estimate.download)} are to be downloaded to {cache}, which has less.",
            "Free space there, or move the cache with HF_HOME.",
        )
    return ok("disk", f"{human_bytes(needed)} needed, {human_bytes(free)} free")


def memory_check(estimate: Estimate, machine: Machine) -> Check:
    what = f"{human_bytes(estimate.memory)} needed at the peak, {human_bytes(machine.memory_bytes)} free"
    if estimate.memory > machine.memory_bytes:
        return fail("memory", f"{what}.", "Close other programs or use a machine with more memory.")
    if estimate.memory > _TIGHT * machine.memory_bytes:
        return warn("memory", f"{what}: this is tight.", "Close other programs before you start.")
    return ok("memory", what)


def gpu_memory_check(estimate: Estimate, machine: Machine) -> Check:
    what = f"{human_bytes(estimate.vram)} needed, {human_bytes(machine.vram_bytes)} free"
    if estimate.vram > machine.vram_bytes:
        return fail("GPU memory", f"{what}.", "Free memory of the GPU, or use a machine with a larger one.")
    return ok("GPU memory", what)


def push_check(
    target: "Target | LlmcourseError", fingerprint: str | None, force: bool, inputs: Container[str | None]
) -> Check:
    if isinstance(target, LlmcourseError):
        return failure(target, "push")
    if target.kind == "model" and target.repo in inputs:
        return fail(
            "push",
            f"{target.repo} is a model that this is made from; a push would replace what it holds.",
            "Push to a repository of its own.",
        )
    place = f"{target.repo}@{target.revision}"
    if not target.exists:
        return ok("push", f"{place} (new, {'private' if target.private else 'public'})")
    if target.private and target.is_public:
        return fail(
            "push",
            f"{target.repo} exists and is public, but private was asked for.",
            "Make it private in its settings on the Hub, or push to a new repository.",
        )
    if not target.is_taken or target.fingerprint == fingerprint:
        return ok("push", place)
    held = "model" if target.kind == "model" else "data set"
    if fingerprint is None and target.fingerprint is not None:
        return warn("push", f"{place} holds a {held}; whether it is this one cannot be told now.")
    if force:
        return warn("push", f"{place} holds another {held} and will be replaced by one commit.")
    return fail(
        "push",
        f"{place} holds another {held} already.",
        "Push to a new repository or --revision, or replace it with --force.",
    )
