"""Merge every config in a folder with mergekit's own functions, in one process: `import` takes longest.

Usage: python mergekit_reference.py CONFIGS OUT MODELS_JSON     (MODELS_JSON: {"org/name": "/folder", …})
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge import run_merge
from mergekit.moe.config import MoEMergeConfig
from mergekit.options import MergeOptions
from mergekit.scripts.moe import build
from mergekit.scripts.multimerge import load_config, make_tasks

DEFAULT_SEED = torch.initial_seed()


def main() -> None:
    configs, out, models = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    for path in sorted(configs.glob("*.yaml")):
        documents = [_localized(document, models) for document in yaml.safe_load_all(path.read_text())]
        _merge(documents, out / path.stem)


def _localized(value: Any, models: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _localized(item, models) for key, item in value.items()}
    if isinstance(value, list):
        return [_localized(item, models) for item in value]
    return models.get(value, value) if isinstance(value, str) else value


def _merge(documents: list[dict[str, Any]], out: Path) -> None:
    document = documents[0]
    options = MergeOptions(quiet=True, write_model_card=False, **document.get("options", {}))
    document = document.get("merge", document)
    torch.manual_seed(DEFAULT_SEED)  # as in a process of its own
    LoaderCache().loaders.clear()
    if len(documents) > 1:
        stages = out.with_name(f"{out.name}-stages")
        recipes, needs = load_config(yaml.safe_dump_all(documents), str(stages))
        for task in _in_order(make_tasks(recipes, needs, options, str(stages), str(out), False)):
            task.execute()
    elif "experts" in document:
        build(MoEMergeConfig.model_validate(document), str(out), options, device="cpu")
    else:
        run_merge(MergeConfiguration.model_validate(document), str(out), options)


def _in_order(tasks: list[Any]) -> list[Any]:
    found: list[Any] = []
    for task in tasks:
        for needed in (*_in_order(list(task.arguments().values())), task):
            if needed not in found:
                found.append(needed)
    return found


if __name__ == "__main__":
    main()
