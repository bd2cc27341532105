"""Every architecture of llama.cpp's converter, as a tiny model: the bytes of its own script against ours.

    python bench/gguf_architectures.py [--keep FOLDER] [NAME …]

transformers makes a tiny random model of each class that both know.  `convert_hf_to_gguf.py` of the installed
llama-cpp-python converts it, then the converter's process of quantize-gguf does.  Printed is a table:

    equal           both make it, with the same bytes
    both refuse     neither does; with the reason of llama.cpp
    ours refuses    llama.cpp makes it and we do not: must be empty, and ends this program with 1
    differs         both make it, with other bytes: must be empty, and ends this program with 1
    not made        transformers has the class, but makes no tiny model of it by these rules; with its reason

A projector (`--mmproj`) of the same model is a row of its own, `NAME (mmproj)`.  llama.cpp knows byte-level
BPE tokenizers by their hash alone, and those made here are unknown to it: both are told the pre-tokenizer.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import transformers
from tiny_architectures import bpe, build, sentencepiece_bpe, wordpiece

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.isolated import Job, Worker
from llmcourse.core.progress import Progress
from llmcourse.quantize_gguf.converter.source import converter_environment, fetch_converter

_PRE_TOKENIZER = "gpt-2"


def main() -> int:
    """Print the table; returns 1 where something is made by llama.cpp and not by us."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help="classes of transformers; default: all that the converter knows"
    )
    parser.add_argument("--keep", type=Path, help="a folder for the models, which are kept there")
    arguments = parser.parse_args()
    place = arguments.keep or Path(tempfile.mkdtemp(prefix="gguf-architectures-"))
    place.mkdir(parents=True, exist_ok=True)
    converter = fetch_converter(version("llama-cpp-python"), Progress(lambda event: None))
    tables: Counter[str] = Counter()
    with _ours(converter, place) as ours:
        comparison = Comparison(converter, place, ours)
        for name in arguments.names or comparison.known():
            for row, outcome, reason in comparison.compare(name):
                tables[outcome] += 1
                print(f"{outcome:13} {row:52} {reason[:160]}", flush=True)
            if not arguments.keep:
                shutil.rmtree(place / name, ignore_errors=True)
    print("\n" + ", ".join(f"{outcome}: {count}" for outcome, count in sorted(tables.items())))
    return 1 if tables["ours refuses"] or tables["differs"] else 0


@contextlib.contextmanager
def _ours(converter: Path, place: Path) -> Iterator[Worker]:
    with (place / "ours.log").open("wb") as log:
        module = "llmcourse.quantize_gguf.converter.process"
        worker = Worker(module, log, False, None, converter_environment(converter))
        try:
            yield worker
        finally:
            worker.stop()


class Comparison:
    """llama.cpp's script in this process, ours in the worker."""

    def __init__(self, converter: Path, place: Path, ours: Worker) -> None:
        sys.path[:0] = [str(converter), str(converter / "gguf-py")]
        self._script: Any = import_module("convert_hf_to_gguf")
        self._conversion: Any = import_module("conversion")
        self._conversion.TextModel.get_vocab_base_pre = lambda *_: _PRE_TOKENIZER
        self._place = place
        self._ours = ours
        self._tokenizers = {"bpe": bpe, "sentencepiece": sentencepiece_bpe, "wordpiece": wordpiece}
        for kind, make in self._tokenizers.items():
            make(place / "tokenizers" / kind)

    def known(self) -> list[str]:
        """Classes that the converter knows and transformers has."""
        names = {*self._conversion.TEXT_MODEL_MAP, *self._conversion.MMPROJ_MODEL_MAP}
        return sorted(name for name in names if hasattr(transformers, name))

    def compare(self, name: str) -> Iterator[tuple[str, str, str]]:
        """Rows of one class: its name, the outcome, a reason."""
        folder = self._place / name / "model"
        try:
            with _silence():
                build(name, folder)
        except Exception as error:
            yield name, "not made", _reason(error)
            return
        if name in self._conversion.TEXT_MODEL_MAP:
            yield (name, *self._compared(folder, False))
        if name in self._conversion.MMPROJ_MODEL_MAP:
            yield (f"{name} (mmproj)", *self._compared(folder, True))

    def _compared(self, folder: Path, is_projector: bool) -> tuple[str, str]:
        """With the first tokenizer that llama.cpp takes; without layers that transformers does not make."""
        reasons = {}
        for kind, flags in itertools.product(self._tokenizers, self._flags(folder, is_projector)):
            with_tokenizer = folder.parent / kind / "Tiny-Model-1B"
            if not with_tokenizer.exists():
                shutil.copytree(folder, with_tokenizer, copy_function=os.link)
                shutil.copytree(self._place / "tokenizers" / kind, with_tokenizer, dirs_exist_ok=True)
            theirs = with_tokenizer.parent / "theirs.gguf"
            try:
                with _silence():
                    self._convert(with_tokenizer, theirs, flags)
            except (Exception, SystemExit) as error:
                reasons[kind] = _reason(error)
                continue
            break
        else:
            refused = self._convert_ours(folder.parent / "bpe" / "Tiny-Model-1B", is_projector)
            said = reasons["bpe"] if len(set(reasons.values())) == 1 else str(reasons)
            return ("both refuse" if isinstance(refused, str) else "only ours"), said
        made = self._convert_ours(with_tokenizer, is_projector)
        if isinstance(made, str):
            return "ours refuses", made
        expected = hashlib.sha256(theirs.read_bytes()).hexdigest()
        return (
            ("equal", " ".join((kind, *flags)))
            if made.sha256 == expected
            else ("differs", str(theirs.parent))
        )

    def _flags(self, folder: Path, is_projector: bool) -> list[tuple[str, ...]]:
        """What the script is told: it does not see by itself that layers of MTP are not there."""
        if is_projector:
            return [("--mmproj",)]
        name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
        try:
            has_flag = self._conversion.get_model_class(name).supports_mtp_export
        except KeyError:  # llama.cpp lists some names that no class of it is registered for
            has_flag = False
        return [("--no-nextn",), ()] if has_flag else [()]

    def _convert(self, model: Path, made: Path, flags: tuple[str, ...]) -> None:
        made.unlink(missing_ok=True)
        sys.argv = ["convert_hf_to_gguf.py", str(model), "--outfile", str(made), *flags]
        try:
            self._script.main()
        finally:  # it sets this on the class and leaves it there
            for model_class in self._conversion.ModelBase._model_classes[
                self._conversion.ModelType.TEXT
            ].values():
                if "no_mtp" in vars(model_class):
                    del model_class.no_mtp

    def _convert_ours(self, model: Path, is_projector: bool) -> OutputFile | str:
        work = model.parent / "ours"
        work.mkdir(exist_ok=True)
        settings = {
            "task": "convert",
            "name": "ours.gguf",
            "metadata": {},
            "pre_tokenizer": _PRE_TOKENIZER,
            "is_projector": is_projector,
        }
        job = Job({}, settings, {"model": str(model)}, model.parent, work / "scratch")
        try:
            (file,) = (message for message in self._ours.run(job) if isinstance(message, OutputFile))
        except LlmcourseError as error:
            return error.what
        return file


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = "" if lines else f"{Path(last.filename).name}:{last.lineno} {last.line}"
    return f"{type(error).__name__}: {place}{' '.join(lines[:3])}"


if __name__ == "__main__":
    sys.exit(main())
