"""The backend auto-gptq: its refusals; when slow, the library itself."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

import numpy as np
import pytest
from tokenizers import Tokenizer

from llmcourse.core.environments import Environment
from llmcourse.core.errors import LibraryError, MissingError, PlanError
from llmcourse.core.machine import this_machine
from llmcourse.core.progress import Advanced, Event, Finished, Progress, Started
from llmcourse.quantize_gptq import auto_gptq
from llmcourse.testing.models import Family

SETTINGS: dict[str, Any] = {
    "bits": 4,
    "group_size": 128,
    "desc_act": False,
    "damp_percent": 0.01,
    "symmetric": True,
    "dtype": "float16",
    "trust_remote_code": False,
}
SILENT = Progress(lambda event: None)


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "gptq", "checkpoint_format": "gptq_v2", "bits": 4},
        {"quant_method": "gptq", "checkpoint_format": "gptq", "dynamic": {"+:.*down.*": {"bits": 8}}},
        {"quant_method": "gptq", "checkpoint_format": "gptq", "lm_head": True},
    ],
)
def test_a_checkpoint_of_a_kind_that_auto_gptq_does_not_know_is_refused_before_anything_is_built(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": settings}))
    with (tmp_path / "log").open("wb") as log, pytest.raises(PlanError) as caught:
        auto_gptq.read(tmp_path, tmp_path / "windows.npy", SILENT, log)
    assert str(settings["quant_method"]) in caught.value.what
    assert caught.value.fix == "Read it with gptqmodel."


def windows_of(
    family: Family, topic: Literal["code", "prose"], samples: int, length: int, path: Path
) -> Path:
    """Token ids of a text as a .npy file, int32 of shape (samples, length)."""
    tokenizer = Tokenizer.from_file(str(family.base / "tokenizer.json"))
    ids = tokenizer.encode(family.eval_texts[topic]).ids[: samples * length]
    np.save(path, np.array(ids, dtype=np.int32).reshape(samples, length))
    return path


@pytest.fixture
def calibration(family: Family, tmp_path: Path) -> Path:
    return windows_of(family, "code", 8, 128, tmp_path / "calibration.npy")


@pytest.fixture
def held_out(family: Family, tmp_path: Path) -> Path:
    return windows_of(family, "prose", 8, 128, tmp_path / "held-out.npy")


# Quantizes if it is given a model, then reads: another process, whose settings and warnings are its own.
GPTQMODEL = """
import json, sys
import numpy as np, torch
from gptqmodel import GPTQModel, QuantizeConfig

model, checkpoint, calibration, held_out, settings = sys.argv[1:]
if model:
    config = QuantizeConfig(**json.loads(settings), group_size=128, damp_percent=0.01, device="cpu")
    quantizer = GPTQModel.load(model, config, dtype=torch.float16)
    examples = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in np.load(calibration).tolist()]
    quantizer.quantize(examples, batch_size=1)
    quantizer.save(checkpoint)
reader = GPTQModel.load(checkpoint, device="cpu", dtype=torch.float16).model
windows = torch.from_numpy(np.load(held_out)).long()
with torch.inference_mode():
    losses = [
        torch.nn.functional.cross_entropy(reader(input_ids=ids[None]).logits[0, :-1].double(), ids[1:]).item()
        for ids in windows
    ]
prompt = windows[:1, :16]
whole = reader.generate(
    input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=16, do_sample=False
)
print(json.dumps({"nll": sum(losses) / len(losses), "continuation": whole[0, 16:].tolist()}))
"""


def with_gptqmodel(
    model: Path | None, checkpoint: Path, calibration: Path, held_out: Path, **settings: Any
) -> dict[str, Any]:
    command = [sys.executable, "-c", GPTQMODEL, str(model or ""), str(checkpoint), str(calibration)]
    environment = os.environ | {
        "GPTQMODEL_CPU_WORKERS": "2",
        "HF_HUB_OFFLINE": "1",
        "TMPDIR": str(held_out.parent),
    }
    done = subprocess.run(
        [*command, str(held_out), json.dumps(settings)],
        env=environment, cwd=held_out.parent, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def prompt_of(held_out: Path) -> list[int]:
    prompt: list[int] = np.load(held_out)[0, :16].tolist()
    return prompt


@pytest.mark.slow
@pytest.mark.timeout(900)  # the environment is a gigabyte, and three where torch has CUDA
def test_the_environment_imports_auto_gptq_and_knows_the_models_that_we_say(tmp_path: Path) -> None:
    environment = auto_gptq.environment()
    environment.prepare(SILENT)
    code = """
    import json, sys
    from auto_gptq.modeling._const import SUPPORTED_MODELS
    from auto_gptq.modeling.auto import GPTQ_CAUSAL_LM_MODEL_MAP
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    known = set(SUPPORTED_MODELS) & set(GPTQ_CAUSAL_LM_MODEL_MAP) & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    print(json.dumps(sorted(known)))
    """
    command = [str(environment.python), "-I", "-c", dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout.splitlines()[-1])) == auto_gptq.MODEL_TYPES


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(this_machine().gpus), reason="this machine has a CUDA device")
def test_without_a_cuda_device_auto_gptq_itself_refuses(
    family: Family, calibration: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with (tmp_path / "log").open("wb") as log, pytest.raises(MissingError) as caught:
        auto_gptq.quantize(SETTINGS, calibration, family.base, output, SILENT, log)
    assert caught.value.exit_code == 3
    assert caught.value.what.startswith("auto-gptq needs a CUDA device, and torch 2.13.0")
    assert "gptqmodel" in caught.value.fix
    assert not output.exists()
    assert {path.name for path in tmp_path.iterdir() if "calibration" in path.name} == {"calibration.npy"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "settings",
    [
        {"bits": 4},
        {"bits": 3},
        {"bits": 4, "sym": False},
        {"bits": 4, "desc_act": True, "act_group_aware": False},
    ],
    ids=["4 bits", "3 bits", "asymmetric", "in the order of activations"],
)
def test_auto_gptq_reads_in_a_checkpoint_of_gptqmodel_what_gptqmodel_reads(
    settings: dict[str, Any], family: Family, calibration: Path, held_out: Path, tmp_path: Path
) -> None:
    theirs = with_gptqmodel(family.base, tmp_path / "checkpoint", calibration, held_out, **settings)
    with (tmp_path / "log").open("wb") as log:
        ours = auto_gptq.read(tmp_path / "checkpoint", held_out, SILENT, log, prompt=prompt_of(held_out))
    assert ours["nll"] == pytest.approx(theirs["nll"], abs=1e-3)
    assert ours["continuation"] == theirs["continuation"]
    assert ours["versions"]["auto-gptq"] == "0.7.1"


# Runs the worker with the CPU in the place of the CUDA device that auto-gptq insists on.
ON_THE_CPU = """
import runpy, torch
torch.cuda.is_available = lambda: True
torch.cuda.synchronize = torch.cuda.empty_cache = lambda *_: None
from auto_gptq.modeling import _base
_base.CUDA_0 = torch.device("cpu")
runpy.run_path({worker!r}, run_name="__main__")
"""


@pytest.fixture
def on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """auto-gptq's environment with a script that makes it believe in a CUDA device."""
    worker = auto_gptq.environment().script
    script = tmp_path / worker.name
    header = worker.read_text().partition("# /// script")[2].partition("# ///\n")[0]
    script.write_text(f"# /// script{header}# ///\n" + ON_THE_CPU.format(worker=str(worker)))
    environment = Environment(script)
    assert environment.folder == auto_gptq.environment().folder
    monkeypatch.setattr(auto_gptq, "environment", lambda: environment)
    return environment


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("on_the_cpu")
def test_a_checkpoint_of_auto_gptq_is_one_that_gptqmodel_reads(
    family: Family, calibration: Path, held_out: Path, tmp_path: Path
) -> None:
    """The whole of the worker but for the device; tests/gpu has it on a real one."""
    events: list[Event] = []
    output = tmp_path / "out"
    with (tmp_path / "log").open("wb") as log:
        made = auto_gptq.quantize(SETTINGS, calibration, family.base, output, Progress(events.append), log)
        read = auto_gptq.read(output, held_out, SILENT, log, prompt=prompt_of(held_out))
    assert {path.name for path in output.iterdir()} == {
        "config.json",
        "model.safetensors",
        "quantize_config.json",
    }
    assert len({path.stat().st_mode for path in output.iterdir()}) == 1
    assert_config_says_what_was_done(output)
    assert Counter(loss["layer"] for loss in made["losses"]) == {0: 7, 1: 7, 2: 7, 3: 7}
    assert all(loss["loss"] > 0 for loss in made["losses"])
    assert [event.step for event in events if isinstance(event, Started)] == (
        ["load the model into auto-gptq", "quantize", "pack", "write"]
    )
    assert Started("quantize", 4, "layers") in events
    assert [event.done for event in events if isinstance(event, Advanced)] == [0, 1, 2, 3]
    assert sum(isinstance(event, Finished) for event in events) == 4

    for path in family.base.glob("token*"):  # which gptqmodel asks for
        shutil.copy(path, output)
    theirs = with_gptqmodel(None, output, calibration, held_out)
    assert read["nll"] == pytest.approx(theirs["nll"], abs=1e-3)
    assert read["continuation"] == theirs["continuation"]


def assert_config_says_what_was_done(output: Path) -> None:
    config = json.loads((output / "config.json").read_text())
    assert config["torch_dtype"] == "float16"
    assert config["rope_theta"] == 10000.0
    wanted = {
        "bits": 4,
        "group_size": 128,
        "desc_act": False,
        "damp_percent": 0.01,
        "sym": True,
        "static_groups": False,
        "true_sequential": True,
        "quant_method": "gptq",
        "checkpoint_format": "gptq",
        "lm_head": False,
        "pack_dtype": "int32",
    }
    settings = {key: value for key, value in config["quantization_config"].items() if key in wanted}
    assert settings == wanted
    assert json.loads((output / "quantize_config.json").read_text()) == config["quantization_config"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("on_the_cpu")
def test_a_layer_that_cannot_be_quantized_says_what_helps(
    family: Family, calibration: Path, tmp_path: Path
) -> None:
    """So little damping that the Hessian of one token, repeated, is not positive definite."""
    np.save(calibration, np.full((1, 8), 5, dtype=np.int32))
    settings = SETTINGS | {"damp_percent": 1e-12, "dtype": "float32"}
    with (tmp_path / "log").open("wb") as log, pytest.raises(LibraryError) as caught:
        auto_gptq.quantize(settings, calibration, family.base, tmp_path / "out", SILENT, log)
    assert caught.value.what.startswith("A layer cannot be quantized with damp_percent 1e-12: ")
    assert caught.value.fix.startswith("Raise damp_percent")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("on_the_cpu")
@pytest.mark.parametrize("is_trusted", [False, True])
def test_code_of_a_model_runs_only_where_it_is_trusted(
    is_trusted: bool, family: Family, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """auto-gptq loads configurations with trust_remote_code=True, whatever it is told."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    model = tmp_path / "model"
    model.mkdir()
    for path in family.base.iterdir():
        (model / path.name).symlink_to(path)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").unlink()
    config["auto_map"] = {"AutoConfig": "configuration_own.OwnConfig"}
    (model / "config.json").write_text(json.dumps(config))
    (model / "configuration_own.py").write_text(
        f"open({str(tmp_path / 'it-ran')!r}, 'w')\nfrom transformers import LlamaConfig as OwnConfig\n"
    )
    # It ends at the first layer, long after the configuration was loaded.
    np.save(calibration, np.full((1, 8), 5, dtype=np.int32))
    settings = SETTINGS | {"damp_percent": 1e-12, "dtype": "float32", "trust_remote_code": is_trusted}
    with (tmp_path / "log").open("wb") as log, pytest.raises(LibraryError, match="damp_percent"):
        auto_gptq.quantize(settings, calibration, model, tmp_path / "out", SILENT, log)
    assert (tmp_path / "it-ran").exists() == is_trusted
