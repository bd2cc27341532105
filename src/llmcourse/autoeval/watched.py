"""A model of lm-eval that reports how many requests it has answered, and that answers in numbers."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from llmcourse.core.progress import Progress, Step

_REQUESTS = frozenset({"loglikelihood", "loglikelihood_rolling", "generate_until"})


class Watched:
    """Passes everything on to the model; what it is asked is a step with a total.

    lm-eval tells a model's cache hook of each answer, which is what is counted here.
    """

    def __init__(self, model: Any, name: str, progress: Progress) -> None:
        self._model = model
        self._name = name
        self._progress = progress

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._model, attribute)
        return self._counted(found) if attribute in _REQUESTS else found

    def _counted(self, ask: Callable[[list[Any]], list[Any]]) -> Callable[[list[Any]], list[Any]]:
        def answer(requests: list[Any]) -> list[Any]:
            with self._progress.step(self._name, len(requests), "requests") as step:
                self._model.set_cache_hook(_Counter(step))
                answers = ask(requests)
            # lm-eval takes the first choice where nothing can be compared, and reports chance.
            if any(math.isnan(likelihood) for likelihood in _likelihoods(answers)):
                raise ArithmeticError(
                    "the model computes no numbers (NaN); its weights are damaged or overflow"
                )
            return answers

        return answer


def _likelihoods(answers: list[Any]) -> Iterator[float]:
    """Of answers that are log-likelihoods, with or without whether they are greedy; texts have none."""
    for answer in answers:
        value = answer[0] if isinstance(answer, tuple) else answer
        if isinstance(value, float):
            yield value


class _Counter:
    """Stands where lm-eval has its cache of answers."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def add_partial(self, *_: Any) -> None:
        self._step.advance()
