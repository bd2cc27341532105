"""YAML text as plain values together with the place where each value was written.

YAML is read by PyYAML in its 1.1 dialect, because that is what mergekit reads: a file must mean the
same to both.  Refused here, because PyYAML lets them pass: keys written twice, alias bombs.
"""

import difflib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llmcourse.core.errors import ConfigError

# What PyYAML raises: its own errors, and what it trips over where a value is not what its tag says, or where
# it lies too deep.
YAML_ERRORS = (
    yaml.YAMLError, ValueError, AttributeError, LookupError, TypeError, ArithmeticError, RecursionError
)  # fmt: skip
Location = tuple[str | int, ...]
# Aliases let a few lines stand for billions of values; no honest config comes near this many.
MAX_VALUES = 200_000
# To YAML it begins a list; to everybody else it is stdin.
_BARE_DASH = re.compile(r"^(model:[ \t]+)-(?=[ \t]*(?:#|$))", re.MULTILINE)


@dataclass
class Document:
    """Plain values, and the place where each was written."""

    data: Any
    marks: dict[Location, str]
    text: str = ""  # the whole file it was read from
    notes: list[str] = field(default_factory=list)  # sentences the user should see

    def under(self, *prefix: str | int) -> dict[Location, str]:
        """The marks as they are when this document becomes the value at `prefix`."""
        return {(*prefix, *location): mark for location, mark in self.marks.items()}

    def marks_of(self, *prefix: str | int) -> dict[Location, str]:
        """The marks as they are in the value at `prefix`, taken for itself."""
        length = len(prefix)
        found = {place[length:]: mark for place, mark in self.marks.items() if place[:length] == prefix}
        return {(): self.where(prefix) or "", **found}  # a value that an override made has no place

    def where(self, location: Location) -> str | None:
        """The place of this value, or of the nearest value around it."""
        for end in range(len(location), -1, -1):
            if location[:end] in self.marks:
                return self.marks[location[:end]]
        return None


def read_documents(source: str) -> list[Document]:
    """The documents of a YAML file, or of stdin for "-".

    Raises:
        ConfigError: unreadable, not YAML, empty, a key written twice, or aliases without end.
    """
    text, name = _read(source)
    return parse(text, name)


def _read(source: str) -> tuple[str, str]:
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except FileNotFoundError:
        near = difflib.get_close_matches(Path(source).name, _yaml_names(Path(source).parent), 1)
        hint = f"Did you mean {Path(source).with_name(near[0])}?" if near else "Check the path."
        raise ConfigError(f"There is no file {source!r}.", hint, where=source) from None
    except OSError as error:
        raise ConfigError(
            f"The config {source!r} cannot be read: {error.strerror}.", "Give a YAML file.", where=source
        ) from None
    name = "stdin" if source == "-" else source
    try:
        return raw.decode("utf-8-sig"), name
    except UnicodeDecodeError:
        raise ConfigError(f"{name} is not UTF-8 text.", "Save it as UTF-8 YAML.", where=name) from None


def _yaml_names(folder: Path) -> list[str]:
    return [p.name for p in folder.glob("*.y*ml")] if folder.is_dir() else []


def parse(text: str, name: str) -> list[Document]:
    """All documents in `text`, with the place of every value.

    Raises:
        ConfigError: not YAML, a key written twice, or aliases that expand without end.
    """
    documents = []
    checked: set[int] = set()
    try:
        loader = yaml.SafeLoader(_BARE_DASH.sub(r'\1"-"', text))
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                continue
            _refuse_bombs(node, name)
            marks = dict(_marks(loader, node, (), name, checked))
            documents.append(Document(_constructed(loader, node, name), marks, text))
    except yaml.MarkedYAMLError as error:
        raise _yaml_error(error, name) from None
    except RecursionError:
        raise ConfigError(f"{name} nests too deeply.", "Write it flatter.", where=name) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{name} is not YAML: {error}.", "Correct the file.", where=name) from None
    documents = [document for document in documents if document.data is not None]
    if not documents:
        raise ConfigError(f"{name} is empty.", "`llmcourse init` lists configs to start from.", where=name)
    return documents


def _constructed(loader: yaml.SafeLoader, node: yaml.Node, name: str) -> Any:
    """The values of a node; PyYAML trips over values that are not what their tag says (`!!timestamp x`)."""
    try:
        return loader.construct_document(node)
    except (AttributeError, LookupError, TypeError, ArithmeticError) as error:
        raise ConfigError(
            f"{name} has a value that is not what its tag says ({error}).",
            "Leave tags (!!…) out.",
            where=name,
        ) from None


def _yaml_error(error: yaml.MarkedYAMLError, name: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    problem = error.problem or error.context or "it cannot be parsed"
    return ConfigError(f"Not valid YAML: {problem}.", "Correct this line (often its indent).", where=place)


def _refuse_bombs(node: yaml.Node, name: str) -> None:
    sizes: dict[int, int] = {}
    entered: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        children: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        if id(node) in entered or len(entered) > 500:
            raise ConfigError(
                f"{name} nests without end.", "Remove the alias that contains itself.", where=name
            )
        entered.add(id(node))
        total = 1 + sum(size(child) for child in children)
        entered.discard(id(node))
        if total > MAX_VALUES:
            raise ConfigError(
                f"{name} expands to more than {MAX_VALUES:,} values.", "Remove the aliases.", where=name
            )
        sizes[id(node)] = total
        return total

    size(node)


def _marks(
    loader: yaml.SafeLoader, node: yaml.Node, location: Location, name: str, checked: set[int]
) -> Iterator[tuple[Location, str]]:
    """The place of every value; a mapping's value is shown at its key, where a typo would be.

    `checked` are mappings seen already: flattening adds the keys of `<<` to the node itself, and an
    alias meets the same node again.
    """
    if location == ():
        yield location, f"{name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield (*location, index), _place(name, child)
            yield from _marks(loader, child, (*location, index), name, checked)
    elif isinstance(node, yaml.MappingNode):
        if id(node) not in checked:
            checked.add(id(node))
            _refuse_duplicates(node, name)
        loader.flatten_mapping(node)
        for key, child in node.value:
            yield (*location, str(key.value)), _place(name, key)
            yield from _marks(loader, child, (*location, str(key.value)), name, checked)


def _place(name: str, node: yaml.Node) -> str:
    return f"{name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def _refuse_duplicates(node: yaml.MappingNode, name: str) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError("A key is not a plain word.", "Use words as keys.", where=_place(name, key))
        if key.value in seen and key.value != "<<":
            # PyYAML keeps the last one silently.
            raise ConfigError(
                f"The key {key.value!r} is written twice.", "Keep one of them.", where=_place(name, key)
            )
        seen.add(key.value)
