"""Mixtures of experts through mergekit-moe's own builder; imported only when a document is one."""

from pathlib import Path

from mergekit.moe.config import MoEMergeConfig
from mergekit.options import MergeOptions
from mergekit.scripts.moe import build


def make_mixture(config: MoEMergeConfig, folder: Path, options: MergeOptions) -> None:
    """Build the mixture into `folder`: config, weights, tokenizer.

    Raises:
        SystemExit: mergekit refuses the config; its log says why.
    """
    if options.random_seed is not None:
        import transformers

        transformers.trainer_utils.set_seed(options.random_seed)
    build(config, out_path=str(folder), merge_options=options, device=options.device or "cpu", verbose=True)
