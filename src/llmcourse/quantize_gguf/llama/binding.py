"""llama-cpp-python's low-level functions, with a log that explains what their return codes do not.

The library's functions answer with a number or NULL; the reason goes to a log callback alone.  The
callback here passes every word on to stderr, which is the log of this child process, and keeps the
errors, so that ours can quote them.  `lib` is the binding itself: names are those of llama.h.
"""

import ctypes
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from llmcourse.core.errors import LibraryError, MissingError, file_error

__all__ = ["Log", "disk_errors", "failed", "first_few", "function", "lib", "log"]


def _load_binding() -> Any:
    """The binding's module without the package around it, which loads a chat server and opens files."""
    spec = find_spec("llama_cpp")
    if spec is None:
        raise MissingError("llama-cpp-python is not installed.", "Run: pip install 'llmcourse[gguf]'")
    package = ModuleType("llama_cpp")
    package.__path__ = spec.submodule_search_locations or []
    sys.modules["llama_cpp"] = package
    try:
        return import_module("llama_cpp.llama_cpp")
    finally:
        del sys.modules["llama_cpp"]


if TYPE_CHECKING:
    import llama_cpp.llama_cpp as lib
else:
    lib = _load_binding()

# ggml.h, enum ggml_log_level; CONT goes on with the line before.
_ERROR, _CONT = 4, 5
_NAMED = 5
# "llama_model_quantize: failed to quantize: " says nothing that the error does not say already.
_PREFIXES = re.compile(r"^(\w+: )?(failed to quantize: |error loading model: )?")


class Log:
    """What llama.cpp says: its errors are kept, a listener hears each piece."""

    def __init__(self) -> None:
        self._level = 0
        self._errors: list[str] = []
        self._listener: Callable[[str], None] | None = None

    def take(self, level: int, text: str) -> None:
        sys.stderr.write(text)
        self._level = self._level if level == _CONT else level
        if self._level == _ERROR and text.strip(" =\n"):
            self._errors.append(text.strip(" =\n"))
        if self._listener:
            self._listener(text)

    def clear(self) -> None:
        self._errors.clear()

    @property
    def reason(self) -> str:
        """The first thing it called an error since `clear`, which is nearest to the cause, without the
        name of the function; those that follow say that this failed, and that failed."""
        if not self._errors:
            return "it gave no reason"
        return _PREFIXES.sub("", self._errors[0]).rstrip(".!")

    @contextmanager
    def heard_by(self, listener: Callable[[str], None]) -> Iterator[None]:
        """Hand every piece of text to `listener` as well; pieces are parts of lines."""
        self._listener = listener
        try:
            yield
        finally:
            self._listener = None


log = Log()


def _hear(level: int, text: bytes, _: Any) -> None:
    log.take(level, text.decode("utf-8", "replace"))


_log_callback = lib.llama_log_callback(_hear)  # the library keeps its address, so it must stay
lib.llama_log_set(_log_callback, ctypes.c_void_p(0))
lib.llama_backend_init()


def failed(what: str) -> LibraryError:
    """The error for a call of llama.cpp that did not work, with the reason it gave."""
    return LibraryError(f"llama.cpp could not {what}: {log.reason}.", "Read the end of its log; -v shows it.")


@contextmanager
def disk_errors() -> Iterator[None]:
    """A full disk, or a folder that is not ours, in two sentences.

    Raises:
        PlanError: an OSError of the block.
    """
    try:
        yield
    except OSError as error:
        raise file_error(error) from error


def function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A function of ggml that the binding does not declare; it is found through libllama, which links it."""
    found: Any = getattr(lib._lib, name)
    found.restype, found.argtypes = result, arguments
    return cast(Callable[..., Any], found)


def first_few(names: Sequence[str], between: str) -> str:
    """Names for a sentence: a few, and how many more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return between.join(names[:_NAMED]) + more
