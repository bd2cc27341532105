"""The only package that talks to the Hugging Face Hub.

What it offers is imported when it is asked for: a walk through a family needs nothing of what pushes.
Importing it raises what is wrong with the environment's variables (core.hub_environment), before the client
reads them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llmcourse.core.hub_environment import check_environment

if TYPE_CHECKING:
    from llmcourse.core.hub.client import cache_folder as cache_folder
    from llmcourse.core.hub.client import endpoint as endpoint
    from llmcourse.core.hub.client import identity as identity
    from llmcourse.core.hub.client import is_offline as is_offline
    from llmcourse.core.hub.client import probe as probe
    from llmcourse.core.hub.client import token_source as token_source
    from llmcourse.core.hub.client import translated as translated
    from llmcourse.core.hub.client import unreached as unreached
    from llmcourse.core.hub.client import use_quietly as use_quietly
    from llmcourse.core.hub.datasets import read_dataset as read_dataset
    from llmcourse.core.hub.datasets import stream_error as stream_error
    from llmcourse.core.hub.downloads import download as download
    from llmcourse.core.hub.downloads import download_small as download_small
    from llmcourse.core.hub.editing import Place as Place
    from llmcourse.core.hub.editing import create as create
    from llmcourse.core.hub.editing import edit as edit
    from llmcourse.core.hub.editing import is_private as is_private
    from llmcourse.core.hub.editing import list_paths as list_paths
    from llmcourse.core.hub.editing import read_texts as read_texts
    from llmcourse.core.hub.evaluations import eval_results_text as eval_results_text
    from llmcourse.core.hub.evaluations import read_benchmark as read_benchmark
    from llmcourse.core.hub.models import read_hub_model as read_hub_model
    from llmcourse.core.hub.pushing import push as push
    from llmcourse.core.hub.target import Target as Target
    from llmcourse.core.hub.target import read_target as read_target
    from llmcourse.core.hub.task_data import look_at as look_at
    from llmcourse.core.hub.writable import editable as editable

_NAMES = {
    "client": (
        "cache_folder", "endpoint", "identity", "is_offline", "probe", "token_source", "translated",
        "unreached", "use_quietly",
    ),
    "datasets": ("read_dataset", "stream_error"),
    "editing": ("Place", "create", "edit", "is_private", "list_paths", "read_texts"),
    "writable": ("editable",),
    "evaluations": ("eval_results_text", "read_benchmark"),
    "downloads": ("download", "download_small"),
    "models": ("read_hub_model",),
    "pushing": ("push",),
    "task_data": ("look_at",),
    "target": ("Target", "read_target"),
}  # fmt: skip
check_environment()
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
