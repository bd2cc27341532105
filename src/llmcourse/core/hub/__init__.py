"""The only package that talks to the Hugging Face Hub."""

from llmcourse.core.hub.client import cache_folder, is_offline, use_quietly
from llmcourse.core.hub.datasets import read_dataset, stream_error
from llmcourse.core.hub.models import download, download_small, read_hub_model
from llmcourse.core.hub.push import push
from llmcourse.core.hub.target import Target, read_target

__all__ = [
    "Target",
    "cache_folder",
    "download",
    "download_small",
    "is_offline",
    "push",
    "read_dataset",
    "read_hub_model",
    "read_target",
    "stream_error",
    "use_quietly",
]
