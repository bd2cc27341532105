"""A child that merges, started once for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.merge.tiny_models import Mergers, merging


@pytest.fixture(scope="module")
def merger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mergers]:
    with merging(tmp_path_factory.mktemp("merging")) as child:
        yield child
