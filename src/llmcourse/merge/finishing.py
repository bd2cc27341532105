"""The config.json of a finished result, put right by what its files hold."""

import json
import logging
from pathlib import Path

import torch
from safetensors import safe_open

from llmcourse.core.headers import safetensors_header
from llmcourse.core.model import LocalFiles
from llmcourse.core.older_names import with_older_names
from llmcourse.core.workspace import write_json
from llmcourse.merge.result_config import embeddings_and_head, settled


def settle_config(folder: Path) -> None:
    """Write config.json anew: it promises what is there, under the older names too."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    files, shapes, places = LocalFiles(folder), dict[str, tuple[int, ...]](), dict[str, str]()
    for name in sorted(name for name in files.sizes if name.endswith(".safetensors")):
        for tensor, entry in safetensors_header(files, name).items():
            shapes[tensor], places[tensor] = tuple(entry["shape"]), name
    if shapes:  # pickled weights have no headers
        config, changes = settled(config, shapes, _is_head_embedding(folder, shapes, places))
        for change in changes:
            logging.info("config.json: %s", change)
    write_json(path, with_older_names(config))


def _is_head_embedding(folder: Path, shapes: dict[str, tuple[int, ...]], places: dict[str, str]) -> bool:
    """Whether the output matrix is the embeddings, number by number."""
    pair = embeddings_and_head(shapes)
    if pair is None or shapes[pair[0]] != shapes[pair[1]]:
        return False
    values = []
    for name in pair:
        with safe_open(folder / places[name], framework="pt") as file:
            values.append(file.get_tensor(name))
    return torch.equal(*values)
