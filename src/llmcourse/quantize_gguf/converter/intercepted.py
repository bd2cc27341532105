"""Let a model of the converter do its `write`, up to the moment when bytes would reach the disk.

Calling `prepare_tensors` and `prepare_metadata` from outside is not enough: some of the converter's classes
(Mistral 3) hand all work to an inner object with a writer of its own, others add to `write`.  So `write`
itself runs, the writer's own methods note who came instead of writing, and the object that fills the
writer is the one whose `prepare_metadata` ran.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llmcourse.core.errors import LibraryError
from llmcourse.quantize_gguf.converter.library import Converter

# Methods of gguf.GGUFWriter that `write` ends with (gguf-py of llama-cpp-python 0.3.36).
_WRITING = ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close")

# A writer with this attribute is one of ours, which writes meanwhile.
OURS = "belongs_to_llmcourse"


@dataclass
class Found:
    """The model that was prepared, and the writer that has it all."""

    model: Any = None
    writer: Any = None

    def write(self, model: Any) -> None:
        """Run the model's `write`.

        Raises:
            LibraryError: it writes no file, or does it in a way that is not known.
        """
        model.write()
        if self.writer is None or self.model is None or self.model.gguf_writer is not self.writer:
            raise LibraryError(
                f"llama.cpp's converter writes a {type(model).__name__} in an unknown way.",
                "Convert it with convert_hf_to_gguf.py of llama.cpp, and report this with the log.",
            )


@contextmanager
def intercepted(converter: Converter, set_vocabulary: Callable[[Any], None]) -> Iterator[Found]:
    """Within the block no writer writes, and `set_vocabulary` is called instead of a model's `set_vocab`."""
    found = Found()
    base, writer_class = converter.conversion.ModelBase, converter.gguf.GGUFWriter
    prepare_metadata = base.prepare_metadata
    methods = {name: getattr(writer_class, name) for name in _WRITING}

    def prepare(model: Any, *arguments: Any, **named: Any) -> None:
        found.model = model
        model.set_vocab = lambda: set_vocabulary(model)
        prepare_metadata(model, *arguments, **named)

    def noted(method: Callable[..., None]) -> Callable[..., None]:
        def note(writer: Any, *arguments: Any, **named: Any) -> None:
            if getattr(writer, OURS, False):
                method(writer, *arguments, **named)
            else:  # adapters beside the model, as Jina's, come later and are none of this file
                found.writer = found.writer or writer

        return note

    base.prepare_metadata = prepare
    for name, method in methods.items():
        setattr(writer_class, name, noted(method))
    try:
        yield found
    finally:
        base.prepare_metadata = prepare_metadata
        for name, method in methods.items():
            setattr(writer_class, name, method)
