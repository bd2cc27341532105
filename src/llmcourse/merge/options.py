"""mergekit's MergeOptions by their own names, and LazyMergekit's runtime profiles as sets of them."""

import re
from typing import Any

from pydantic import Field, field_validator

from llmcourse.core.config import Strict

# The flags of LazyMergekit's three runtimes.
PROFILES: dict[str, dict[str, Any]] = {
    "cpu": {"allow_crimes": True, "out_shard_size": 1_000_000_000, "lazy_unpickle": True},
    "cpu-high-ram": {},
    "gpu": {"cuda": True, "low_cpu_memory": True},
}
# Options that mergekit has and that mean nothing here; each field says why.
WITHOUT_EFFECT = frozenset({"transformers_cache", "verbosity", "quiet", "async_write", "write_threads"})
_DEVICE = re.compile(r"cpu|mps|auto|(cuda|xpu)(:\d+)?")
# Numbers that weights may be in.
DTYPES = ("bfloat16", "float16", "float32", "float64")
_SUFFIXES = {"K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9}


class MergeOptions(Strict):
    """Source: mergekit 0.1.5, options.py. A test compares names and defaults with the installed one."""

    allow_crimes: bool = Field(False, description="Allow mixing architectures.")
    unsafe_truncate_embeddings: bool = Field(False, description="Cut vocabularies to the shortest.")
    transformers_cache: str | None = Field(
        None, description="models are in the Hub client's cache (HF_HOME)."
    )
    lora_merge_cache: str | None = Field(None, description="Where LoRA-merged models are kept.")
    lora_merge_dtype: str | None = Field(None, description="dtype for merging LoRAs.")
    cuda: bool = Field(False, description="Compute on the GPU.")
    device: str | None = Field(None, description="Device to compute on, e.g. cuda:1.")
    low_cpu_memory: bool = Field(False, description="Keep intermediate tensors on the device.")
    out_shard_size: int = Field(5_000_000_000, ge=1, description="Bytes per output file, e.g. 5B or 500M.")
    copy_tokenizer: bool = Field(True, description="Copy a tokenizer to the result.")
    clone_tensors: bool = Field(False, description="Copy tensors before writing them.")
    trust_remote_code: bool = Field(False, description="Run code that models bring (dangerous).")
    random_seed: int | None = Field(None, ge=0, lt=2**32, description="Seed of the random methods.")
    lazy_unpickle: bool = Field(False, description="Read pickled weights piece by piece.")
    write_model_card: bool = Field(True, description="Write README.md.")
    safe_serialization: bool = Field(True, description="Write safetensors; false pickles.")
    verbosity: int = Field(0, description="-v shows mergekit's log.")
    quiet: bool = Field(False, description="-q is quiet.")
    read_to_gpu: bool = Field(False, description="Read weights straight to the device.")
    multi_gpu: bool = Field(False, description="Spread the work over all GPUs.")
    num_threads: int | None = Field(
        None, ge=1, le=4096, description="Threads for computing; all cores by default."
    )
    gpu_rich: bool = Field(False, description="cuda, low_cpu_memory, read_to_gpu and multi_gpu together.")
    async_write: bool = Field(False, description="writing always overlaps computing.")
    write_threads: int = Field(1, description="there is one writing thread, as in mergekit.")

    @field_validator("out_shard_size", mode="before")
    @classmethod
    def _with_suffix(cls, value: Any) -> Any:
        """mergekit's 5B, 500M, 100k. Its help says parameters; its code counts bytes, and so do we."""
        if isinstance(value, str) and value[-1:].upper() in _SUFFIXES and value[:-1].isdigit():
            return int(value[:-1]) * _SUFFIXES[value[-1:].upper()]
        if isinstance(value, str) and not value.isdigit():
            raise ValueError(
                f"out_shard_size is {value!r}, which is no size | Write 5B, 500M, 100k, or bytes."
            )
        return value

    @field_validator("lora_merge_dtype")
    @classmethod
    def _known_dtype(cls, value: str | None) -> str | None:
        if value is not None and value.removeprefix("torch.") not in DTYPES:
            raise ValueError(f"lora_merge_dtype {value!r} is not known | Use one of: {', '.join(DTYPES)}.")
        return value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str | None) -> str | None:
        if value is not None and not _DEVICE.fullmatch(value):
            raise ValueError(f"device {value!r} is not known | Use cpu, cuda, cuda:1, mps, xpu or auto.")
        return value


def effective_options(profile: str, options: MergeOptions) -> MergeOptions:
    """The profile's settings, with those written in the config on top."""
    return MergeOptions(**PROFILES[profile] | options.model_dump(exclude_unset=True))
