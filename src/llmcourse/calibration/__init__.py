"""Reads calibration data: documents, or windows of token ids of one length."""

from llmcourse.calibration.documents import texts
from llmcourse.calibration.packing import windows

__all__ = ["texts", "windows"]
