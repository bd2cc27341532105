"""The backend auto-gptq: its jobs, and the two forms of config.json between which it stands.

auto-gptq lives in an environment of its own, with a transformers of version 4.  It gets the model through a
folder of links in which only config.json is written anew, in the words of that version.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from llmcourse.core.environments import Environment, work
from llmcourse.core.errors import PlanError
from llmcourse.core.older_names import with_older_names_only
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import share_files

WORKER = Path(__file__).with_name("auto_gptq_worker.py")

# `model_type` of those that auto-gptq 0.7.1 quantizes (auto_gptq/modeling/_const.py) and that transformers
# itself knows; the others need code that their repositories brought along.
MODEL_TYPES = frozenset(
    {
        "bloom", "codegen", "falcon", "gemma", "gpt2", "gpt_bigcode", "gpt_neox", "gptj", "llama", "mistral",
        "mixtral", "opt", "qwen2",
    }
)  # fmt: skip


def environment() -> Environment:
    """auto-gptq's environment; the first use builds it."""
    return Environment(WORKER)


def quantize(
    settings: Mapping[str, Any], windows: Path, model: Path, output: Path, progress: Progress, log: IO[bytes]
) -> dict[str, Any]:
    """Quantize `model` into the folder `output`: model.safetensors, config.json, quantize_config.json.

    `settings` has bits, group_size, desc_act, damp_percent, symmetric, dtype (of what is not quantized) and
    trust_remote_code.  `windows` is a .npy file of token ids, int32 of shape (samples, length); a folder of
    links lies beside it while this runs.

    Returns {"losses": [{"layer": 0, "module": "mlp.up_proj", "loss": …}, …], "seconds": …, "versions": {…}}:
    a loss is the sum of GPTQ's squared errors over a module's weights by the number of samples (Frantar et
    al. 2022; `Losses` in auto_gptq/quantization/gptq.py).

    Raises:
        MissingError: there is no CUDA device, or the environment cannot be built.
        LibraryError: auto-gptq failed.
    """
    keys = ("bits", "group_size", "desc_act", "damp_percent", "symmetric", "dtype", "trust_remote_code")
    job = {"task": "quantize", "windows": str(windows), "output": str(output)}
    job |= {key: settings[key] for key in keys}
    with _for_transformers_4(model, windows, settings["trust_remote_code"]) as folder:
        result = work(environment(), job | {"model": str(folder)}, progress, log)
    _complete(output)
    return result


def read(
    checkpoint: Path,
    windows: Path,
    progress: Progress,
    log: IO[bytes],
    *,
    prompt: Sequence[int] = (),
    new_tokens: int = 16,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Read a GPTQ checkpoint with auto-gptq, on the CPU in float32: not with what wrote it.

    Returns {"nll": mean negative log-likelihood in nats per token over the windows, "continuation": the token
    ids that follow `prompt` greedily, "versions": {…}}.

    Raises:
        PlanError: the checkpoint is of a kind that auto-gptq does not know.
        MissingError: the environment cannot be built.
        LibraryError: auto-gptq failed.
    """
    settings = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    _refuse_what_auto_gptq_cannot_read(checkpoint, settings)
    job = {
        "task": "read",
        "windows": str(windows),
        "prompt": list(prompt),
        "new_tokens": new_tokens,
        "trust_remote_code": trust_remote_code,
        "bits": settings["bits"],
        "group_size": settings["group_size"],
        "desc_act": settings["desc_act"],
        "symmetric": settings["sym"],
    }
    with _for_transformers_4(checkpoint, windows, trust_remote_code) as folder:
        return work(environment(), job | {"model": str(folder)}, progress, log)


def _refuse_what_auto_gptq_cannot_read(checkpoint: Path, settings: Mapping[str, Any]) -> None:
    method, form = settings.get("quant_method"), settings.get("checkpoint_format", "gptq")
    if method != "gptq" or form != "gptq" or settings.get("dynamic") or settings.get("lm_head"):
        raise PlanError(
            f"auto-gptq cannot read {checkpoint}: it reads the format gptq with one number of bits for all "
            f"layers and an lm_head that is not quantized; this is {method}, format {form}.",
            "Read it with gptqmodel.",
        )


@contextmanager
def _for_transformers_4(model: Path, windows: Path, trust_remote_code: bool) -> Iterator[Path]:
    """A folder with links to the model's files beside `windows`, and its config.json as version 4 has it."""
    folder = windows.with_suffix(".model")
    if folder.exists():  # of a run that was killed
        shutil.rmtree(folder)
    folder.mkdir()
    config = with_older_names_only(json.loads((model / "config.json").read_text(encoding="utf-8")))
    if not trust_remote_code:
        # auto-gptq loads the configuration with trust_remote_code=True, whatever it is told.
        config.pop("auto_map", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    for path in model.iterdir():
        if path.name != "config.json" and (trust_remote_code or path.suffix != ".py"):
            (folder / path.name).symlink_to(path.resolve())
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _complete(output: Path) -> None:
    """Say in both configs what readers other than auto-gptq ask for, and leave out where it was written."""
    for name in ("config.json", "quantize_config.json"):
        path = output / name
        data = json.loads(path.read_text(encoding="utf-8"))
        settings = data["quantization_config"] if name == "config.json" else data
        for key in ("model_name_or_path", "model_file_base_name", "is_marlin_format"):
            settings.pop(key, None)
        settings |= {"checkpoint_format": "gptq", "lm_head": False, "pack_dtype": "int32"}
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    share_files(output)
