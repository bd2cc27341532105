"""A real tokenizer, with and without a chat template, and a reader that runs as a process of its own."""

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from llmcourse.core.progress import Event, Progress
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import Family

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role not in ['user', 'assistant'] %}{{ raise_exception('no ' + message.role) }}{% endif %}"
    "<s>{{ message.role }}: {{ message.content }}</s>"
    "{% endfor %}"
)


@pytest.fixture
def tokenizer(family: Family) -> Any:
    """The tiny model's: <s> is 1, </s> is 2, it knows no chat template."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(family.base)


@pytest.fixture
def chat_tokenizer(tokenizer: Any) -> Any:
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def progress(events: list[Event]) -> Progress:
    return Progress(events.append)


def lines(rows: Sequence[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def zipped(rows: Sequence[Any]) -> bytes:
    return gzip.compress(lines(rows))


def table(rows: Sequence[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), buffer, row_group_size=100)
    return buffer.getvalue()


READER = Path(__file__).with_name("reader.py")


def read(
    hub: LoopbackHub, folder: Path, family: Family, wishes: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What windows or texts each wish gives, read from the loopback Hub in one process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, READER, family.base, TEMPLATE],
        input=json.dumps(wishes),
        env=clean | hub.env(None, home=folder / "hf-home"),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found
