"""What libraries tell on bars of their own, which end in a log that nobody sees, told as steps of ours."""

from collections.abc import Iterable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, ClassVar

from llmcourse.core.progress import Progress, Step

# Where tqdm is looked up when a bar begins: by mergekit, by transformers, by peft.
_PLACES = ("tqdm", "tqdm.std", "tqdm.auto", "peft.tuners.tuners_utils")


@contextmanager
def relayed_bars(progress: Progress, title: str) -> Iterator[None]:
    """Bars of tqdm that begin in here are steps named `title: what the bar says`."""
    bar = type("Bar", (_Bar,), {"progress": progress, "title": title})
    modules = [import_module(name) for name in _PLACES]
    originals = [(module, module.tqdm) for module in modules if hasattr(module, "tqdm")]
    for module, _ in originals:
        module.tqdm = bar  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, original in originals:
            module.tqdm = original  # type: ignore[attr-defined]


class _Bar:
    """As much of a tqdm bar as these libraries use; a class, as some make subclasses of it."""

    progress: ClassVar[Progress]
    title: ClassVar[str]

    def __init__(
        self, iterable: Iterable[Any] | None = None, desc: str = "", total: int | None = None, **_: Any
    ) -> None:
        length = len(iterable) if total is None and isinstance(iterable, Sized) else total
        self._iterable = iterable
        self._length = length or 0
        name = f"{self.title}: {desc[:1].lower()}{desc[1:]}" if desc else self.title
        self._stack = ExitStack()
        self._step: Step | None = self._stack.enter_context(self.progress.step(name, length))

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable or ():
            yield item
            self.update()
        self.close()

    def __len__(self) -> int:
        return self._length

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, amount: int = 1) -> None:
        if self._step is not None:
            self._step.advance(amount)

    def close(self) -> None:
        self._step = None
        self._stack.close()

    def set_description(self, *_: Any, **__: Any) -> None:
        """What a bar says while it runs is not told."""

    set_postfix = set_postfix_str = set_description_str = refresh = set_description
