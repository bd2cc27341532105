"""The importance matrix of what is read row by row: a data set of the Hub, conversations, tables."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from llmcourse.core.errors import LlmcourseError, PlanError
from llmcourse.core.plan import DatasetFacts, FileFacts
from llmcourse.quantize_gguf.llama.imatrix_file import read_imatrix
from llmcourse.quantize_gguf.plan import questions
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli
from tests.quantize_gguf.builders import config, facts_of, logged_in, plan_of, program, said, write_config
from tests.quantize_gguf.conftest import Llama

C4 = DatasetFacts("allenai/c4", "e" * 40, {"en": ("train", "validation"), "realnewslike": ("train",)})
KNOWN = {"datasets": {"allenai/c4": C4}}
ASKED = "model: org/tiny\ntypes: [Q4_K_M]\nimatrix: {dataset: allenai/c4, split: train, chunks: 100}\n"


def test_a_data_set_stands_beside_text_and_file() -> None:
    read = config(ASKED)
    assert read.datasets() == ("allenai/c4",) and read.files() == {}
    assert read.imatrix is not None
    data = read.imatrix.documents()
    assert data is not None and (data.dataset, data.samples, data.length) == ("allenai/c4", 100, 512)


@pytest.mark.parametrize(
    ("imatrix", "what"),
    [
        ("{dataset: allenai/c4, text: a.txt}", "imatrix needs a text or a file, or a dataset, and one"),
        ("{dataset: allenai/c4, file: a.gguf}", "imatrix needs a text or a file, or a dataset, and one"),
        ("{text: a.txt, split: train2}", "name and split are of a dataset"),
        ("{dataset: c4}", "'c4' is no data set of the Hub"),
    ],
)
def test_what_means_nothing_is_refused(imatrix: str, what: str) -> None:
    with pytest.raises(LlmcourseError) as caught:
        config(f"model: org/tiny\nimatrix: {imatrix}\n")
    assert what in caught.value.what


@pytest.mark.parametrize(
    ("text", "by_rows"), [("a.txt", False), ("a.csv", False), ("a.jsonl", True), ("a.parquet", True)]
)
def test_rows_are_read_where_a_file_has_them_and_other_text_is_taken_as_it_is(
    text: str, by_rows: bool
) -> None:
    read = config(f"model: org/tiny\nimatrix: {{text: {text}}}\n")
    asked = questions(read, facts_of(read))
    assert read.imatrix is not None and asked is not None
    assert bool(read.imatrix.documents()) == by_rows
    assert (text in asked["texts"]) != by_rows  # llama.cpp counts no tokens of JSON


def test_the_plan_pins_the_commit_and_shows_the_data_set() -> None:
    found = plan_of(ASKED, **KNOWN)
    assert not said(found)
    assert found.settings["calibration"]["revision"] == "e" * 40
    assert found.settings["calibration"]["name"] == "en"
    assert ("imatrix", "100 chunks of allenai/c4") in found.summary and "measure the imatrix" in found.steps
    assert "calibration: 100 windows of 512 tokens of allenai/c4 (en, train) at eeeeeeee" in said(found, "ok")


def test_a_data_set_that_cannot_be_had_is_refused_and_llama_cpp_is_not_asked() -> None:
    known = {"datasets": {"allenai/c4": PlanError("It is gated.", "Ask for access.")}}
    assert said(plan_of(ASKED, **known)) == ["calibration: It is gated. Ask for access."]
    assert questions(config(ASKED), facts_of(config(ASKED), **known)) is None


def test_a_file_of_rows_is_known_by_its_content() -> None:
    files = {"/home/me/chats.jsonl": FileFacts(10_000_000, "d" * 64)}
    found = plan_of("model: org/tiny\nimatrix: {text: /home/me/chats.jsonl}\n", files=files)
    assert found.settings["calibration"]["files"] == [{"name": "chats.jsonl", "sha256": "d" * 64}]
    assert "/home/me" not in json.dumps(found.settings)


@pytest.fixture
def quantize(llmcourse: Cli, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return program(llmcourse, tmp_path_factory)


def rows(family: Family) -> list[dict[str, Any]]:
    words = family.eval_texts["prose"].split()
    return [{"text": " ".join(words[start : start + 200])} for start in range(0, len(words), 200)]


@pytest.mark.slow
def test_an_imatrix_of_a_data_set_of_the_hub(quantize: Cli, hub: LoopbackHub, family: Family) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows(family))
    commit = hub.repo("org/set", "dataset").add_files({"train.json.gz": gzip.compress(lines.encode())}).oid
    cli = logged_in(quantize, hub, user=None)
    imatrix = {"dataset": "org/set", "split": "train", "chunks": 4}
    asked = write_config(cli.folder, model=str(family.base), types=["Q2_K"], imatrix=imatrix)
    made = cli("quantize-gguf", asked, "-o", "out", "--json")
    assert made.exit_code == 0, made.stderr
    matrix = read_imatrix(cli.folder / "out" / "imatrix.gguf")
    assert (matrix.datasets, matrix.chunk_count) == (("org--set",), 4)
    assert made.json["details"]["calibration"]["revision"] == commit
    card = (cli.folder / "out" / "README.md").read_text()
    assert "[org/set](https://huggingface.co/datasets/org/set)" in card and f"at {commit[:8]}, seed 0" in card
    offline = cli("quantize-gguf", asked, "-o", "new", "--dry-run", env={"HF_HUB_OFFLINE": "1"})
    assert offline.exit_code == 4
    assert "org/set is a data set of the Hub, and HF_HUB_OFFLINE is set." in offline.stdout + offline.stderr


@pytest.mark.slow
def test_an_imatrix_of_conversations_through_the_models_own_template(quantize: Cli, family: Family) -> None:
    shutil.copytree(family.base, quantize.folder / "chat")
    template = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    (quantize.folder / "chat" / "chat_template.jinja").write_text(template)
    chats = [{"messages": [{"role": "user", "content": row["text"]}]} for row in rows(family)]
    for name, model in (("chat", "chat"), ("none", str(family.base))):
        text = quantize.folder / f"{name}.jsonl"
        text.write_text("".join(json.dumps(chat) + "\n" for chat in chats))
        asked = write_config(
            quantize.folder,
            f"{name}.yaml",
            model=model,
            types=["Q2_K"],
            imatrix={"text": text.name, "chunks": 4},
        )
        done = quantize("quantize-gguf", asked, "-o", f"out-{name}")
        if name == "chat":
            assert done.exit_code == 0, done.stderr
            assert read_imatrix(quantize.folder / "out-chat" / "imatrix.gguf").datasets == ("chat.jsonl",)
        else:
            assert done.exit_code == 4 and "none.jsonl, line 1 is a conversation" in done.stderr


@pytest.mark.slow
def test_tokens_that_a_template_wrote_are_read_as_such(
    llama: Llama, trained_gguf: Path, tmp_path: Path
) -> None:
    text = tmp_path / "chat"
    text.write_text("<s>user: hi</s>\n" * 60)
    settings = {
        "source": str(trained_gguf), "text": str(text), "chunks": 100, "context": 128, "threads": 2,
        "name": "imatrix.gguf",
    }  # fmt: skip
    as_text = llama.run("imatrix", settings, "text").result["chunks"]
    as_tokens = llama.run("imatrix", settings | {"special_tokens": True}, "tokens").result["chunks"]
    assert as_tokens < as_text
