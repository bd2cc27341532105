"""What was typed becomes a Config: models or a YAML file, options that win over it, what a pipe brings."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmcourse.core.config import load, validate
from llmcourse.core.documents import Document, Location
from llmcourse.core.errors import ConfigError
from llmcourse.family_tree.config import Config

_OPTIONS = {"formats": "--format", "colour_by": "--colour-by"}  # where the key is not the option's name
_STDIN = _STDOUT = "-"


@dataclass(frozen=True)
class Request:
    """The command line; `options` has the keys of the config, and only what was given."""

    words: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    push: bool = False
    no_push: bool = False
    pull_request: bool = False
    is_offline: bool = False
    marks: Mapping[Location, str] = field(default_factory=dict)  # where options stand that nobody typed


def read(request: Request) -> Config:
    """The config that the request amounts to.

    Raises:
        ConfigError: options that exclude each other, an unreadable YAML, nothing in the pipe.
        Problems: several values that are wrong.
    """
    _refuse_contradictions(request)
    first, *others = request.words
    if _is_config_file(first):
        data = load(Config, first, others).model_dump(exclude_unset=True)
    else:
        data = {"model": [_model(word) for word in request.words]}
    data |= request.options
    if request.no_push:
        data["hub"] = None
    elif request.push or request.pull_request:
        data["hub"] = (data.get("hub") or {}) | ({"pull_request": True} if request.pull_request else {})
    data["model"] = list(dict.fromkeys(_with_piped(data["model"])))
    _refuse_others(data["model"])
    if data.get("output") == _STDOUT:
        data["output"] = None
    marks: dict[Location, str] = {(key,): _OPTIONS.get(key, f"--{key}") for key in request.options}
    marks |= request.marks
    config = validate(Config, Document(data, marks))
    if config.hub and request.is_offline:
        raise ConfigError(
            "A card cannot be changed with --offline.", "Leave --offline out, or use --no-push.", "--offline"
        )
    return config


def _refuse_contradictions(request: Request) -> None:
    if request.no_push and (request.push or request.pull_request):
        option = "--push" if request.push else "--pull-request"
        raise ConfigError(f"{option} and --no-push exclude each other.", "Keep one of them.")
    if request.options.get("output") == "":
        raise ConfigError("-o needs a value.", "Leave the option out, or name a place.")


def _is_config_file(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) and not word.startswith("hf://") and not Path(word).is_dir()


def _model(word: str) -> str:
    if _is_config_file(word):
        raise ConfigError(
            f"{word!r} is a YAML file after a model.", "Give the file first, and no model beside it.", word
        )
    key, sign, value = word.partition("=")
    if sign and key.isidentifier() and not Path(word).exists():
        raise ConfigError(
            f"{word!r} overrides a YAML file, and there is none.",
            f"Name the file first, or use an option, as {_OPTIONS.get(key, f'--{key}')} {value}."
            if key in Config.model_fields
            else "Name the file first.",
            word,
        )
    return word


def _refuse_others(models: Iterable[str]) -> None:
    for model in models:
        if model.startswith(("hf://datasets/", "hf://spaces/")):
            raise ConfigError(
                f"{model} is no model.", "Give models; data sets and spaces have no family tree.", model
            )


def _with_piped(models: Iterable[str]) -> Iterator[str]:
    for model in models:
        if model == _STDIN:
            yield from piped_references(sys.stdin.read())
        else:
            yield model


def piped_references(text: str) -> list[str]:
    """What commands before us in a pipe printed: references, one a line, or the document of --json.

    Raises:
        ConfigError: there is nothing that names a model.
    """
    text = text.strip()
    if text.startswith("{"):
        text = _reference_of_document(text)
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise ConfigError(
            "No model came through the pipe.",
            "Let the command before print its result alone, with -q; if it failed, mend that first.",
            _STDIN,
        )
    return found


def _reference_of_document(text: str) -> str:
    try:
        return str(json.loads(text)["reference"])
    except (ValueError, KeyError, TypeError):
        return ""  # the document of a command that failed
