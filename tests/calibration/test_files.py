"""Files of this machine: packed to length, drawn by the seed, refused by name and line, without network."""

import json
import subprocess
import sys
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest

from llmcourse.calibration import texts, windows
from llmcourse.core.calibration import Calibration
from llmcourse.core.errors import PlanError
from llmcourse.core.progress import Event, Finished, Progress, Started
from llmcourse.testing.models import Family
from tests.calibration.conftest import lines, table

CHATS = [
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
    {"messages": [{"role": "user", "content": "bye"}]},
]
SHAREGPT = [
    {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
    {"conversations": [{"from": "human", "value": "bye"}]},
]


@pytest.fixture
def prose(tmp_path: Path, family: Family) -> Path:
    path = tmp_path / "prose.txt"
    path.write_text(family.eval_texts["prose"][:50_000], encoding="utf-8")
    return path


def wish(path: Path, **keys: Any) -> Calibration:
    return Calibration(text=str(path), **keys)


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def refusal(path: Path, tokenizer: Any, progress: Progress, **keys: Any) -> PlanError:
    with pytest.raises(PlanError) as caught:
        list(texts(wish(path, **keys), None, tokenizer, progress))
    return caught.value


def test_windows_have_exactly_their_length_and_come_from_the_text(
    prose: Path, tokenizer: Any, progress: Progress, events: list[Event]
) -> None:
    ids = tokenizer(prose.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    whole = [ids[start : start + 64] for start in range(0, len(ids) - 63, 64)]
    found = windows(wish(prose, samples=20, length=64), None, tokenizer, progress)
    assert [len(window) for window in found] == [64] * 20
    places = [whole.index(window) for window in found]
    assert places == sorted(places) and len(set(places)) == 20 and places[-1] > 40
    assert events[0] == Started("read calibration data", 20, "windows")
    assert events[-1] == Finished("read calibration data")


def test_the_same_seed_draws_the_same_and_another_one_does_not(
    prose: Path, tokenizer: Any, progress: Progress
) -> None:
    first, again, other = (
        windows(wish(prose, samples=20, length=64, seed=seed), None, tokenizer, progress)
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_all_there_is_is_given_in_its_order(prose: Path, tokenizer: Any, progress: Progress) -> None:
    ids = tokenizer(prose.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    count = len(ids) // 64
    found = windows(wish(prose, samples=count, length=64), None, tokenizer, progress)
    assert list(chain(*found)) == ids[: count * 64]


def test_one_window_too_many_is_refused_with_the_number_that_works(
    prose: Path, tokenizer: Any, progress: Progress
) -> None:
    count = len(tokenizer(prose.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"])
    with pytest.raises(PlanError) as caught:
        windows(wish(prose, samples=count // 64 + 1, length=64), None, tokenizer, progress)
    assert f"prose.txt gives {count:,} tokens of this model in 1 documents" in caught.value.what
    assert caught.value.fix == f"Give more data, or set samples: {count // 64}."
    with pytest.raises(PlanError, match="1 windows of") as caught:
        windows(wish(prose, samples=1, length=count + 1), None, tokenizer, progress)
    assert caught.value.fix == f"Give more data, or set samples: 1 and length: {count}."


def test_documents_are_told_apart_by_the_end_of_text_token(
    tmp_path: Path, tokenizer: Any, progress: Progress
) -> None:
    path = written(tmp_path, "two.jsonl", lines([{"text": "one day"}, {"text": ""}, {"text": "two days"}]))
    first, second = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("one day", "two days")
    )
    (found,) = windows(wish(path, samples=1, length=len(first) + len(second) + 1), None, tokenizer, progress)
    assert found == [*first, tokenizer.eos_token_id, *second]


def test_a_tokenizer_without_end_of_text_joins_documents_as_they_are(
    tmp_path: Path, tokenizer: Any, progress: Progress
) -> None:
    tokenizer.eos_token = None
    path = written(tmp_path, "two.jsonl", lines([{"text": "one day"}, {"text": "two days"}]))
    first, second = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("one day", "two days")
    )
    length = len(first) + len(second)
    assert windows(wish(path, samples=1, length=length), None, tokenizer, progress) == [first + second]


@pytest.mark.parametrize("rows", [CHATS, SHAREGPT])
def test_conversations_are_written_by_the_chat_template(
    tmp_path: Path, chat_tokenizer: Any, progress: Progress, rows: list[Any]
) -> None:
    path = written(tmp_path, "chats.jsonl", lines(rows))
    found = list(texts(wish(path), None, chat_tokenizer, progress))
    assert found == ["<s>user: hi</s><s>assistant: hello</s>", "<s>user: bye</s>"]
    (window,) = windows(wish(path, samples=1, length=12), None, chat_tokenizer, progress)
    assert window[0] == chat_tokenizer.bos_token_id and chat_tokenizer.eos_token_id in window


def test_an_end_of_text_that_the_template_wrote_is_not_doubled(
    tmp_path: Path, chat_tokenizer: Any, progress: Progress
) -> None:
    path = written(tmp_path, "chats.jsonl", lines([CHATS[1]] * 20))
    (window,) = windows(wish(path, samples=1, length=100), None, chat_tokenizer, progress)
    end = chat_tokenizer.eos_token_id
    assert end in window and (end, end) not in pairwise(window)


@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_conversations_without_a_template_are_refused(
    tmp_path: Path, tokenizer: Any, progress: Progress, with_tokenizer: bool
) -> None:
    path = written(tmp_path, "chats.jsonl", lines(CHATS))
    error = refusal(path, tokenizer if with_tokenizer else None, progress)
    assert error.what.startswith("chats.jsonl, line 1 is a conversation, and the model has no chat template")
    assert error.fix.startswith("Give plain text")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'{"text": "a"}\n{"text": ', "rows.jsonl, line 2 is not JSON"),
        (b'{"text": "a"}\n\n{"text": "\xff"}\n', "rows.jsonl, line 3 is not JSON"),
        (b'{"text": "a"}\n["b"]\n', "rows.jsonl, line 2 is not a JSON object"),
        (lines([{"text": "a"}, *CHATS]), "rows.jsonl, line 2 has no 'text'"),
        (lines([CHATS[0], {"text": "a"}]), "rows.jsonl, line 2 has no 'messages'"),
        (lines([{"text": None}]), "rows.jsonl, line 1 has nothing under text or messages or conversations"),
        (lines([{"body": "a", "url": "b"}]), "only: body, url"),
        (lines([{"text": "a"}, {"text": 7}]), "rows.jsonl, line 2 is neither a text nor a list"),
        (lines([{"messages": []}]), "rows.jsonl, line 1 is neither a text nor a list of messages"),
        (lines([CHATS[0], {"messages": ["hi"]}]), "rows.jsonl, line 2 holds a message without role"),
        (lines([{"messages": [{"role": "user"}]}]), "rows.jsonl, line 1 holds a message without role"),
        (
            lines([{"messages": [{"role": "tool", "content": "x"}]}]),
            "template refuses rows.jsonl, line 1 (no tool)",
        ),
    ],
)
def test_a_line_that_cannot_be_used_is_named(
    tmp_path: Path, chat_tokenizer: Any, progress: Progress, data: bytes, what: str
) -> None:
    error = refusal(written(tmp_path, "rows.jsonl", data), chat_tokenizer, progress)
    assert what in error.what and error.fix.endswith(".") and error.exit_code == 4


def test_a_column_of_another_name(tmp_path: Path, tokenizer: Any, progress: Progress) -> None:
    path = written(tmp_path, "rows.jsonl", lines([{"body": "a", "text": "no"}]))
    assert list(texts(wish(path, column="body"), None, tokenizer, progress)) == ["a"]
    assert "line 1 has no 'bodies'" in refusal(path, tokenizer, progress, column="bodies").what


def test_tables_are_read_row_by_row_and_empty_rows_are_left_out(
    tmp_path: Path, chat_tokenizer: Any, progress: Progress
) -> None:
    rows = [{"text": ["", None, f"row {index}"][index % 3], "url": "u"} for index in range(600)]
    path = written(tmp_path, "rows.parquet", table(rows))
    found = list(texts(wish(path), None, chat_tokenizer, progress))
    assert found == [f"row {index}" for index in range(2, 600, 3)]
    chats = written(tmp_path, "chats.parquet", table(CHATS))
    assert list(texts(wish(chats), None, chat_tokenizer, progress))[1] == "<s>user: bye</s>"


def test_damaged_files_are_refused(tmp_path: Path, tokenizer: Any, progress: Progress) -> None:
    whole = table([{"text": "a" * 1000}])
    assert (
        "cut.parquet is no whole parquet file"
        in refusal(written(tmp_path, "cut.parquet", whole[:-20]), tokenizer, progress).what
    )
    assert (
        "latin.txt is not UTF-8 text"
        in refusal(written(tmp_path, "latin.txt", "für".encode("latin-1")), tokenizer, progress).what
    )


def test_several_files_of_several_kinds_follow_one_another(
    tmp_path: Path, tokenizer: Any, progress: Progress
) -> None:
    paths = [
        written(tmp_path, "a.txt", b"first\n"),
        written(tmp_path, "b.jsonl", lines([{"text": "second"}])),
        written(tmp_path, "c.parquet", table([{"text": "third"}])),
    ]
    many = Calibration(text=[str(path) for path in paths])
    assert list(texts(many, None, tokenizer, progress)) == ["first\n", "second", "third"]


def test_a_long_text_is_tokenized_in_parts_that_end_at_lines(
    tmp_path: Path, tokenizer: Any, progress: Progress
) -> None:
    line = "the meaning of life is a word and a line\n"
    path = written(tmp_path, "long.txt", (line * 6000).encode())
    ids = tokenizer(line, add_special_tokens=False)["input_ids"]
    found = windows(wish(path, samples=3, length=len(ids) * 8), None, tokenizer, progress)
    assert len(found) == 3 and {tokenizer.decode(window).count("meaning") for window in found} <= {7, 8, 9}


def test_files_of_this_machine_need_neither_network_nor_its_libraries(tmp_path: Path) -> None:
    written(tmp_path, "a.jsonl", lines([{"text": "a"}]))
    script = """
import json, sys
from llmcourse.calibration import texts
from llmcourse.core.calibration import Calibration
print(list(texts(Calibration(text="a.jsonl"), None, None, None)))
print([name for name in ("datasets", "huggingface_hub", "pyarrow", "torch") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [json.dumps(["a"]).replace('"', "'"), "[]"]
