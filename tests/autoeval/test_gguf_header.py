"""A GGUF file's head, read in the plan."""

import struct
from pathlib import Path

import pytest

from llmcourse.autoeval.gguf_header import head_of
from llmcourse.autoeval.plan import look_up
from tests.autoeval.builders import INSTALLED, config, plan_of, said


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    architecture: bool = True,
    data: int = 64,
    more: tuple[bytes, ...] = (),
) -> bytes:
    """A file with a string, an array of strings, an array of numbers, an array of arrays, and two tensors."""
    entries = [
        text("a.list") + struct.pack("<IIQ", 9, 8, 2) + text("x") + text("yz"),
        text("a.numbers") + struct.pack("<IIQ", 9, 5, 3) + bytes(12),
        text("a.nested") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 4, 2) + bytes(8),
    ]
    entries += [text("general.architecture") + struct.pack("<I", 8) + text("llama")] if architecture else []
    entries += more
    tensors = [
        text(name) + struct.pack("<IQQIQ", 2, 4, 2, 0, offset) for name, offset in (("one", 0), ("two", 32))
    ]
    head = magic + struct.pack("<IQQ", version, len(tensors), len(entries))
    return head + b"".join(entries) + b"".join(tensors) + bytes(data)


def test_a_whole_file_is_fine(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf())
    assert head_of(tmp_path / "m.gguf") == {"context": 0, "chat": {"template": False, "ends": []}}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"abc", "it has 3 bytes"),
        (b"", "it has 0 bytes"),
        (gguf(magic=b"GGML"), "it does not begin with GGUF"),
        (gguf(version=1), "its version is 1"),
        (gguf(architecture=False), "it names no architecture"),
        (gguf(data=32), "it is cut off: tensors are missing"),
        (gguf()[:100], "it is cut off in its head"),
        (b"GGUF" + b"\xff" * 4 + bytes(16), "its version is 4294967295"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1), "it is cut off in its head"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 99), "the unknown type 99"),
    ],
)
def test_what_llama_cpp_could_not_load_is_refused_by_the_plan(
    tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    wish = f"model: {path}\nsuite: tiny\n"
    plan = plan_of(wish, present=INSTALLED | look_up(config(wish)))
    (line,) = said(plan)
    assert told in line and line.endswith("Download or make it again.") and plan.exit_code == 4


def test_it_says_its_context_its_template_and_what_ends_thoughts(tmp_path: Path) -> None:
    more = (
        text("llama.context_length") + struct.pack("<II", 4, 40960),
        text("tokenizer.chat_template") + struct.pack("<I", 8) + text("{{ messages }}"),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("<think>") + text("</think>"),
    )
    (tmp_path / "m.gguf").write_bytes(gguf(more=more))
    told = {"context": 40960, "chat": {"template": True, "ends": ["</think>"]}}
    assert head_of(tmp_path / "m.gguf") == told
