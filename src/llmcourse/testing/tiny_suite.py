"""Writes the data of the suite `tiny` from texts of the Python that runs it, the same texts every time.

    python -m llmcourse.testing.tiny_suite FOLDER

What is in the package was written with Python 3.11, so that figures stay comparable; documents are among
those that the tiny models are not trained on.  They are easy on purpose: models of a few million parameters
know which words follow each other, and little else.
"""

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmcourse.testing.models import corpus
from llmcourse.testing.models.corpus import Kind

_CONTINUATIONS, _WORDS, _TEXTS = 100, 160, 40  # documents of each task
_CHOICES = 4
_COMMON_WORDS = 12
_CONTEXT = 200  # characters

Documents = list[dict[str, Any]]


def main(folder: Path) -> None:
    draw = random.Random(0)
    passages = {kind: text.split("\n\n") for kind, text in corpus.read().held_out.items()}
    _write(folder / "continuation.jsonl", _continuations(passages, draw))
    _write(folder / "word.jsonl", _words(passages["prose"], draw))
    _write(folder / "text.jsonl", _texts(passages, draw))


def _write(path: Path, documents: Documents) -> None:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")


def _continuations(passages: Mapping[Kind, list[str]], draw: random.Random) -> Documents:
    """A passage's beginning, its next line, and that line with its words in other orders."""
    found = []
    for kind, own in passages.items():
        candidates = []
        for text in own:
            lines = text.splitlines()
            fitting = [place for place in range(1, len(lines)) if 4 <= len(lines[place].split()) <= 10]
            if fitting:
                candidates.append((lines, draw.choice(fitting)))
        for lines, place in draw.sample(candidates, _CONTINUATIONS // 2):
            right = " ".join(lines[place].split())
            choices = sorted({right, *_disordered(right, draw)})
            draw.shuffle(choices)
            context = "\n".join(lines[:place])[-_CONTEXT:]
            found.append(
                {"kind": kind, "context": context, "choices": choices, "answer": choices.index(right)}
            )
    return found


def _disordered(line: str, draw: random.Random) -> set[str]:
    words, found = line.split(), set[str]()
    while len(found) < _CHOICES - 1:
        other = " ".join(draw.sample(words, len(words)))
        found |= {other} - {line}
    return found


def _words(passages: list[str], draw: random.Random) -> Documents:
    """Texts that break off before one of the commonest words."""
    flat = [" ".join(passage.split()) for passage in passages if not re.search(r"[*=>|{}]", passage)]
    counts = Counter(word for text in flat for word in re.findall(r"[a-z]+", text))
    common = {word for word, _ in counts.most_common(_COMMON_WORDS)}
    places = [
        (text, match)
        for text in flat
        for match in re.finditer(r" ([a-z]+)(?= )", text)
        if match[1] in common and match.start() > 60
    ]
    return [
        {"context": text[max(0, match.start() - _CONTEXT) : match.start()], "word": match[1]}
        for text, match in draw.sample(places, _WORDS)
    ]


def _texts(passages: Mapping[Kind, list[str]], draw: random.Random) -> Documents:
    """Passages as they are, half of them code."""
    found = []
    for kind, own in passages.items():
        fitting = [text for text in own if 200 <= len(text) <= 900]
        found += [{"kind": kind, "text": text} for text in draw.sample(fitting, _TEXTS // 2)]
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
