"""What the shell offers when Tab is pressed; loads nothing and asks no network."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

_YAML = (".yaml", ".yml")


def configs(incomplete: str) -> list[str]:
    """YAML files, and folders on the way to them."""
    return _paths(incomplete, lambda path: path.suffix in _YAML)


def evaluations(incomplete: str) -> list[str]:
    """As `configs`, and what `autoeval` does beside evaluating."""
    return [*_starting(("status", "logs", "stop", "leaderboard"), incomplete), *configs(incomplete)]


def models(incomplete: str) -> list[str]:
    """Ids of the models in the Hub's cache, folders, and configs."""
    return [*_starting(_cached_models(), incomplete), *configs(incomplete)]


def overrides(ctx: typer.Context, incomplete: str) -> list[str]:
    """Models after `model=`; bash hands the key, the sign and the value over as three words."""
    before = list(ctx.params.get("overrides") or [])
    if before[-2:] == ["model", "="]:
        return _starting(_cached_models(), incomplete)
    if before[-1:] == ["model"] and incomplete == "=":
        return _cached_models()
    if incomplete.startswith("model="):
        return [f"model={name}" for name in _starting(_cached_models(), incomplete.removeprefix("model="))]
    return _starting(["model="], incomplete) if incomplete else []


def choices(*words: str) -> Callable[[str], list[str]]:
    """One of these."""

    def offered(incomplete: str) -> list[str]:
        return _starting(words, incomplete)

    return offered


def _starting(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _cached_models() -> list[str]:
    """By the names of folders, as huggingface_hub lays them out: models--org--name."""
    try:
        home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
        cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
        names = sorted(path.name for path in cache.iterdir() if path.name.startswith("models--"))
    except (OSError, RuntimeError):  # no cache, or no home
        return []
    return [name.removeprefix("models--").replace("--", "/", 1) for name in names]


def _paths(incomplete: str, is_wanted: Callable[[Path], bool]) -> list[str]:
    head, _, start = incomplete.rpartition("/")
    folder = Path(f"{head}/" if incomplete.startswith("/") else head or ".").expanduser()
    prefix = f"{head}/" if head or incomplete.startswith("/") else ""
    try:
        found = sorted(path for path in folder.iterdir() if path.name.startswith(start))
    except OSError:
        return []
    shown = [path for path in found if not path.name.startswith(".") or start.startswith(".")]
    return [f"{prefix}{path.name}{'/' if path.is_dir() else ''}" for path in shown
            if path.is_dir() or is_wanted(path)]  # fmt: skip
