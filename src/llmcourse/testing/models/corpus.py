"""Two kinds of English-speaking text that every Python brings along: program code and prose.

Tests need text that no machine has to download and whose kinds differ enough for a fine-tune on one to
show. What is held out is chosen by document, and passages that occur in it are dropped from the training
text, because pydoc's topics repeat each other at length. This module trains and tokenizes nothing.
"""

import ast
import importlib
import inspect
import itertools
import sysconfig
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["code", "prose"]

# Tests hold broken syntax and data tables; the others are tables in the form of source.
_SKIPPED_FOLDERS: Final = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data", "lib2to3"}
)
_TEXT_FILES: Final = ("LICENSE.txt", "idlelib/NEWS.txt", "idlelib/README.txt", "idlelib/HISTORY.txt")
_SOURCE_FILES: Final = 280  # half of them: parsing all takes longer than there is time to train on
_TRAINING_CHARS: Final = 1_000_000
_HELD_OUT_CHARS: Final = 60_000
_SHORTEST_DOCSTRING: Final = 200  # characters; shorter ones are labels rather than sentences


@dataclass(frozen=True)
class Corpus:
    """Text by kind; no passage of `held_out` occurs in `training`."""

    training: MappingProxyType[Kind, str]
    held_out: MappingProxyType[Kind, str]


def read() -> Corpus:
    """Read both kinds from this Python's standard library, in an order that depends on names only."""
    code: dict[str, str] = {}
    prose: dict[str, str] = dict(_pydoc_topics())
    root = Path(sysconfig.get_path("stdlib"))
    for path in _source_files(root):
        name = path.relative_to(root).as_posix()
        code[name], prose[name] = _split_source(path.read_text(encoding="utf-8", errors="replace"))
    for name in _TEXT_FILES:
        if (root / name).is_file():  # Debian packs idlelib apart
            prose[name] = (root / name).read_text(encoding="utf-8", errors="replace")
    code_training, code_held_out = _hold_out(code)
    prose_training, prose_held_out = _hold_out(prose)
    return Corpus(
        training=MappingProxyType({"code": code_training, "prose": prose_training}),
        held_out=MappingProxyType({"code": code_held_out, "prose": prose_held_out}),
    )


def _source_files(root: Path) -> list[Path]:
    paths = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*.py")
        if _SKIPPED_FOLDERS.isdisjoint(path.relative_to(root).parts)
        and not path.name.startswith("_sysconfig")
    }
    return [paths[name] for name in _shuffled(paths)[:_SOURCE_FILES]]


def _pydoc_topics() -> Iterator[tuple[str, str]]:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for name, text in topics.items():
        yield f"pydoc:{name}", text


def _split_source(source: str) -> tuple[str, str]:
    """The source without its docstrings, and the docstrings that are long enough to be prose."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # templates with the suffix .py
        return "", ""
    lines = source.splitlines()
    docstrings: list[str] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (docstring := ast.get_docstring(node, clean=False)) is None:
            continue
        statement = node.body[0]
        lines[statement.lineno - 1 : statement.end_lineno] = [""] * (
            (statement.end_lineno or statement.lineno) - statement.lineno + 1
        )
        if len(docstring) >= _SHORTEST_DOCSTRING and ">>>" not in docstring:
            docstrings.append(inspect.cleandoc(docstring))
    return "\n".join(lines), "\n\n".join(docstrings)


def _hold_out(documents: dict[str, str]) -> tuple[str, str]:
    """Training text and held-out text, each cut to its size; one document in sixteen is held out."""
    held_out = {name for name in documents if zlib.crc32(name.encode()) % 16 == 0}
    shuffled = _shuffled(documents)
    seen: set[str] = set()
    held_out_passages = list(_new_passages((documents[n] for n in shuffled if n in held_out), seen))
    training_passages = list(_new_passages((documents[n] for n in shuffled if n not in held_out), seen))
    return _join(training_passages, _TRAINING_CHARS), _join(held_out_passages, _HELD_OUT_CHARS)


def _shuffled(names: Iterable[str]) -> list[str]:
    """An order by checksum: cutting the list short leaves every part of the library represented."""
    return sorted(names, key=lambda name: zlib.crc32(f"order:{name}".encode()))


def _new_passages(documents: Iterable[str], seen: set[str]) -> Iterator[str]:
    for document in documents:
        for passage in document.split("\n\n"):
            trimmed = passage.strip("\n").rstrip()
            if trimmed and trimmed not in seen:
                seen.add(trimmed)
                yield trimmed


def _join(passages: list[str], chars: int) -> str:
    """Whole passages only: a fragment could occur on the other side."""
    ends = itertools.accumulate(len(passage) + 2 for passage in passages)
    return "\n\n".join(passage for passage, end in zip(passages, ends, strict=True) if end <= chars)
