"""The only package that talks to the Hugging Face Hub."""

from llmcourse.core.hub.client import (
    cache_folder,
    endpoint,
    identity,
    is_offline,
    probe,
    token_source,
    translated,
    use_quietly,
)
from llmcourse.core.hub.datasets import read_dataset, stream_error
from llmcourse.core.hub.edit import Place, create, edit, is_private, list_paths, read_texts
from llmcourse.core.hub.editable import editable
from llmcourse.core.hub.evaluations import eval_results_text, read_benchmark
from llmcourse.core.hub.models import download, download_small, read_hub_model
from llmcourse.core.hub.push import push
from llmcourse.core.hub.target import Target, read_target

__all__ = [
    "Place",
    "Target",
    "cache_folder",
    "create",
    "download",
    "download_small",
    "edit",
    "editable",
    "endpoint",
    "eval_results_text",
    "identity",
    "is_offline",
    "is_private",
    "list_paths",
    "probe",
    "push",
    "read_benchmark",
    "read_dataset",
    "read_hub_model",
    "read_target",
    "read_texts",
    "stream_error",
    "token_source",
    "translated",
    "use_quietly",
]
