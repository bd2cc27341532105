"""What a merge does with every tensor of its models, told before it: what is left out, by name and size."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any

from llmcourse.core.console import human_bytes
from llmcourse.core.layers import of_text
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, fail, ok, warn
from llmcourse.merge.architectures import is_buffer, takes_all_as_named
from llmcourse.merge.layers import LAYER, Models, facts_of, layer_count
from llmcourse.merge.recipe import Moe, Recipe
from llmcourse.merge.result_config import Shapes, has_head, is_mtp, settled

_MANY = 4  # groups of names that are listed


def asks(stages: Iterable[Recipe | Moe], models: Models) -> bool:
    """Whether only mergekit's planner can tell what becomes of the tensors of these stages."""
    return any(isinstance(stage, Recipe) and not takes_all_as_named(stage, models) for stage in stages)


def account_checks(recipe: Recipe, models: Models, account: Mapping[str, Any]) -> Iterator[Check]:
    """The planner's account of a stage, for people."""
    names = list(dict.fromkeys(reference.model for reference in recipe.references()))
    written = {name: tuple(shape) for name, shape in account["written"].items()}
    if account["unequal"]:
        name = account["unequal"][0]
        yield fail("shapes", f"The models have {name} in different shapes.", "Merge models of one size.")
    common = sum(prod(shape) for name, shape in written.items() if name not in account["partial"])
    largest = max(sum(prod(tensor.shape) for tensor in models[name].tensors.values()) for name in names)
    if not written or (not recipe.output_slices() and 2 * common < largest):
        listed = " and ".join(names)
        shared = set.intersection(*(set(models[name].tensors) for name in names))
        if 2 * sum(prod(models[names[0]].tensors[name].shape) for name in shared) < largest:
            yield fail(
                "tensors",
                f"Only {len(shared)} tensors are common to {listed}.",
                "Merge models whose tensors have the same names: of one architecture, saved in one way.",
            )
            return
        count = len(written) - len(account["partial"])
        yield fail(
            "tensors",
            f"mergekit finds a place for {count} of the {len(shared)} tensors common to {listed}.",
            "Merge other models; mergekit cannot merge these whole.",
        )
        return
    for name, absent in account["absent"].items():
        yield fail(
            "tensors",
            f"{name} has no {_listed(absent)}, which mergekit needs of every model.",
            "Merge models whose tensors have the same names: of one architecture, saved in one way.",
        )
    if account["missing"]:
        yield fail(
            "tensors",
            f"The result would lack {_listed(account['missing'])}, which its config.json promises: mergekit "
            "knows no place for them.",
            "Merge other models; mergekit cannot merge these whole.",
        )
    for name, left in account["left_out"].items():
        found = [tensor for tensor in left if not is_buffer(tensor) and _is_meant(tensor, name, recipe)]
        layers = layer_count(models[name])
        beyond = [tensor for tensor in found if is_mtp(tensor) or _layer(tensor) >= layers]
        for what, group in (
            ("the layers that predict further tokens (MTP)", beyond),
            ("weights", [tensor for tensor in found if tensor not in beyond]),
        ):
            if group:
                size = human_bytes(sum(models[name].tensors[tensor].nbytes for tensor in group))
                yield warn("tensors", f"{name} loses {what}, {size}: {_listed(group)}.")
    if account["partial"] and not account["absent"]:
        yield warn("tensors", f"Some models have no {_listed(account['partial'])}; there the others decide.")
    yield from _head_checks(names, models, written, account)
    yield ok("tensors", f"{len(written):,} tensors of all {len(names)} models are merged")
    yield from config_checks(facts_of(recipe.references()[0], models), written, is_equal=False)


def _head_checks(
    names: list[str], models: Models, written: Shapes, account: Mapping[str, Any]
) -> Iterator[Check]:
    """Where the output matrix of the result comes from, of models that have none.

    mergekit takes a model's embeddings for it where its architecture allows to tie them.
    """
    if not has_head(written) or has_head(dict.fromkeys(account["partial"], ())):
        return  # that some have none, and others decide, is said already
    for name in names:
        if not has_head(dict.fromkeys(models[name].tensors, ())):
            is_tied = any(
                part.get("tie_word_embeddings") for part in (models[name].config, of_text(models[name]))
            )
            said = "" if is_tied else ", though its config.json does not say that it is tied"
            yield warn(
                "tensors",
                f"{name} has no output matrix (lm_head){said}; its embeddings are merged in its place, and "
                "the result has one.",
            )


def _is_meant(tensor: str, model: str, recipe: Recipe) -> bool:
    """Whether a tensor is of a layer that the recipe takes, or of none; others are left out on purpose."""
    layer = LAYER.search(tensor)
    ranges = [source.layer_range for part in recipe.output_slices() for source in part.sources
              if source.model.model == model]  # fmt: skip
    return not layer or not ranges or any(start <= int(layer[1]) < end for start, end in ranges)


def _layer(tensor: str) -> int:
    found = LAYER.search(tensor)
    return int(found[1]) if found else -1


def config_checks(donor: ModelFacts, written: Shapes, is_equal: bool) -> Iterator[Check]:
    """What is put right in the config.json that the result gets from its first model."""
    changes = settled(donor.config, written, is_equal or not has_head(written))[1]
    if changes:
        yield warn("config.json", f"The result's config.json is put right: {'; '.join(changes)}.")


def _listed(names: Iterable[str]) -> str:
    """Names by what they are of, layers as one: mtp.layers.*.mlp.up_proj.weight."""
    groups = Counter(re.sub(r"\.\d+(?=\.)", ".*", name) for name in names)
    shown = [f"{name} ({count})" if count > 1 else name for name, count in groups.most_common(_MANY)]
    more = len(groups) - len(shown)
    return ", ".join(shown) + (f" and {more} more kinds" if more else "")
