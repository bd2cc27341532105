"""quantize-gptq as people run it: published, made once, taken up after a kill, refused in time."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import BASE_ID, CODE_ID, Family, build_random_llama
from llmcourse.testing.plugin import Cli, as_user

QUICK = {"samples": 8, "length": 128}


@pytest.fixture
def alice(llmcourse: Cli, demo_hub: LoopbackHub, texts: Path) -> Cli:
    """The program as a user of a Hub, with texts in its folder and a temporary folder to leave empty."""
    for path in texts.iterdir():
        (llmcourse.folder / path.name).write_bytes(path.read_bytes())
    (llmcourse.folder / "tmp").mkdir()
    cli = as_user(llmcourse, demo_hub, "alice", "lfs")
    more = {"TMPDIR": str(llmcourse.folder / "tmp"), "LLMCOURSE_CACHE": str(llmcourse.folder / "cache")}
    return Cli(cli.folder, cli.env | more, cli.python)


def write(folder: Path, **keys: Any) -> None:
    keys = {"model": BASE_ID, "calibration": {"text": "calibration.txt", **QUICK}} | keys
    (folder / "g.yaml").write_text(json.dumps(keys), encoding="utf-8")


def steps(stderr: str) -> list[str]:
    events = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    return [event["step"] for event in events if event["event"] == "started"]


def test_one_command_makes_measures_and_publishes_and_a_second_one_has_nothing_to_do(
    alice: Cli, demo_hub: LoopbackHub
) -> None:
    write(alice.folder, quality={"text": "held-out.txt", "chunks": 2}, hub={"repo": "alice/base-GPTQ"})
    made = alice("quantize-gptq", "g.yaml", "-o", "größe 4 bit", "-q")
    assert made.exit_code == 0, made.stderr
    assert made.stdout.startswith("hf://alice/base-GPTQ@")
    output = alice.folder / "größe 4 bit"
    published = demo_hub.repo("alice/base-GPTQ").files()
    local = {path.name for path in output.iterdir()}
    assert local <= set(published) and {"quality.json", "layers.png", "README.md"} <= local
    card = (output / "README.md").read_text()
    assert f"base_model:\n- {BASE_ID}" in card and "| Mean KL divergence | 0 |" in card
    texts = "".join(p.read_text() for p in output.iterdir() if p.suffix in (".json", ".md", ".csv"))
    # The manifest alone, which is not the published one, says where it lies.
    assert str(alice.folder) not in texts.replace((output / "llmcourse.json").read_text(), "")
    assert not list((alice.folder / "tmp").iterdir())
    left = {path.name for path in alice.folder.iterdir() if not path.name.startswith("hf-home")}
    left -= {"cache"}
    assert left == {"g.yaml", "größe 4 bit", "tmp", "hub", "calibration.txt", "held-out.txt"}
    begin = time.monotonic()
    again = alice("quantize-gptq", "g.yaml", "-o", "größe 4 bit", "--json")
    assert again.exit_code == 0 and again.json["cached"] and time.monotonic() - begin < 10


@pytest.mark.slow
def test_killed_between_layers_it_goes_on_after_the_last_finished_one(alice: Cli, family: Family) -> None:
    write(alice.folder, model=str(family.base))
    whole = alice("quantize-gptq", "g.yaml", "-o", "whole", "--json")
    assert whole.exit_code == 0, whole.stderr
    process = alice.start("quantize-gptq", "g.yaml", "-o", "out")
    scratch = alice.folder / ".out.llmcourse" / "scratch"
    deadline = time.monotonic() + 120
    while not (scratch / "checkpoint" / "CURRENT").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
        assert process.poll() is None, process.communicate()
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive
    assert not (alice.folder / "out").exists()
    resumed = alice("quantize-gptq", "g.yaml", "-o", "out", "--progress", "json")
    assert resumed.exit_code == 0, resumed.stderr
    assert "read calibration data" not in steps(resumed.stderr)
    advanced = [json.loads(line) for line in resumed.stderr.splitlines() if '"advanced"' in line]
    layers = [event["done"] for event in advanced if event["step"].startswith("quantize to")]
    assert layers and layers[0] > 1, layers
    whole_tensors, tensors = (
        load_file(alice.folder / name / "model.safetensors") for name in ("whole", "out")
    )
    assert tensors.keys() == whole_tensors.keys()
    assert all(torch.equal(tensors[name], whole_tensors[name]) for name in tensors)


@pytest.mark.slow
def test_a_result_whose_weights_were_deleted_is_made_again_with_weights(alice: Cli, family: Family) -> None:
    write(alice.folder, model=str(family.base))
    made = alice("quantize-gptq", "g.yaml", "-o", "out", "--json")
    assert made.exit_code == 0, made.stderr
    (alice.folder / "out" / "model.safetensors").unlink()
    again = alice("quantize-gptq", "g.yaml", "-o", "out", "--json")
    assert again.exit_code == 0, again.stderr
    digests = [{file["path"]: file["sha256"] for file in result.json["files"]} for result in (made, again)]
    assert digests[0]["model.safetensors"] == digests[1]["model.safetensors"]
    assert (alice.folder / "out" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("done", [1, 4])
def test_killed_while_finished_files_are_recorded_it_ends_with_all_of_them(
    done: int, alice: Cli, family: Family
) -> None:
    write(alice.folder, model=str(family.base))
    process = alice.start("quantize-gptq", "g.yaml", "-o", "out")
    record = alice.folder / ".out.llmcourse" / "run.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if record.exists() and record.read_text().count('"sha256"') >= done:
            break
    process.kill()
    process.communicate()
    resumed = alice("quantize-gptq", "g.yaml", "-o", "out", "--json")
    assert resumed.exit_code == 0, resumed.stderr
    names = {file["path"] for file in resumed.json["files"]}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= names
    assert names | {"llmcourse.json"} == {path.name for path in (alice.folder / "out").iterdir()}


@pytest.mark.parametrize(
    ("override", "code", "sentence", "fix"),
    [
        ("bits=5", 2, "5 bits have a layout that only gptqmodel reads", "Use 4 or 8 bits"),
        ("group_size=1024", 4, "Groups of 1024 do not divide the", "Set group_size=128"),
        ("calibration.text=gone.txt", 4, "gone.txt cannot be read", "Check the path"),
        ("calibration.samples=100000", 4, "which cannot be the 12800000 tokens", "set calibration.samples="),
        ("device=cuda", 3, "There is no CUDA device", "device: cpu"),
        ("backend=auto-gptq", 3, "auto-gptq quantizes on a CUDA device only", "backend: gptqmodel"),
        ("model=llmcourse-demo/tiny-lama", 4, "There is no llmcourse-demo/tiny-lama", "Check the name"),
        ("quality=gone.txt", 4, "gone.txt cannot be read", "Check the path"),
        ("quality=calibration.parquet", 2, "is no plain text", "Give a text file"),
        ("modules={down_proj: {bit: 8}}", 2, "'bit' is not a known key", "Did you mean 'bits'?"),
    ],
)
@pytest.mark.skipif("__import__('shutil').which('nvidia-smi')", reason="this machine has a GPU")
def test_refused_before_any_weight_is_sent(
    override: str, code: int, sentence: str, fix: str, alice: Cli, demo_hub: LoopbackHub
) -> None:
    write(alice.folder)
    result = alice("quantize-gptq", "g.yaml", override, "-o", "out")
    assert result.exit_code == code, result.stderr
    assert sentence in result.stderr and fix in result.stderr and "Traceback" not in result.stderr
    assert demo_hub.weight_bytes_served() == 0
    assert not (alice.folder / "out").exists() and not (alice.folder / ".out.llmcourse").exists()


def test_a_gated_data_set_is_refused_in_the_plan(alice: Cli, demo_hub: LoopbackHub) -> None:
    demo_hub.repo("acme/chats", kind="dataset").add_files(
        {"train.jsonl": b'{"text": "a"}\n'}, message="Upload"
    )
    demo_hub.repo("acme/chats", kind="dataset").gate("manual")
    write(alice.folder, calibration={"dataset": "acme/chats", **QUICK})
    result = alice("quantize-gptq", "g.yaml", "-o", "out")
    assert result.exit_code == 4 and "acme/chats" in result.stderr and "gated" in result.stderr, result.stderr


@pytest.mark.slow
def test_a_data_set_of_the_hub_is_streamed_and_pinned(alice: Cli, demo_hub: LoopbackHub, texts: Path) -> None:
    lines = (texts / "calibration.txt").read_text().split("\n\n")
    rows = "".join(json.dumps({"text": line * 40}) + "\n" for line in lines[:300])
    demo_hub.repo("acme/texts", kind="dataset").add_files({"train.jsonl": rows.encode()}, message="Upload")
    write(alice.folder, calibration={"dataset": "acme/texts", **QUICK})
    made = alice("quantize-gptq", "g.yaml", "-o", "out", "--json", "--no-push")
    assert made.exit_code == 0, made.stderr
    assert made.json["details"]["calibration"]["dataset"] == "acme/texts"
    assert len(made.json["details"]["calibration"]["revision"]) == 40


@pytest.mark.slow
def test_conversations_need_a_chat_template(alice: Cli) -> None:
    talk = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    (alice.folder / "talk.jsonl").write_text((json.dumps(talk) + "\n") * 50)
    write(alice.folder, model=CODE_ID, calibration={"text": "talk.jsonl", **QUICK})
    result = alice("quantize-gptq", "g.yaml", "-o", "out")
    assert result.exit_code == 4, result.stderr
    assert "chat template" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_folder_named_as_a_tokenizer_is_is_left_alone(alice: Cli, tmp_path: Path, family: Family) -> None:
    folder = tmp_path / "with-backup"
    shutil.copytree(family.base, folder)
    (folder / "tokenizer_backup").mkdir()
    write(alice.folder, model=str(folder))
    made = alice("quantize-gptq", "g.yaml", "-o", "out")
    assert made.exit_code == 0, made.stderr


def test_a_pickled_model_is_refused(alice: Cli, tmp_path: Path, family: Family) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    for path in family.base.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "pytorch_model.bin").write_bytes(b"PK")
    write(alice.folder, model=str(folder))
    result = alice("quantize-gptq", "g.yaml", "-o", "out")
    assert result.exit_code == 4 and "pickled weights" in result.stderr


@pytest.mark.slow
def test_weights_that_compute_no_numbers_are_told_and_nothing_is_published(
    alice: Cli, demo_hub: LoopbackHub, tmp_path: Path, family: Family
) -> None:
    folder = build_random_llama(tmp_path / "nan", tokenizer_from=family.base, hidden=128, intermediate=256)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][:] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write(alice.folder, model=str(folder), hub={"repo": "alice/nan"})
    result = alice("quantize-gptq", "g.yaml", "-o", "out")
    assert result.exit_code == 4 and "model.norm.weight holds values that are no numbers" in result.stderr
    assert "Traceback" not in result.stderr
    assert not demo_hub.repo("alice/nan").exists()
