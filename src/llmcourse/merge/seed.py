"""Seed every generator that a merge may draw from, and draw on where a killed merge had come to."""

import base64
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


def random_state() -> str:
    """That of torch's generator on the CPU, as text."""
    return base64.b64encode(torch.get_rng_state().numpy().tobytes()).decode()


def restore_random_state(state: str) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(base64.b64decode(state)), dtype=torch.uint8))
