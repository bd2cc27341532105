"""The data sets of evaluations, as the Hub tells of them: may they be read, and how large are they?"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from llmcourse.core.errors import PlanError
from llmcourse.core.hub.client import HUB_ERRORS, api, is_offline, retrying, status_of, translated
from llmcourse.core.hub.datasets import DATA_FILE, configs_of_card

_AT_ONCE = 8
_REFUSED = (401, 403, 404)


@dataclass(frozen=True)
class TaskData:
    """What a data set has.  `configs` has the splits of each config that its card names, and is empty where
    the card names none; `missing_bytes` are those of the wanted configs' files that are not in the cache.
    """

    configs: Mapping[str, tuple[str, ...]]
    default: str | None
    has_script: bool
    missing_bytes: int


def look_at(wanted: Mapping[str, frozenset[str | None]]) -> dict[str, TaskData | PlanError]:
    """Each data set, by its name, with the configs that are wanted of it (None for its default one).

    What cannot be read has the reason: missing, gated, private.  Where the Hub cannot be reached, or offline
    mode is set, there is nothing here: what is in the cache can be read all the same.
    """
    if is_offline():
        return {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip(wanted, pool.map(lambda name: _look(name, wanted[name]), wanted), strict=True))
    return {name: data for name, data in found.items() if data is not None}


def _look(name: str, configs: frozenset[str | None]) -> TaskData | PlanError | None:
    try:
        with translated(f"datasets/{name}"):
            return _read(name, configs)
    except PlanError as error:
        cause = error.__cause__
        is_refused = isinstance(cause, GatedRepoError | RepositoryNotFoundError) or (
            isinstance(cause, HUB_ERRORS) and status_of(cause) in _REFUSED
        )
        return error if is_refused else None


def _read(name: str, configs: frozenset[str | None]) -> TaskData:
    info = retrying(lambda: api().dataset_info(name, files_metadata=True))
    if info.gated:
        retrying(lambda: api().auth_check(name, repo_type="dataset"))
    card: Mapping[str, Any] = dict(vars(info.card_data)) if info.card_data else {}
    known, default = configs_of_card(card.get("configs"))
    files = {item.rfilename: item.size or 0 for item in info.siblings or []}
    patterns = _patterns(card.get("configs"))
    read = [path for path in files if any(_is_of(path, config, default, patterns) for config in configs)]
    missing = [
        path
        for path in read
        if not isinstance(
            try_to_load_from_cache(name, path, revision=info.sha or "main", repo_type="dataset"), str
        )
    ]
    has_script = f"{name.rpartition('/')[2]}.py" in files
    return TaskData(known, default, has_script, sum(files[path] for path in missing))


def _patterns(configs: Any) -> dict[str, list[str]]:
    """Which files each config is made of, as its card says."""
    items = [item for item in configs if isinstance(item, dict)] if isinstance(configs, list) else []
    return {
        str(item.get("config_name", "default")): list(_globs(item.get("data_files") or item.get("data_dir")))
        for item in items
    }


def _globs(stated: Any) -> list[str]:
    if isinstance(stated, str):
        return [stated, f"{stated.rstrip('/')}/*"]
    if isinstance(stated, dict):
        return [
            glob
            for value in (stated.values() if "path" not in stated else [stated["path"]])
            for glob in _globs(value)
        ]
    return [glob for item in stated for glob in _globs(item)] if isinstance(stated, list) else []


def _is_of(path: str, config: str | None, default: str | None, patterns: Mapping[str, list[str]]) -> bool:
    """Whether this file is read for the config; by the names of folders where the card tells nothing."""
    name = config or default or (next(iter(patterns)) if len(patterns) == 1 else "default")
    if patterns.get(name):
        return any(fnmatch(path, glob) for glob in patterns[name])
    return DATA_FILE.search(path) is not None and (config in (None, "default") or str(config) in path)
