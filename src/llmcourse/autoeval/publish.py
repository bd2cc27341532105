"""What the spine calls when a result has its name."""

from llmcourse.autoeval.publishing import publish as after

__all__ = ["after"]
