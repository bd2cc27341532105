"""Configs that nobody should write: hypothesis changes valid ones; each is planned, or refused in words."""

import copy
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from llmcourse.core.command import execute
from llmcourse.core.console import Console
from llmcourse.core.errors import LlmcourseError, Problems
from llmcourse.core.planning import Request
from llmcourse.family_tree import request as tree
from llmcourse.run import command as pipelines
from torture.ground import Ground
from torture.jobs import Job
from torture.oddities import ODD, WHOLE
from torture.running import Ended
from torture.tally import Tally

FUZZ = "Fuzzed configs"
ABOUT = {
    FUZZ: (
        "Valid configs of local models with keys, types, numbers, text, nesting, anchors, tags, encodings "
        "and overrides changed by hypothesis, planned in this process as `--dry-run` does, and one in "
        "twenty through the program itself: exit 0, 2, 3 or 4, both sentences, no traceback, nothing "
        "written."
    ),
}
_CODES = (0, 2, 3, 4)
_EVERY = 20  # so many are tried in this process for one that is a process of its own


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a config are, the whole of it left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*before, key)
        yield from _paths(inner, (*before, key))


@st.composite
def _changed(draw: st.DrawFn, valid: tuple[dict[str, Any], ...], keys: tuple[str, ...]) -> str:
    """A valid config with up to three changes, as YAML that is JSON, or with what only YAML has."""
    config = copy.deepcopy(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 3))):
        paths = list(_paths(config))
        if not paths:
            break
        path = draw(st.sampled_from(paths))
        holder: Any = config
        for key in path[:-1]:
            holder = holder[key]
        action = draw(st.sampled_from(["replace", "replace", "remove", "rename", "add", "nest"]))
        if action == "replace":
            holder[path[-1]] = draw(ODD)
        elif action == "remove":
            del holder[path[-1]]
        elif action == "rename" and isinstance(holder, dict):
            holder[draw(st.text(min_size=1, max_size=12))] = holder.pop(path[-1])
        elif action == "add":
            config[draw(st.sampled_from(keys))] = draw(ODD)
        else:
            value = holder[path[-1]]
            for _ in range(draw(st.integers(1, 60))):
                value = [value]
            holder[path[-1]] = value
    return json.dumps(config, ensure_ascii=draw(st.booleans()))


def _configs(job: Job, ground: Ground) -> st.SearchStrategy[bytes]:
    valid, keys = _valid(job, ground)
    changed = _changed(valid, keys).map(lambda text: text.encode("utf-8", "surrogatepass"))
    return st.one_of(changed, changed, changed, changed, st.sampled_from(WHOLE), _cut(changed))


@st.composite
def _cut(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Torn, or with a byte of it changed."""
    content = draw(whole)
    at = draw(st.integers(0, len(content)))
    return content[:at] + (
        b"" if draw(st.booleans()) else bytes([draw(st.integers(0, 255))]) + content[at + 1 :]
    )


def _valid(job: Job, ground: Ground) -> tuple[tuple[dict[str, Any], ...], tuple[str, ...]]:
    """Its job's config on local models, one with all that is optional, and the keys there are."""
    from importlib import import_module

    config = import_module(f"llmcourse.{job.command.replace('-', '_')}.config").Config
    local = _local(job.settings(ground), ground)
    keys = tuple(config.model_fields)
    more = {key: config.model_fields[key].get_default(call_default_factory=True) for key in keys}
    plain = {
        key: value for key, value in more.items() if isinstance(value, (str, int, float, bool, list, dict))
    }
    rich = {**plain, **local, "hub": {"repo": "alice/x", "private": True}, "card": {"title": "T"}}
    return (local, json.loads(json.dumps(rich, default=str))), keys


def _local(value: Any, ground: Ground) -> Any:
    """The same with folders in place of the Hub's names, so that nothing is asked of a network."""
    if isinstance(value, dict):
        return {key: _local(inner, ground) for key, inner in value.items()}
    if isinstance(value, list):
        return [_local(inner, ground) for inner in value]
    return str(ground.family.base) if isinstance(value, str) and value.count("/") == 1 else value


def _overrides(keys: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    word = st.one_of(
        st.builds(lambda key, value: f"{key}={value}", st.sampled_from(keys), st.text(max_size=20)),
        st.builds(lambda key, value: f"{key}={value!r}", st.sampled_from(keys), ODD),
        st.sampled_from(
            ["=", "a", "a=", "=b", "a.b.c.d=1", "model.0=x", "a[0]=1", ".=1", "..=..", "model=[", "x={"]
        ),
        st.text(max_size=15),
    )
    clean = word.map(lambda text: text.replace("\x00", "").encode("utf-8", "replace").decode())
    return st.lists(clean, max_size=2).map(tuple)


def fuzz(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    """Plan `tries` configs; hypothesis draws them, and all of them are tried whatever is found."""
    tally = Tally(job.command, FUZZ)
    place = ground.place(job)
    before = _listed(place.folder)
    _, keys = _valid(job, ground)

    @seed(chance.getrandbits(64))
    @settings(
        max_examples=tries,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_configs(job, ground), _overrides(keys))
    def one(config: bytes, overrides: tuple[str, ...]) -> None:
        (place.folder / "fuzzed.yaml").write_bytes(config)
        is_process = tally.tries % _EVERY == _EVERY - 1 and not job.is_stand_in
        if is_process:
            mode = ("-n", "--json") if job.can_plan else ("--offline",)
            arguments = ("-m", "llmcourse", job.command, "fuzzed.yaml", *mode, "-o", "out")
            ended = place.run((*arguments, "--", *overrides))
        else:
            ended = _here(place.folder, lambda: _planned(job, overrides))
        ended = _with_checks(ended)
        tally.see(ended, _CODES, f"{config[:300]!r} {overrides}")
        extra = [name for name in _listed(place.folder) if name not in before and name != "fuzzed.yaml"]
        made = [name for name in extra if job.can_plan or ended.code != 0]
        tally.left(made, f"{config[:200]!r} {overrides}")
        for name in extra:
            _delete(place.folder / name)

    with _environment(place.environment({"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"})):
        one()
    return tally


def _planned(job: Job, overrides: tuple[str, ...]) -> int:
    console = Console(is_json=True, progress="none")
    try:
        if job.has_five_steps:
            return execute(
                job.command, Request("fuzzed.yaml", overrides, output="out", dry_run=True), console
            )
        if job.command == "run":
            return pipelines.execute(
                pipelines.Request("fuzzed.yaml", overrides, output="out", dry_run=True), console
            )
        tree.read(tree.Request(("fuzzed.yaml", *overrides), {"output": "out"}, is_offline=True))
    except LlmcourseError as error:
        console.error(error)
        told = error.errors if isinstance(error, Problems) else (error,)
        assert all(part.what.strip() and part.fix.strip() for part in told), "a sentence is missing"
        return error.exit_code
    return 0


def _with_checks(ended: Ended) -> Ended:
    """A plan that cannot work says so on stdout: its failed checks are the sentences."""
    if ended.code not in (2, 3, 4) or "error: " in ended.stderr or not ended.stdout.startswith("{"):
        return ended
    plan = json.loads(ended.stdout)
    checks = [*plan.get("checks", ()), *(check for step in plan.get("steps", ()) if isinstance(step, dict)
                                         for check in step["checks"])]  # fmt: skip
    failed = [check for check in checks if check["status"] == "fail"]
    told = [
        f"error: {check['what']} fix: {check['fix']}" for check in failed if check["what"] and check["fix"]
    ]
    return Ended(ended.code, ended.stdout, "\n".join(told) if len(told) == len(failed) else "")


def _here(folder: Path, act: Callable[[], int]) -> Ended:
    """Do it in this process; what is no error of ours is a traceback, as in the program."""
    import traceback

    out, err = io.StringIO(), io.StringIO()
    back = Path.cwd()
    os.chdir(folder)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = act()
    except Exception:
        return Ended(1, out.getvalue(), err.getvalue() + traceback.format_exc())
    finally:
        os.chdir(back)
    return Ended(code, out.getvalue(), err.getvalue())


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _listed(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def _delete(path: Path) -> None:
    if path.is_file() or path.is_symlink():
        path.unlink()
