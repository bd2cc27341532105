"""Data sets on the Hub: what a plan must know of them, without reading a row."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.core.hub.client import NETWORK_ERRORS as _NETWORK_ERRORS
from llmcourse.core.hub.client import api, first_line, is_offline, retrying, status_of, translated
from llmcourse.core.plan import DatasetFacts

# What the data set library reads as rows of text, also compressed.
DATA_FILE = re.compile(r"\.(jsonl?|parquet|csv|tsv|txt|arrow)(\.(gz|zst|bz2|xz))?$")
# Which split a file is of, by words in its path; source: datasets 5.2, data_files.py (SPLIT_KEYWORDS).
_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SHARD = re.compile(r"^data/([^/]+?)-\d{5}-of-\d{5}[^/]*$")


def read_dataset(name: str) -> DatasetFacts:
    """Existence, rights, commit, configs and splits of `user/name` or `user/name@revision`.

    Raises:
        PlanError: missing, gated, private, unknown revision, nothing that can be read, or no network.
    """
    repo, _, revision = name.partition("@")
    if is_offline():
        raise PlanError(
            f"{name} is a data set of the Hub, and HF_HUB_OFFLINE is set.",
            "Unset it, or give a text of this machine instead.",
            where=name,
        )
    with translated(f"datasets/{name}", reads="dataset"):  # as in the address of its page
        # Not its files: allenai/c4 has seventy thousand.
        asked: Any = ["cardData", "gated", "sha"]
        info = retrying(lambda: api().dataset_info(repo, revision=revision or None, expand=asked))
        if info.gated:
            retrying(lambda: api().auth_check(repo, repo_type="dataset"))
        card: Mapping[str, Any] = dict(vars(info.card_data)) if info.card_data else {}
        configs, default = configs_of_card(card.get("configs"))
        if not configs:
            only: Any = ["siblings"]
            listed = retrying(lambda: api().dataset_info(repo, revision=info.sha, expand=only))
            configs = {"default": _splits_of([item.rfilename for item in listed.siblings or []], name)}
        assert info.sha is not None, "it was asked for"
        return DatasetFacts(info.id, info.sha, configs, default)


def configs_of_card(configs: Any) -> tuple[dict[str, tuple[str, ...]], str | None]:
    """Configs with their splits, and the one that is marked, as the head of the card names them."""
    items = [item for item in configs if isinstance(item, dict)] if isinstance(configs, list) else []
    found = {str(item.get("config_name", "default")): item for item in items}
    marked = [name for name, item in found.items() if item.get("default") is True]
    return {name: _of_data_files(item.get("data_files")) for name, item in found.items()}, next(
        iter(marked), None
    )


def _of_data_files(data_files: Any) -> tuple[str, ...]:
    """Splits of one config; none where it names only a folder, of which nothing is known here."""
    if isinstance(data_files, dict):
        return tuple(map(str, data_files))
    entries = data_files if isinstance(data_files, list) else [data_files] if data_files else []
    named = [str(entry["split"]) for entry in entries if isinstance(entry, dict) and "split" in entry]
    return tuple(dict.fromkeys(named)) or (("train",) if entries else ())


def _splits_of(paths: Iterable[str], name: str) -> tuple[str, ...]:
    """Splits by the names of files, where the card tells nothing."""
    data = [path for path in paths if DATA_FILE.search(path)]
    if not data:
        raise PlanError(
            f"{name} holds no files of rows (.parquet, .jsonl, .csv, .txt).",
            "Use another data set; those that are made by a script of their own are not run.",
            where=name,
        )
    shards = [match[1] for path in data if (match := _SHARD.match(path))]
    words = [split for path in data for split in _SPLIT_WORDS if _has_word(path, _SPLIT_WORDS[split])]
    return tuple(dict.fromkeys([*shards, *words])) or ("train",)


def _has_word(path: str, words: Iterable[str]) -> bool:
    return re.search(rf"(?:^|[-._ 0-9/])(?:{'|'.join(words)})(?:$|[-._ 0-9/])", path) is not None


def stream_error(error: Exception, name: str) -> LibraryError:
    """What stopped the reading of a data set, in our words: the network, the Hub, or the data themselves."""
    if status_of(error) is not None or isinstance(error, _NETWORK_ERRORS):
        try:
            with translated(f"datasets/{name}", LibraryError):
                raise error
        except LibraryError as told:
            return told
    return LibraryError(
        f"The data set {name} cannot be read ({type(error).__name__}: {first_line(error)}).",
        "Look at its page on the Hub, and set name, split or column; or use another one.",
        where=name,
    )
