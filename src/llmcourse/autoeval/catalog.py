"""Which tasks lm-eval has, and where: looked up once for each of its versions.

lm-eval's own TaskManager reads each of its fourteen thousand task files at every start, which takes seconds.
With the catalog it is given only the folders that the wanted tasks lie in.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmcourse.autoeval.config import LENGTHS
from llmcourse.core.cache import cache_folder
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json

OWN_TASKS = Path(__file__).parent / "tasks"

Entry = dict[str, Any]  # kind, folder, members, metrics, filters, fewshot, asks, dataset
FORM = 3  # of an entry: what was kept in another form is looked up again


@cache
def catalog() -> Mapping[str, Entry]:
    """What is known of each task, group and tag of the installed lm-eval, by name.

    `kind` is task, py_task, group or tag; `folder` is where it lies, below lm-eval's tasks or absolute;
    `members` are names that a group or a tag refers to; `metrics` are those of its file, None where only its
    code knows them; `filters` are what answers pass through before they are scored, "none" where they are not
    changed; `fewshot` is its own number of examples; `asks` is what it asks of a model, None where only its
    code knows that: {"for": lm-eval's output type} and, where the file says them, max_gen_toks and do_sample;
    `dataset` is {"path", "name", "splits"}, with `kwargs` where it has any, None where its code brings the
    documents.
    """
    return prepared(Progress(lambda event: None)) | _looked_up(OWN_TASKS)


def prepared(progress: Progress) -> dict[str, Entry]:
    """Those of lm-eval's own tasks, from the cache where this version was looked up before."""
    place = cache_folder() / "lm-eval" / f"tasks-{FORM}-{version('lm_eval')}.json"
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None  # not looked up yet, or torn by a kill
    if isinstance(found, dict):
        return found
    looked_up = _of_lm_eval(progress)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, looked_up)
    return looked_up


def described(names: Iterable[str]) -> dict[str, Any]:
    """`tasks`: the entry of each name, None where there is none; `near`: for those, names like it; `leaves`:
    by each name the entries of the tasks that it is made of, itself where it is one.
    """
    entries = catalog()
    found = {name: entries.get(name) for name in names}
    absent = [name for name, entry in found.items() if entry is None]
    return {
        "tasks": found,
        "leaves": {name: _leaves(name, entries) for name, entry in found.items() if entry},
        "near": {name: difflib.get_close_matches(name, entries, 3, 0.7) for name in absent},
    }


def _leaves(name: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The tasks below a name, by their names."""
    waiting, seen, found = [name], set[str](), dict[str, Entry]()
    while waiting:
        name = waiting.pop(0)
        if name in seen or name not in entries:
            continue
        seen.add(name)
        if entries[name]["kind"] in ("task", "py_task"):
            found[name] = entries[name]
        waiting += entries[name]["members"]
    return found


def folders_of(names: Iterable[str]) -> list[str]:
    """Folders of task files that have these tasks and all that they refer to, ours last.

    Raises:
        KeyError: there is no task of such a name.
    """
    entries, waiting, seen = catalog(), list(names), set[str]()
    folders: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        entry = entries[name]
        folders |= {entry["folder"]} if entry["folder"] else set()
        waiting += [member for member in entry["members"] if member in entries]
    # Of two files of one name lm-eval takes the first in a folder, but of two folders that of the last.
    own = str(OWN_TASKS)
    return [*(str(_root() / folder) for folder in sorted(folders - {own}, reverse=True)), own]


def _root() -> Path:
    """Where the tasks of lm-eval lie, without importing it."""
    spec = find_spec("lm_eval")
    assert spec and spec.submodule_search_locations, "the plan refuses a machine without lm-eval"
    return Path(spec.submodule_search_locations[0]) / "tasks"


def _of_lm_eval(progress: Progress) -> dict[str, Entry]:
    """Of all its tasks, folder by folder: seconds, on a slow disk minutes, hence a step with a total."""
    folders = sorted(path for path in _root().iterdir() if path.is_dir() and path.name != "__pycache__")
    found: dict[str, Entry] = {}
    with progress.step("look tasks up (once for each version of lm-eval)", len(folders), "folders") as step:
        for folder in folders:
            for name, entry in _looked_up(folder).items():
                first = found.setdefault(name, entry)  # of two files of one name lm-eval takes the first
                if first["kind"] == "tag" and first is not entry:
                    first["members"] = sorted({*first["members"], *entry["members"]})
            step.advance()
    return found


def _looked_up(folder: Path) -> dict[str, Entry]:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=folder, include_defaults=False)
    return {name: _entry(entry, folder) for name, entry in manager.task_index.items()}


def _entry(entry: Any, folder: Path) -> Entry:
    config = entry.cfg or {}
    kind = entry.kind.name.lower()
    listed = config.get("aggregate_metric_list" if kind == "group" else "metric_list")
    listed = [listed] if isinstance(listed, dict) else listed
    return {
        "kind": kind,
        "folder": _folder_of(entry.yaml_path, folder),
        "members": [*_members(config.get("task")), *sorted(entry.tags if kind == "tag" else ())],
        "metrics": [str(metric["metric"]) for metric in listed] if listed and kind != "py_task" else None,
        "filters": _filters(config, kind),
        "fewshot": config.get("num_fewshot"),
        "asks": _asks(config, kind),
        "dataset": _dataset(config, kind),
    }


def _asks(config: Any, kind: str) -> dict[str, Any] | None:
    """The output type, and how long an answer may be; lm-eval's default is 256 tokens, greedily."""
    if kind != "task":
        return None
    arguments = config.get("generation_kwargs") or {}
    length = next((arguments[name] for name in LENGTHS if arguments.get(name)), None)
    is_drawn = bool(arguments.get("do_sample", float(arguments.get("temperature") or 0) > 0))
    found: dict[str, Any] = {"for": config.get("output_type", "generate_until")}
    return found | ({"max_gen_toks": length} if length else {}) | ({"do_sample": True} if is_drawn else {})


def _dataset(config: Any, kind: str) -> dict[str, Any] | None:
    """Where the documents of a task are from, and which of its splits are read."""
    path = config.get("dataset_path")
    if kind != "task" or not isinstance(path, str) or config.get("custom_dataset"):
        return None
    splits = [
        config.get(name) for name in ("test_split", "validation_split", "fewshot_split", "training_split")
    ]
    found = {"path": path, "name": config.get("dataset_name"), "splits": [name for name in splits if name]}
    return found | ({"kwargs": config["dataset_kwargs"]} if config.get("dataset_kwargs") else {})


def _filters(config: Any, kind: str) -> list[str] | None:
    """Names of the filters of a task, or of those a group averages; None where only code knows them."""
    if kind == "py_task":
        return None
    if kind != "group":
        return [str(item["name"]) for item in config.get("filter_list") or ()] or ["none"]
    listed = config.get("aggregate_metric_list") or []
    named = [
        metric.get("filter_list") or "none" for metric in ([listed] if isinstance(listed, dict) else listed)
    ]
    return list(dict.fromkeys(name for item in named for name in ([item] if isinstance(item, str) else item)))


def _folder_of(path: Path | None, folder: Path) -> str:
    """The folder directly below lm-eval's tasks, which holds what its files include; none for a tag.

    Its name only, since what is kept of one installation is read by others.
    """
    if path is None:
        return ""
    return folder.name if folder.parent == _root() else str(folder)


def _members(task: Any) -> list[str]:
    """Names in a group's list, also in groups that are written inside it."""
    if not isinstance(task, list):
        return []
    found: list[str] = []
    for item in task:
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            found += [str(item[key]) for key in ("task", "group") if isinstance(item.get(key), str)]
            found += _members(item.get("task"))
    return found
