"""The optimizer Muon in float32.

torch's own orthogonalizes in bfloat16, which is 60 times slower on a CPU without instructions for it (AVX2).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

_MOMENTUM = 0.95
_STEPS = 5
_EPSILON = 1e-7
# Source: https://kellerjordan.github.io/posts/muon/, as in torch.optim.Muon.
_COEFFICIENTS = (3.4445, -4.775, 2.0315)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose direction is made orthogonal; for matrices alone, without weight decay."""

    def __init__(self, matrices: Iterable[torch.Tensor], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move each matrix [rows, columns] by its rate times the orthogonal direction."""
        for group in self.param_groups:
            for matrix in group["params"]:
                state: dict[str, Any] = self.state[matrix]
                momentum = state.setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - _MOMENTUM)
                direction = _orthogonal(matrix.grad.lerp(momentum, _MOMENTUM))
                matrix.add_(
                    direction, alpha=-group["lr"] * math.sqrt(max(1, matrix.shape[0] / matrix.shape[1]))
                )


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest matrix with singular values about 1, by a quintic Newton-Schulz iteration."""
    if matrix.shape[0] > matrix.shape[1]:
        return _orthogonal(matrix.T).T
    a, b, c = _COEFFICIENTS
    x: torch.Tensor = matrix / matrix.norm().clamp(min=_EPSILON)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
