"""The version that fixes name is the one that is tested."""

from pathlib import Path

from llmcourse.quantize_gguf.versions import INSTALL, TRIED


def test_the_version_in_advice_is_the_one_of_the_constraints() -> None:
    pins = (Path(__file__).parents[2] / "constraints.txt").read_text().split()
    assert f"llama-cpp-python=={TRIED}" in pins and TRIED in INSTALL
