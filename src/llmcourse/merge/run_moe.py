"""Mixtures of experts through mergekit-moe's own builder; imported only when a document is one."""

from pathlib import Path
from typing import Any

from mergekit.moe.config import MoEMergeConfig
from mergekit.options import MergeOptions
from mergekit.scripts.moe import build

from llmcourse.merge.seed import seed_all


def make_mixture(document: dict[str, Any], folder: Path, options: MergeOptions) -> None:
    """Build the mixture that a mergekit-moe document describes into `folder`.

    Raises:
        SystemExit: mergekit refuses the config; its log says why.
    """
    if options.random_seed is not None:
        seed_all(options.random_seed)
    config = MoEMergeConfig.model_validate(document)
    build(config, out_path=str(folder), merge_options=options, device=options.device or "cpu", verbose=True)
