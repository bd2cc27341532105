"""What is looked at: the machine, the extras, programs, the Hub and its token. Nothing is changed."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from llmcourse.core.cache import cache_folder
from llmcourse.core.errors import LlmcourseError, MissingError, Problems
from llmcourse.core.hub_environment import check_environment, sends_no_token
from llmcourse.core.human import human_bytes
from llmcourse.core.machine import cuda_compiler, existing_parent, free_disk_bytes, this_machine

State = Literal["ok", "missing", "broken"]
# Which extra, and which means, each command needs.
EXTRAS = {
    "merge": "merge",
    "quantize-gguf": "gguf",
    "quantize-gptq": "gptq",
    "quantize-exl2": "exl2",
    "autoeval": "eval",
}
_PROBE_S = 5.0
_LITTLE_DISK = 20_000_000_000  # bytes; a 7 B model and what is made of it take more


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `fix` is what mends it, `command` what needs it (empty: all)."""

    name: str
    state: State
    what: str
    fix: str = ""
    command: str = ""


def look(commands: tuple[str, ...]) -> Iterator[Finding]:
    """All there is to say of these commands on this machine; a silent network costs a few seconds."""
    yield from _machine()
    odd = list(_environment())
    yield from odd
    yield from _disks(is_hub_usable=not odd)
    for command in commands:
        if command in EXTRAS:
            yield _extra(command)
    if "quantize-gptq" in commands:
        yield _packing_tools()
    if "quantize-exl2" in commands:
        yield from _cuda()
    if "family-tree" in commands:
        yield Finding("family-tree", "ok", "needs no extra", command="family-tree")
        yield _graphviz()
    if not odd:
        yield from _hub()
    if "autoeval" in commands:
        yield from _services()


def _machine() -> Iterator[Finding]:
    machine = this_machine()
    memory = f"{human_bytes(machine.memory_bytes)} of {human_bytes(machine.total_memory_bytes)} free"
    yield Finding("machine", "ok", f"Python {machine.python}, {machine.cpus} cores, memory {memory}")
    if machine.gpus:
        gpus = ", ".join(f"{gpu.name} ({human_bytes(gpu.memory_bytes)} free)" for gpu in machine.gpus)
        yield Finding("GPU", "ok", gpus)
    else:
        yield Finding("GPU", "missing", "There is none that nvidia-smi knows; all but EXL2 work without.")


def _environment() -> Iterator[Finding]:
    """Variables that keep the Hub's client from working: it is not even loaded then."""
    try:
        check_environment()
    except LlmcourseError as error:
        for each in error.errors if isinstance(error, Problems) else (error,):
            yield Finding(each.where or "environment", "broken", each.what, each.fix)


def _disks(is_hub_usable: bool) -> Iterator[Finding]:
    """Whether there is room, and whether we may write, where results and caches go."""
    places = {"this folder": Path.cwd, "cache": cache_folder}
    if is_hub_usable:
        from llmcourse.core import hub

        places["cache of the Hub"] = hub.cache_folder
    for name, place in places.items():
        try:
            yield _disk(name, place())
        except LlmcourseError as error:
            yield Finding(f"disk, {name}", "broken", error.what, error.fix)
        except OSError as error:
            what = f"It cannot be looked at ({error.strerror})."
            yield Finding(f"disk, {name}", "broken", what, f"Choose another with {_MOVED_BY[name]}.")


def _disk(name: str, place: Path) -> Finding:
    what = f"{place}: {human_bytes(free_disk_bytes(place))} free"
    problem = write_problem(place)
    if problem:
        fix = f"Choose a folder of yours with {_MOVED_BY[name]}."
        return Finding(f"disk, {name}", "broken", f"{place} cannot be written to ({problem}).", fix)
    if free_disk_bytes(place) > _LITTLE_DISK:
        return Finding(f"disk, {name}", "ok", what)
    return Finding(f"disk, {name}", "missing", what, f"Free space there, or move it with {_MOVED_BY[name]}.")


_MOVED_BY = {"this folder": "-o", "cache of the Hub": "HF_HOME", "cache": "LLMCOURSE_CACHE"}


def write_problem(place: Path) -> str:
    """Why nothing can be written there, empty where it can: a file without a name is tried, and is gone."""
    try:
        with tempfile.TemporaryFile(dir=existing_parent(place)):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__


def _extra(command: str) -> Finding:
    """The libraries of an extra, with their versions, against what this llmcourse asks for."""
    extra = EXTRAS[command]
    found, absent, unfit = [], [], []
    for requirement in requirements(extra):
        try:
            have = version(requirement.name)
        except PackageNotFoundError:
            absent.append(requirement.name)
            continue
        if requirement.specifier.contains(have, prereleases=True):
            found.append(f"{requirement.name} {have}")
        else:
            unfit.append(f"{requirement.name} {have} (wanted: {requirement.specifier})")
    install = f"pip install 'llmcourse[{extra}]'"
    if absent:
        return Finding(command, "missing", f"not installed: {', '.join(absent)}", install, command)
    if unfit:
        return Finding(command, "broken", ", ".join(unfit), f"pip install -U 'llmcourse[{extra}]'", command)
    return Finding(command, "ok", ", ".join(found), command=command)


def requirements(extra: str) -> list[Requirement]:
    """What an extra asks for, by llmcourse's own metadata."""
    stated = [Requirement(text) for text in metadata("llmcourse").get_all("Requires-Dist") or []]
    return [
        requirement
        for requirement in stated
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": extra})
        and not requirement.marker.evaluate({"extra": ""})
    ]


def _cuda() -> Iterator[Finding]:
    compiler = cuda_compiler()
    command = "quantize-exl2"
    if not this_machine().gpus:
        yield Finding(
            "CUDA", "missing", "quantize-exl2 needs an NVIDIA GPU.", "Use a machine with one.", command
        )
    elif compiler is None:
        fix = "Install the CUDA toolkit and set CUDA_HOME."
        yield Finding("CUDA", "missing", "There is no nvcc to build exllamav2's extension.", fix, command)
    else:
        yield Finding("CUDA", "ok", f"nvcc {compiler.version}", command=command)
    from llmcourse.quantize_exl2.extension import present

    built = "environment" in present()
    what = "built" if built else "the first run builds it (5.4 GB)"
    yield Finding("environment of exllamav2", "ok", what, command=command)


def _packing_tools() -> Finding:
    """What gptqmodel compiles its packing with, which it does for models of 10^9 parameters and more."""
    tools = {"g++": shutil.which("c++") or shutil.which("g++"), "ninja": shutil.which("ninja")}
    missing = [name for name, place in tools.items() if place is None]
    if not missing:
        return Finding("g++ and ninja", "ok", "compile gptqmodel's packing for large models, once")
    return Finding(
        " and ".join(missing),
        "missing",
        f"{' and '.join(missing)} is not there; GPTQ of large models packs weights more slowly then.",
        "Run: pip install ninja" if missing == ["ninja"] else "Install g++ and ninja.",
    )


def _graphviz() -> Finding:
    from llmcourse.family_tree.formats.graphviz import program

    try:
        return Finding("Graphviz", "ok", Path(program()).name, command="")
    except MissingError as error:
        return Finding("Graphviz", "missing", f"{error.what} Only svg and png need it.", error.fix)


def _hub() -> Iterator[Finding]:
    """Whether the Hub answers, and what the token may; the token itself is never shown."""
    from llmcourse.core import hub

    if hub.is_offline():
        yield Finding("Hub", "missing", "HF_HUB_OFFLINE is set.", "Unset HF_HUB_OFFLINE.")
        return
    begin = time.monotonic()
    answer = hub.probe(_PROBE_S)
    if answer is not None:
        yield Finding("Hub", "broken", answer, hub.unreached())
        return
    yield Finding("Hub", "ok", f"{hub.endpoint()} answers in {(time.monotonic() - begin) * 1000:.0f} ms")
    source = hub.token_source()
    if sends_no_token():
        what = "HF_HUB_DISABLE_IMPLICIT_TOKEN is set: no token is sent; public models can be read."
        yield Finding("Hub token", "missing", what, "Unset it to publish.")
        return
    if source is None:
        yield Finding("Hub token", "missing", "There is none; public models can be read.", "hf auth login")
        return
    try:
        with hub.translated("your token"):
            who = hub.identity()
    except LlmcourseError as error:
        yield Finding("Hub token", "broken", f"from {source}: {error.what}", error.fix)
        return
    yield Finding("Hub token", "ok", f"from {source}: {_rights(who)}")


def _rights(who: Mapping[str, object]) -> str:
    """Whose it is and what it may, as the Hub says it."""
    auth = who.get("auth")
    token = auth.get("accessToken", {}) if isinstance(auth, dict) else {}
    role = str(token.get("role", "unknown"))
    may = {"write": "may write", "read": "may only read"}.get(role, role)
    scoped = token.get("fineGrained", {}).get("scoped", []) if role == "fineGrained" else []
    grants = [f"{scope['entity']['name']} ({', '.join(scope['permissions'])})" for scope in scoped]
    return f"{who.get('name')} {may}" + (f": {'; '.join(grants)}" if grants else "")


def _services() -> Iterator[Finding]:
    for name, use, where in (
        ("RUNPOD_API_KEY", "engine: runpod", "https://www.runpod.io/console/user/settings"),
        ("GITHUB_TOKEN", "publish.gist", "https://github.com/settings/tokens"),
    ):
        if os.environ.get(name):
            yield Finding(name, "ok", "is set", command="")
        else:
            yield Finding(name, "missing", f"Only {use} needs it.", f"export {name}=…  (from {where})")
