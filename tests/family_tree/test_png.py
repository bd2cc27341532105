"""The PNG picture: large enough to be sharp, small enough to be a file."""

import struct

import pytest

from llmcourse.family_tree import formats
from llmcourse.family_tree.graph import Graph
from tests.family_tree import families


def size_of(graph: Graph) -> tuple[int, int]:
    data = formats.render(graph, "png")
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_a_small_family_is_sharp_at_twice_the_width_of_a_readme() -> None:
    width, height = size_of(families.everything())
    assert 1_600 < width < 4_000 and 500 < height < 2_000


@pytest.mark.slow
def test_a_large_family_is_a_picture_still() -> None:
    width, height = size_of(families.large(1_500))
    assert max(width, height) <= 16_500  # graphviz rounds the scale
