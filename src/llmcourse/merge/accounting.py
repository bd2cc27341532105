"""What becomes of every tensor of the inputs, by mergekit's own planner: the answer to a plan's question.

No weight is read.  The planner gets folders with the models' small files, an index and headers without data.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergekit.architecture import get_architecture_info
from mergekit.architecture.auto import get_transformers_info
from mergekit.architecture.conversion import can_convert_checkpoint_keys
from mergekit.common import ModelPath, ModelReference
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache, SaveTensor
from mergekit.merge import _model_out_config
from mergekit.options import MergeOptions

from llmcourse.core.errors import PlanError
from llmcourse.core.isolated import Job
from llmcourse.core.workspace import write_json
from llmcourse.merge.config import Config, walk_stages
from llmcourse.merge.layers import LAYER
from llmcourse.merge.planner import Planner
from llmcourse.merge.published_layout import PublishedLayout
from llmcourse.merge.recipe import Recipe
from llmcourse.merge.resolve import Resolver
from llmcourse.merge.result_config import settled
from llmcourse.merge.tensor_sizes import forget_headers, gathered, planned_tensor, sources

INDEX_NAME = "model.safetensors.index.json"
Header = Mapping[str, tuple[str, tuple[int, ...], str]]  # dtype, shape and file of each tensor


def account(job: Job, options: MergeOptions) -> dict[str, Any]:
    """An account of each stage, in the order they are made; None where it depends on a mixture of experts.

    Raises:
        PlanError: mergekit's definition of the models does not fit their configuration.
    """
    for left in ("inputs", "stages"):  # by a child that was killed, or found a reason to refuse
        shutil.rmtree(job.scratch / left, ignore_errors=True)
    known = {name: _stand_in(job.scratch / "inputs" / str(place), Path(job.inputs[name]), header)
             for place, (name, header) in enumerate(job.settings["tensors"].items())}  # fmt: skip
    accounts: list[dict[str, Any] | None] = []
    for number, stage in enumerate(walk_stages(Config.model_validate(job.config))):
        names = {part for reference in stage.references() for part in reference.parts}
        is_known = isinstance(stage, Recipe) and all(name in known or name in job.inputs for name in names)
        if not isinstance(stage, Recipe) or not is_known:
            accounts.append(None)
            continue
        folder = job.scratch / "stages" / str(number)
        resolver = _WithoutLoras(known, job, options)
        try:
            made, header = _account(resolver.recipe(stage), options, known, folder)
        except RuntimeError as error:
            raise _refusal(error) or error from None
        accounts.append(made)
        if stage.name:
            known[stage.name] = _stand_in(folder, folder, header)
    return {"stages": accounts}


def _refusal(error: RuntimeError) -> PlanError | None:
    """What a value that mergekit's definition looks for in vain is about (mergekit 0.1.5, common.py)."""
    found = re.match(r"Config (\w+) \{.*\bhas no attribute (\S+)$", str(error), re.DOTALL)
    if found is None:
        return None
    what = f"mergekit's definition wants {found[2]} in the models' configuration; a {found[1]} has none."
    return PlanError(what, "Merge other models; mergekit cannot merge these with the installed transformers.")


class _WithoutLoras(Resolver):
    """Every model is its stand-in; a LoRA changes no names and no shapes."""

    def __init__(self, known: Mapping[str, Path], job: Job, options: MergeOptions) -> None:
        super().__init__(job, options)
        self._known = known

    def _folder(self, text: str) -> str:
        return str(self._known[text]) if text in self._known else super()._folder(text)

    def _with_lora(self, model: str, lora: str) -> Path:
        return Path(model)


def _stand_in(folder: Path, source: Path, header: Header) -> Path:
    """A folder that has what mergekit's planner reads of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder != source:
        for path in source.iterdir():
            if path.is_file() and path.suffix in (".json", ".py") and path.name != INDEX_NAME:
                (folder / path.name).symlink_to(path.resolve())
    files: dict[str, dict[str, Any]] = {}
    for name, (dtype, shape, file) in header.items():
        files.setdefault(file, {})[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [0, 0]}
    for file, entries in files.items():
        text = json.dumps(entries).encode()
        (folder / file).write_bytes(len(text).to_bytes(8, "little") + text)
    write_json(folder / INDEX_NAME, {"weight_map": {name: entry[2] for name, entry in header.items()}})
    return folder


def _account(
    config: MergeConfiguration, options: MergeOptions, known: Mapping[str, Path], folder: Path
) -> tuple[dict[str, Any], Header]:
    architecture = get_architecture_info(config, options)
    forget_headers()
    cache = LoaderCache()
    cache.loaders.clear()
    cache.setup(options=options)
    out_config = _model_out_config(config, architecture, trust_remote_code=options.trust_remote_code)
    models = config.referenced_models()
    for model in models:
        cache.get(model)
    tasks = Planner(config, architecture, options=options, out_model_config=out_config).plan_to_disk("")
    used: dict[Any, set[str]] = {model: set() for model in models}
    names = {str(path): name for name, path in known.items()}
    absent: dict[str, list[str]] = {}
    partial: dict[str, int] = {}
    unequal: list[str] = []
    header: dict[str, tuple[str, tuple[int, ...], str]] = {}
    split = PublishedLayout(out_config.model_type).written
    for task in (task for task in tasks if isinstance(task, SaveTensor)):
        given = list(sources(task))
        givers = {source.model for source in given}
        for model, weight in gathered(task).items():
            if model not in givers and not weight.optional:
                absent.setdefault(names[str(model.model.path)], []).append(weight.name)
        for source in given:
            used[source.model].update(source.names)
        if not given:
            continue
        if len(given) < len(gathered(task)):
            partial[task.tensor_name] = len(given)
        if len({source.shape[1:] for source in given}) > 1:
            unequal.append(task.tensor_name)
        for part in planned_tensor(task, config.dtype, split).written:
            header[part.name] = (part.dtype, part.shape, "model.safetensors")
    folder.mkdir(parents=True, exist_ok=True)
    out_config.save_pretrained(folder)
    left_out = {
        names[str(model.model.path)]: sorted(set(cache.get(model).index.tensor_paths) - used[model])
        for model in models
    }
    return {
        "written": {name: list(entry[1]) for name, entry in header.items()},
        "left_out": {name: left for name, left in left_out.items() if left},
        "absent": absent,
        "partial": partial,
        "unequal": unequal,
        "missing": _missing(folder, header, set(cache.get(models[0]).index.tensor_paths), options),
    }, header


def _missing(folder: Path, header: Header, donor: set[str], options: MergeOptions) -> list[str]:
    """What transformers would not find in the result, and finds in the model whose configuration it has.

    Empty where it does not know such models itself; what it loads by rules that mergekit does not read
    (of classes inside a model that sees) seems absent from both.
    """
    path = folder / "config.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    config, _ = settled(stated, {name: entry[1] for name, entry in header.items()}, False)
    write_json(path, config)
    model = ModelReference(model=ModelPath(path=str(folder)))
    _, tied, _, expected = get_transformers_info(model, options)
    is_tied = any(part.get("tie_word_embeddings") for part in _parts(config))
    spared = set(tied or ()) if is_tied else set()

    def finds(name: str, names: set[str]) -> bool:
        layer = LAYER.search(name)
        near = {key for key in names if not layer or f".{layer[1]}." in key}
        return bool(can_convert_checkpoint_keys(config.get("model_type"), near, name))

    wanted = (name for name in expected or () if name not in spared)
    return sorted(name for name in wanted if not finds(name, set(header)) and finds(name, donor))


def _parts(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    inner = config.get("text_config")
    return [config, inner] if isinstance(inner, Mapping) else [config]
