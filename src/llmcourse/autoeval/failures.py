"""What goes wrong in lm-eval, data sets and models, in a line for the table."""

import errno

import torch

_LONGEST = 300  # characters; the whole of it is in the log


def reason_of(error: Exception) -> str:
    """Why a task failed, as people would tell it; the traceback is in the log."""
    if isinstance(error, torch.OutOfMemoryError):
        return "the memory of the GPU ran out (set runtime.batch_size lower)"
    text = " ".join(str(error).split())
    if isinstance(error, KeyError):
        text = f"no {text}"
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return told if len(told) <= _LONGEST else f"{told[: _LONGEST - 1]}…"


def is_disk_full(error: BaseException | None) -> bool:
    """Whether this error, or what caused it, is a full disk: then no task goes on."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
