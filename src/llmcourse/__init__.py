"""Merge, quantize, evaluate and trace open language models; importing this package loads nothing else."""

__version__ = "0.1.0"
