"""Texts to calibrate on and to measure on, and the adapter."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmcourse.testing.models import Family, build_family
from tests.quantize_gptq.builders import Adapter


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory, family: Family) -> Path:
    """A folder with calibration.txt and held-out.txt, of which neither is in the other."""
    folder = tmp_path_factory.mktemp("texts")
    for name, part in (("calibration.txt", slice(0, 40_000)), ("held-out.txt", slice(40_000, 60_000))):
        (folder / name).write_text(
            "".join(text[part] for text in family.eval_texts.values()), encoding="utf-8"
        )
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Iterator[Adapter]:
    adapter = Adapter(tmp_path_factory.mktemp("adapter"), build_family().base, texts)
    yield adapter
    adapter.stop()
