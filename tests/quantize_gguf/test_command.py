"""`llmcourse quantize-gguf` from YAML to files: real models, real llama.cpp, the program as a process."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from llmcourse.quantize_gguf.config import DEFAULT_TYPES
from llmcourse.quantize_gguf.llama.gguf_file import GgufFile, type_name
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import CODE_ID, Family, build_lora
from llmcourse.testing.plugin import Cli
from tests.quantize_gguf.builders import (
    digests,
    logged_in,
    manifest,
    merge_of,
    program,
    start_converted,
    steps,
    whole,
    write_config,
)
from tests.tiny_configs import tiny_configs

USUAL = tiny_configs("quantize-gguf") / "usual.yaml"

METADATA = {
    "name": "tiny-llama-code",
    "author": "llmcourse-demo",
    "license": "apache-2.0",
    "base_model.0.name": "tiny-llama-code",
    "base_model.0.organization": "llmcourse-demo",
    "base_model.0.repo_url": f"https://huggingface.co/{CODE_ID}",
    "architecture": "llama",
    "type": "model",
}


@pytest.fixture
def quantize(llmcourse: Cli, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return program(llmcourse, tmp_path_factory)


@pytest.fixture
def converted(quantize: Cli, tmp_path_factory: pytest.TempPathFactory, family: Family) -> Cli:
    """The program in a folder where g.yaml has been begun: the model is converted already."""
    start_converted(tmp_path_factory, quantize, family)
    return quantize


def nothing_left(cli: Cli) -> bool:
    """Whether the system's temporary folder is empty and no staging folder is left."""
    return not list((cli.folder / "tmp").iterdir()) and not list(cli.folder.glob(".*.llmcourse"))


@pytest.mark.slow
def test_six_types_of_a_hub_model_each_tried_and_listed(quantize: Cli, demo_hub: LoopbackHub) -> None:
    alice = logged_in(quantize, demo_hub)
    result = alice("quantize-gguf", USUAL, "-o", "out", "hub.repo=alice/tiny-GGUF", "--no-push", "--json")
    assert result.exit_code == 0, result.stderr
    out, artifact = quantize.folder / "out", result.json
    assert set(digests(artifact["files"])) == {f"tiny-llama-code.{name}.gguf" for name in DEFAULT_TYPES}
    assert artifact["reference"] == str(out) and not artifact["cached"]
    assert set(artifact["inputs"]) == {CODE_ID}
    assert whole(out) and nothing_left(quantize)
    by_type = {file["piece"]: file for file in artifact["files"] if file.get("piece")}
    sizes = [by_type[name]["size"] for name in DEFAULT_TYPES]
    bits = [by_type[name]["about"]["bits_per_weight"] for name in DEFAULT_TYPES]
    assert sizes == sorted(sizes) and bits == sorted(bits)
    assert all(
        re.match("The meaning of life is .*[a-z]", file["about"]["sample"]) for file in by_type.values()
    )
    card = (out / "README.md").read_text()
    assert card.count("| [tiny-llama-code.") == 6 and f"- {CODE_ID}\n" in card
    file = GgufFile(out / "tiny-llama-code.Q8_0.gguf")
    assert {key: file.value(f"general.{key}") for key in METADATA} == METADATA
    assert file.value("general.quantized_by") in ("alice", "llmcourse")


def test_a_dry_run_says_sizes_that_come_true_and_makes_nothing(converted: Cli) -> None:
    shutil.rmtree(converted.folder / ".out.llmcourse")
    shown = converted("quantize-gguf", "g.yaml", "-n")
    assert shown.exit_code == 0 and "✓ converter: knows llama" in shown.stdout, shown.stdout
    plan = converted("quantize-gguf", "g.yaml", "-n", "--json", "-o", "out").json
    assert sorted(path.name for path in converted.folder.iterdir()) == ["g.yaml", "tmp"]
    assert plan["exit_code"] == 0 and plan["pieces"] == ["Q8_0", "Q4_K_M"]
    made = converted("quantize-gguf", "g.yaml", "-o", "out", "--json").json
    sizes = sum(file["size"] for file in made["files"] if "piece" in file)
    # The names in the files' heads are written at the end; who publishes does not change a plan.
    assert sizes - 1000 < plan["estimate"]["write"] <= sizes


@pytest.mark.parametrize(
    ("override", "code"),
    [("types=[Q4_KM]", 2), ("types=[IQ1_S]", 4), ("types=[Q4_KM, IQ1_S]", 2), ("model=./gone", 4)],
)
def test_a_dry_run_ends_with_the_code_of_the_run(override: str, code: int, converted: Cli) -> None:
    dry = converted("quantize-gguf", "g.yaml", override, "-n", "--json")
    run = converted("quantize-gguf", "g.yaml", override, "-o", "out", "--json")
    assert dry.exit_code == dry.json["exit_code"] == code
    assert (run.exit_code, run.json["error"]["exit_code"]) == (code, code)
    assert "Traceback" not in run.stderr and not (converted.folder / "out").exists()


def test_quiet_prints_the_folder_and_the_second_time_is_quick_and_changes_nothing(converted: Cli) -> None:
    out = converted.folder / "out"
    made = converted("quantize-gguf", "g.yaml", "-o", "out", "-q")
    assert (made.exit_code, made.stdout, made.stderr) == (0, f"{out}\n", "")
    before = {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.iterdir()}
    again = converted("quantize-gguf", "g.yaml", "-o", "out", "--json", "--progress", "json")
    assert again.exit_code == 0 and again.json["cached"]
    assert steps(again) == []
    assert {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.iterdir()} == before
    assert nothing_left(converted)


def test_a_merge_goes_through_a_pipe_into_ggufs(quantize: Cli, family: Family) -> None:
    write_config(quantize.folder, "m.yaml", **merge_of(family))
    write_config(quantize.folder, model="org/any", types=["Q4_K_M"])
    merged = quantize("merge", "m.yaml", "-q")
    result = quantize("quantize-gguf", "g.yaml", "model=-", "-q", stdin=merged.stdout)
    assert result.exit_code == 0, result.stderr
    assert (result.stdout, result.stderr) == (f"{quantize.folder / 'g'}\n", "")
    assert (quantize.folder / "g" / "m.Q4_K_M.gguf").is_file()


@pytest.mark.slow
def test_files_are_split_in_shards_that_load(converted: Cli, family: Family) -> None:
    write_config(converted.folder, "s.yaml", model=str(family.base), types=["Q8_0"], split="1M")
    result = converted("quantize-gguf", "s.yaml", "-o", "out", "--json")
    assert result.exit_code == 0, result.stderr
    names = sorted(digests(result.json["files"]))
    assert len(names) > 2 and names[0] == f"base.Q8_0-00001-of-{len(names):05}.gguf"
    assert names == sorted(path.name for path in (converted.folder / "out").glob("*.gguf"))
    files = [file for file in result.json["files"] if file.get("piece") == "Q8_0"]
    assert [file["files_in_piece"] for file in files] == [len(names)] * len(names)
    assert "The meaning of life is" in files[0]["about"]["sample"]
    # A shard that was lost is made again, and nothing is called finished that is not.
    (converted.folder / "out" / names[1]).unlink()
    again = converted("quantize-gguf", "s.yaml", "-o", "out", "--json")
    assert again.exit_code == 0, again.stderr
    assert digests(again.json["files"]) == digests(result.json["files"])
    assert whole(converted.folder / "out")


def test_imatrix_quality_and_tensor_types_in_folders_with_spaces_and_unicode(
    quantize: Cli, family: Family
) -> None:
    shutil.copytree(family.base, quantize.folder / "mein Modell ü@1 {x}")
    prose = family.eval_texts["prose"]
    (quantize.folder / "calibration ü.txt").write_text(prose[: len(prose) // 2], encoding="utf-8")
    (quantize.folder / "held-out.txt").write_text(prose[len(prose) // 2 :], encoding="utf-8")
    config = write_config(
        quantize.folder, model="./mein Modell ü@1 {x}", types=["iq2_m", "Q8_0"],
        imatrix={"text": "calibration ü.txt", "chunks": 4},
        quality={"text": str(quantize.folder / "held-out.txt"), "chunks": 2},
        tensor_types={"attn_v": "Q6_K", r"blk\.0\.ffn_down": "q8_0"},
    )  # fmt: skip
    result = quantize("quantize-gguf", config, "-o", "výsledek out", "--json")
    assert result.exit_code == 0, result.stderr
    out, name = quantize.folder / "výsledek out", "mein-Modell-ü-1-x"
    assert {path.name for path in out.iterdir()} == {
        f"{name}.IQ2_M.gguf", f"{name}.Q8_0.gguf", "imatrix.gguf", "quality.json", "quality.png", "README.md",
        "llmcourse.json",
    }  # fmt: skip
    small = GgufFile(out / f"{name}.IQ2_M.gguf")
    types = {tensor.name: type_name(tensor.type).upper() for tensor in small.tensors}
    values = {kind for name, kind in types.items() if "attn_v" in name}
    assert values == {"Q6_K"}
    assert types["blk.0.ffn_down.weight"] == "Q8_0" and types["blk.1.ffn_down.weight"] != "Q8_0"
    assert small.value("quantize.imatrix.file") == "imatrix.gguf"
    table = json.loads((out / "quality.json").read_text())
    kld = {row["type"]: row["quality"]["mean_kld"] for row in table["types"]}
    assert kld["IQ2_M"] > kld["Q8_0"] >= 0 and table["base_perplexity"] > 1
    assert table["chunks"] == 2 and table["text"]["name"] == "held-out.txt"
    card = (out / "README.md").read_text()
    assert "`calibration ü.txt`" in card and "(quality.png)" in card and "- imatrix\n" in card
    assert (out / "quality.png").read_bytes()[:4] == b"\x89PNG"
    for path in out.iterdir():  # what is published does not tell where things lie on this machine
        assert str(quantize.folder).encode() not in path.read_bytes(), path.name
    assert whole(out) and nothing_left(quantize)


def test_a_config_on_stdin_with_overrides(converted: Cli) -> None:
    text = (converted.folder / "g.yaml").read_text()
    result = converted("quantize-gguf", "-", "types=[Q4_K_M]", "-o", "out", "--json", stdin=text)
    assert result.exit_code == 0, result.stderr
    assert list(digests(result.json["files"])) == ["base.Q4_K_M.gguf"]


def test_a_reader_that_closes_the_pipe_does_not_undo_the_work(converted: Cli) -> None:
    process = converted.start("quantize-gguf", "g.yaml", "types=[Q8_0]", "-o", "out")
    for stream in (process.stdin, process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    assert process.wait(timeout=120) == 0
    assert manifest(converted.folder / "out")["command"] == "quantize-gguf"


# peft 0.21 reads a name that transformers 5.23 calls deprecated.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_becomes_a_gguf_that_fits_its_base(quantize: Cli, family: Family) -> None:

    build_lora(quantize.folder / "lora", family.base)
    config = write_config(quantize.folder, model="./lora", base=str(family.base))
    result = quantize("quantize-gguf", config, "-o", "out", "--json")
    assert result.exit_code == 0, result.stderr
    out = quantize.folder / "out"
    assert list(digests(result.json["files"])) == ["lora.F16.gguf"]
    assert GgufFile(out / "lora.F16.gguf").value("adapter.type") == "lora"
    assert (
        str(family.base.parent) not in (out / "llmcourse.json").read_text() + (out / "README.md").read_text()
    )
    assert nothing_left(quantize)


@pytest.mark.slow
def test_pickled_weights_are_converted_when_allowed(quantize: Cli, family: Family) -> None:
    folder = quantize.folder / "pickled"
    shutil.copytree(family.base, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    config = write_config(quantize.folder, model="./pickled", types=["Q8_0"], allow_pickle=True)
    result = quantize("quantize-gguf", config, "-o", "out", "--json")
    assert result.exit_code == 0, result.stderr
    assert list(digests(result.json["files"])) == ["pickled.Q8_0.gguf"]
