"""GPTQ and AWQ by gptqmodel, layer by layer.

Source: gptqmodel 7.6.0; Frantar et al. 2022 (GPTQ), Lin et al. 2023 (AWQ).
"""

import json
import os
import re
import shutil
import time
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from gptqmodel.looper.checkpoint_store import CheckpointConfig, CheckpointError
from numpy.typing import NDArray

from llmcourse.core.errors import PlanError
from llmcourse.core.progress import Progress, Step
from llmcourse.quantize_gptq.activations import watch_layers
from llmcourse.quantize_gptq.config import Config

# gptqmodel 7.6.0 goes on at the last finished layer with these only (looper/gptq_checkpoint.py).
RESUMABLE = ("llama", "qwen3_moe")
_NUMBER = re.compile(r"\d+\.?\d*(?:[eE][-+]?\d+)?$")
_DAMP_STEP = 1e-5  # gptqmodel's log has five decimals
# The compiled packing writes the same bytes 7 times faster (measured: 4096 x 4096 in 0.8 s, not 5.4 s) and is
# compiled once, for half a minute where two cores are idle and for 8 minutes where they are not.
_COMPILED_FROM = 1_000_000_000  # parameters
# gptqmodel 7.6 looks for their head on the disk under another name than it wrote it.
_NOT_OFFLOADED = ("gpt_neox",)
_AWQ_FORMAT = "gemm"  # what AutoAWQ wrote, and vLLM and transformers read


@dataclass(frozen=True)
class LayerLoss:
    """A module's squared error over the calibration, as the method itself measures it."""

    layer: int
    module: str
    loss: float
    damp: float | None = None
    fallback: str = ""  # "rtn" where it was only rounded: too little of the calibration reached it


@dataclass(frozen=True)
class Quantized:
    layers: list[LayerLoss]
    seconds: float | None  # of all layers; None where an earlier run made some of them


def quantize(
    config: Config,
    settings: dict[str, Any],
    model_folder: Path,
    rows: NDArray[np.int32],
    output: Path,
    scratch: Path,
    progress: Progress,
) -> Quantized:
    """Quantize the model over `rows` of token ids (samples, length) and save it in `output`.

    Layers that are finished are kept in `scratch`, and a run that was killed goes on after them where
    gptqmodel can.
    """
    linked = _without_links(model_folder, scratch / "model")
    packing = _packing(settings["parameters"], progress)
    with progress.step("load the model"):
        wishes = _wishes(config, settings, scratch / "layers", packing, _kind(model_folder))
        model = GPTQModel.load(
            str(linked or model_folder),
            wishes,
            dtype=getattr(torch, settings["dtype"]),
            trust_remote_code=config.trust_remote_code,
        )
    _refuse_unused_expressions(config, model)
    watch_layers(model.model, config, settings["dtype"])
    examples = [{"input_ids": row.tolist(), "attention_mask": [1] * len(row)} for row in rows]
    begin = time.monotonic()
    layers = _count_layers(model)
    checkpoint = _checkpoint(config, model, linked, scratch / "checkpoint", progress)
    options: dict[str, Any] = {
        "batch_size": 1,
        "calibration_data_min_length": 1,  # all windows have the length that was asked for
        "checkpoint": checkpoint,
        "backend": _backend(config, settings),
    }
    is_resumed = checkpoint is not None and any((scratch / "checkpoint").glob("CURRENT"))
    # gptqmodel writes logs into the current folder, which is the user's.
    with progress.step(f"quantize to {config.bits} bits", layers, "layers") as step, chdir(scratch):
        model.layer_callback = _LayerCounter(step)
        try:
            model.quantize(examples, **options)
        except CheckpointError:
            if not is_resumed:
                raise
            progress.note("What an earlier run finished does not fit this one any more; it starts over.")
            shutil.rmtree(scratch / "checkpoint")
            model.quantize(examples, **options)
    seconds = time.monotonic() - begin
    # AWQ searches scales and solves nothing: it has no such loss.
    losses = [] if config.method == "awq" else [_loss(entry) for entry in model.quant_log]
    _tell_damping(losses, config, progress)
    _tell_rounding(losses, progress)
    shutil.rmtree(output, ignore_errors=True)
    with progress.step("save"):
        model.save(str(output))
    return Quantized(losses, None if is_resumed else seconds)


def _without_links(folder: Path, place: Path) -> Path | None:
    """The model in a folder of real files: what leads out of its folder gptqmodel does not go on from.

    The Hub's cache is made of links to files elsewhere.  Hard links cost nothing; None where the cache is on
    another disk, so that there can be none.
    """
    files = [path for path in folder.iterdir() if path.is_file()]
    if not any(path.is_symlink() for path in files):
        return folder
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        for path in files:
            os.link(path.resolve(), place / path.name)
    except OSError:
        return None
    return place


def _refuse_unused_expressions(config: Config, model: Any) -> None:
    """gptqmodel has its own names for some modules: what matches none of them would be ignored silently."""
    names = [name for name, _ in model.model.named_modules() if "." in name]
    for pattern in config.modules:
        if not any(re.search(pattern, name) for name in names):
            last = dict.fromkeys(name.rpartition(".")[2] for name in names if not name[-1].isdigit())
            raise PlanError(
                f"{pattern!r} matches no module of this model as gptqmodel names them.",
                f"Its modules are called {', '.join(sorted(last))}.",
                where="modules",
            )


class _LayerCounter:
    """Advances a step when a layer is done; gptqmodel tells it twice, and a resumed run begins later."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool) -> None:
        if not submodule_finalized:
            self._step.advance(layer_idx + 1 - self._step.done)


def _kind(model_folder: Path) -> str:
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    return str(config.get("model_type"))


def _packing(parameters: int, progress: Progress) -> str:
    """gptqmodel's name of what packs the weights; compiles it where that pays and it can be compiled."""
    if parameters < _COMPILED_FROM:
        return "original"
    with progress.step("compile gptqmodel's packing, once on this machine (minutes)"):
        try:
            from gptqmodel.utils.cpp import load_pack_block_extension

            is_there = load_pack_block_extension() is not None
        except (ImportError, RuntimeError):
            is_there = False
    if not is_there:
        progress.note(
            "gptqmodel's packing could not be compiled (it needs g++ and ninja); torch packs instead: "
            "the same bytes, and up to 5 minutes more for 10^9 weights."
        )
    return "cpu" if is_there else "original"


def _wishes(config: Config, settings: dict[str, Any], offload: Path, packing: str, kind: str) -> Any:
    shutil.rmtree(offload, ignore_errors=True)
    wishes: dict[str, Any] = {
        "bits": config.bits,
        "group_size": config.group_size,
        "sym": config.symmetric,
        "dynamic": config.dynamic or None,
        "device": settings["device"],
        "offload_to_disk_path": str(offload),
        "offload_to_disk": kind not in _NOT_OFFLOADED,
        "pack_impl": packing,
    }
    if config.method == "awq":
        return QuantizeConfig(**wishes, method="awq", format=_AWQ_FORMAT)
    return QuantizeConfig(
        **wishes,
        format=config.method,
        desc_act=config.desc_act,
        damp_percent=config.damp_percent,
        # The order of groups by activation is the library's default; whole rows have no groups.
        act_group_aware=False if config.group_size == -1 else None,
        mock_quantization=config.dry_run == "mock",
    )


def _backend(config: Config, settings: dict[str, Any]) -> Any:
    """What packs the weights; for AWQ gptqmodel would choose a kernel that needs CUDA, wherever it runs."""
    return BACKEND.AWQ_TORCH if config.method == "awq" and settings["device"] == "cpu" else BACKEND.AUTO


def _count_layers(model: Any) -> int:
    settings = model.model.config
    return int(getattr(settings, "get_text_config", lambda: settings)().num_hidden_layers)


def _checkpoint(
    config: Config, model: Any, source: Path | None, folder: Path, progress: Progress
) -> CheckpointConfig | None:
    """Where finished layers are kept, None where gptqmodel cannot go on after them."""
    if config.dry_run:
        return None
    kind = model.model.config.model_type
    reasons = {
        "modules of their own": bool(config.modules),
        f"{kind} models": kind not in RESUMABLE,
        "a model made of links that cannot be made anew here": source is None,
    }
    hindered = [reason for reason, holds in reasons.items() if holds]
    if not hindered:
        return CheckpointConfig(path=folder)
    progress.note(f"gptqmodel cannot resume {hindered[0]}: if this run is killed, it starts over.")
    return None


def _loss(entry: dict[str, Any]) -> LayerLoss:
    """A row of gptqmodel's log; where it fell back to rounding, words stand before or instead of numbers."""
    layer, module = int(entry["layer"]), str(entry["module"])
    numbers = {name: _NUMBER.search(str(entry[name])) for name in ("loss", "damp")}
    loss, damp = (float(found[0]) if found else 0.0 for found in numbers.values())
    fallback = "rtn" if "fallback" in str(entry["loss"]) else ""
    return LayerLoss(layer, module, loss, None if fallback else damp, fallback)


def _tell_damping(losses: list[LayerLoss], config: Config, progress: Progress) -> None:
    """gptqmodel adds more damping where a layer cannot be solved with what was asked for."""
    raised = [
        loss for loss in losses if loss.damp is not None and loss.damp > config.damp_percent + _DAMP_STEP
    ]
    if raised:
        worst = max(raised, key=lambda loss: loss.damp or 0)
        progress.note(
            f"damp_percent was raised for {len(raised)} of {len(losses)} modules, to {worst.damp:g} at most "
            f"(layer {worst.layer}, {worst.module}): more calibration text would help."
        )


def _tell_rounding(losses: list[LayerLoss], progress: Progress) -> None:
    rounded = [loss for loss in losses if loss.fallback]
    if rounded:
        progress.note(
            f"{len(rounded)} of {len(losses)} modules were only rounded, because too little of the text "
            f"reached them (layer {rounded[0].layer}, {rounded[0].module} first): give more text."
        )
