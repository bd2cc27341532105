"""Seed every generator that a merge may draw from."""

import random

import numpy
import torch


def seed_all(seed: int) -> None:
    """Do what transformers' `set_seed` does, whose module loads the whole library to do it.

    Source: transformers 5.23, trainer_utils.py.  torch seeds the generators of all devices.
    """
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
