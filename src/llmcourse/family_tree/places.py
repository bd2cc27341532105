"""Where each format goes: stdout, a file, or a file of a folder."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmcourse.core.errors import ConfigError, PlanError
from llmcourse.core.machine import existing_parent
from llmcourse.core.model import expanded
from llmcourse.family_tree.config import reference
from llmcourse.family_tree.formats import FORMATS, format_of


@dataclass(frozen=True)
class Place:
    """A format, and the file that gets it; None is stdout."""

    format: str
    path: Path | None = None


def places(formats: Sequence[str], output: str | None, models: Sequence[str]) -> list[Place]:
    """Where what was asked for goes. Looks at the file system and writes nothing.

    Raises:
        ConfigError: several formats and no folder, a file whose ending is no format's or another one's,
            a text that would be lost.
        PlanError: nothing can be written there.
    """
    if output is None:
        if len(formats) > 1:
            raise ConfigError(
                f"{len(formats)} formats do not fit on stdout.",
                "Give a folder for them: -o FOLDER.",
                "output",
            )
        return [Place(formats[0] if formats else "tree")]
    path = expanded(output)
    parent = path if path.is_dir() else existing_parent(path.parent)
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise PlanError(
            f"{parent} is no folder you may write to.", "Choose a place of yours with -o.", "output"
        )
    if _is_folder(output, path, formats):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{output} is a file, and no folder.", "Give a folder with -o.", "output")
        names = formats or ("tree",)
        return [Place(name, path / f"{_name(models)}{FORMATS[name]}") for name in names]
    return [Place(_format_of(path, formats), _harmless(path))]


def _is_folder(output: str, path: Path, formats: Sequence[str]) -> bool:
    if path.is_dir() or output.endswith("/") or len(formats) > 1:
        return True
    return not path.suffix and not path.is_file()


def _format_of(path: Path, formats: Sequence[str]) -> str:
    if not formats:
        return format_of(path)
    try:
        by_ending = format_of(path)
    except ConfigError:
        return formats[0]  # an ending of somebody else's: what was said is what is meant
    if by_ending != formats[0]:
        raise ConfigError(
            f"{path.name} ends as {by_ending} does, and the format is to be {formats[0]}.",
            f"Name it {path.with_suffix(FORMATS[formats[0]]).name}, or leave the format out.",
            "output",
        )
    return by_ending


def _harmless(path: Path) -> Path:
    if path.suffix.lower() == ".md" and path.exists():
        raise ConfigError(
            f"{path} is a text that would be lost.",
            "Give another name, and paste the diagram into it.",
            "output",
        )
    return path


def _name(models: Sequence[str]) -> str:
    """Of the first model, without what shells and URLs trip over."""
    ref = reference(models[0])
    last = ref.place.name if ref.is_local else ref.path.rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^\w.-]+", "-", last).strip("-.") or "family"
    return name if len(models) == 1 else f"{name}-and-{len(models) - 1}-more"
