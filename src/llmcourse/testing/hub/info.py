"""What the Hub derives from a repository: tags, library, task, base models, children, parameters.

Only the derivations that the project looks at; the Hub's are many more.
"""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from llmcourse.testing.hub import cards
from llmcourse.testing.hub.blobs import lfs_pointer
from llmcourse.testing.hub.repos import Commit, Repo
from llmcourse.testing.hub.state import HubState


@dataclass(frozen=True)
class Facts:
    """A repository at one commit, as its card, its `config.json` and its file names describe it."""

    repo: Repo
    commit: Commit
    card: dict[str, Any]
    config: dict[str, Any]

    @property
    def paths(self) -> Collection[str]:
        return self.commit.tree.keys()

    @cached_property
    def base_models(self) -> list[str]:
        return cards.base_models(self.card)

    @cached_property
    def relation(self) -> cards.Relation | None:
        return cards.relation(self.card, self.paths, self.config)

    @cached_property
    def tags(self) -> list[str]:
        """Explicit and derived, in the Hub's spelling."""
        return _tags(self)

    @property
    def library(self) -> str | None:
        if isinstance(self.card.get("library_name"), str):
            return str(self.card["library_name"])
        if "adapter_config.json" in self.paths:
            return "peft"
        return "transformers" if self.config else None

    @property
    def pipeline(self) -> str | None:
        if isinstance(self.card.get("pipeline_tag"), str):
            return str(self.card["pipeline_tag"])
        names = self.config.get("architectures") or []
        return "text-generation" if any(str(name).endswith("ForCausalLM") for name in names) else None


def facts(state: HubState, repo: Repo, commit: Commit) -> Facts:
    """Read a repository's card and configuration at a commit; that is done once, a commit never changes."""
    known = state.facts.get(commit.oid)
    if known is None:
        card = cards.lenient_front_matter(state.text(commit, "README.md"))
        known = Facts(repo, commit, card, _config(state.text(commit, "config.json")))
        state.facts[commit.oid] = known
    return known


def _config(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        # A broken config.json is a state users produce; the Hub then knows no configuration.
        return {}
    return value if isinstance(value, dict) else {}


def _tags(known: Facts) -> list[str]:
    card, found = known.card, []
    found += [known.library] if known.library else []
    formats = (("safetensors", ".safetensors"), ("gguf", ".gguf"))
    found += [tag for tag, suffix in formats if any(path.endswith(suffix) for path in known.paths)]
    found += [str(known.config["model_type"])] if "model_type" in known.config else []
    found += [known.pipeline] if known.pipeline else []
    found += [tag for tag in cards.as_list(card.get("tags")) if isinstance(tag, str)]
    found += [str(language) for language in cards.as_list(card.get("language"))]
    found += [f"dataset:{dataset}" for dataset in cards.as_list(card.get("datasets"))]
    models = known.base_models
    found += [f"base_model:{model}" for model in models]
    found += [f"base_model:{known.relation}:{model}" for model in models]
    found += [f"license:{item}" for item in cards.as_list(card.get("license"))]
    return list(dict.fromkeys([*found, "region:us"]))


def base_models(state: HubState, known: Facts) -> dict[str, Any] | None:
    """The `baseModels` of a model: a relation and the models, or None for a root."""
    models = known.base_models
    if not models:
        return None
    repos = [(model, state.repos.get("model", model)) for model in models]
    return {
        "relation": known.relation,
        "models": [{"_id": repo.settings.uid if repo else "0" * 24, "id": model} for model, repo in repos],
    }


def children_count(state: HubState, repo: Repo) -> dict[str, int]:
    """How many public models name this one as a base model, by relation."""
    counts: Counter[str] = Counter()
    for other in state.repos.all("model"):
        if other.settings.is_private:
            continue
        known = facts(state, other, other.head)
        if repo.id in known.base_models and known.relation is not None:
            counts[known.relation] += 1
    return {relation: counts[relation] for relation in cards.RELATIONS}


def siblings(known: Facts, with_blobs: bool) -> list[dict[str, Any]]:
    """The files of a repository; `with_blobs` adds sizes and hashes."""
    found = []
    for path, entry in sorted(known.commit.tree.items()):
        item: dict[str, Any] = {"rfilename": path}
        if with_blobs:
            item |= {"size": entry.size, "blobId": entry.oid}
        if with_blobs and entry.is_lfs:
            pointer_size = len(lfs_pointer(entry.sha256, entry.size))
            item["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": pointer_size}
        found.append(item)
    return found


def used_storage(repo: Repo) -> int:
    """Bytes of all distinct contents in the history of main."""
    sizes = {
        entry.sha256: entry.size for commit in repo.history(repo.head.oid) for entry in commit.tree.values()
    }
    return sum(sizes.values())


def safetensors_summary(state: HubState, commit: Commit) -> dict[str, Any] | None:
    """Parameters by dtype over all safetensors files, or None without any."""
    entries = [entry for path, entry in commit.tree.items() if path.endswith(".safetensors")]
    if not entries:
        return None
    parameters: Counter[str] = Counter()
    for entry in entries:
        parameters.update(_parameters(state.content_path(entry.sha256)))
    return {"parameters": dict(parameters), "total": parameters.total()}


def _parameters(path: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    with path.open("rb") as source:
        length = int.from_bytes(source.read(8), "little")
        raw = source.read(min(length, path.stat().st_size))
    try:
        header = json.loads(raw)
    except ValueError:
        # Tests store made-up bytes under weight names; such a file counts no parameters.
        return counts
    for name, tensor in header.items():
        if name != "__metadata__":
            counts[tensor["dtype"]] += prod(tensor["shape"])
    return counts
