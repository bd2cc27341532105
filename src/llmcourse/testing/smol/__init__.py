"""A real language model: SmolLM2-135M-Instruct from PyPI, and two short fine-tunes of it, for the demo.

Nothing heavy is loaded before a model is built; where all are in the cache, nothing is at all.
"""

from llmcourse.testing.smol.family import (
    BASE_ID,
    LIBRARIES,
    MERGING_ID,
    PYTHON_ID,
    Smol,
    build_smol,
    can_build_smol,
)

__all__ = ["BASE_ID", "LIBRARIES", "MERGING_ID", "PYTHON_ID", "Smol", "build_smol", "can_build_smol"]
