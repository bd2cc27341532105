"""Torch with the CPU in the place of a CUDA device, for what insists on one and needs nothing of it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch._dynamo  # which takes stock of what torch.cuda has
from torch.overrides import TorchFunctionMode

_CPU = torch.device("cpu")
_MEMORY = 64 * 2**30


@contextmanager
def cpu_for_cuda() -> Iterator[None]:
    """In this thread the names of CUDA devices mean the CPU; torch.cuda and matmul stay replaced.

    Products in 16 bits are computed in 32, as a GPU accumulates them.
    """
    cuda: Mapping[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_capability": lambda *_: (9, 0),
        "mem_get_info": lambda *_: (_MEMORY, _MEMORY),
        "Stream": _Stream,
        "stream": nullcontext,
        "device": nullcontext,
    }
    nothing = ("synchronize", "empty_cache", "set_device", "set_stream")
    for name, stand_in in {**cuda, **dict.fromkeys(nothing, lambda *_: None)}.items():
        setattr(torch.cuda, name, stand_in)
    torch.matmul = _widened(torch.matmul)
    with _OnTheCpu():
        yield


class _Stream:
    """Nothing runs beside anything else."""

    def __init__(self, *_: Any) -> None:
        pass


class _OnTheCpu(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if func is torch.device:
            return torch.device(f"cuda:{args[0]}") if isinstance(args[0], int) else func(*args, **named)
        if func is torch.Tensor.cuda:
            return args[0]
        return func(*map(_here, args), **{name: _here(value) for name, value in named.items()})


def _here(value: Any) -> Any:
    is_cuda = isinstance(value, torch.device) and value.type == "cuda"
    return _CPU if is_cuda or (isinstance(value, str) and value.startswith("cuda")) else value


def _widened(product: Callable[..., Any]) -> Callable[..., Any]:
    def widened(a: torch.Tensor, b: torch.Tensor, **options: Any) -> Any:
        if a.dtype == b.dtype == torch.half:
            return product(a.float(), b.float(), **options).half()
        return product(a, b, **options)

    return widened
