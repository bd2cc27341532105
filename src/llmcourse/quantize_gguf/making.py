"""The work of one quantization, step by step; what an earlier run finished is taken as it is."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import Any

from llmcourse.core.artifact import OutputFile, whole_pieces
from llmcourse.core.calibration import Calibration
from llmcourse.core.errors import LibraryError, LlmcourseError, PlanError
from llmcourse.core.isolated import Job
from llmcourse.core.machine import usable_cpus
from llmcourse.core.model import expanded
from llmcourse.core.progress import WAITING, Advanced, Event, Finished, Progress, Started
from llmcourse.core.workspace import write_json
from llmcourse.quality.sizes import CONTEXT
from llmcourse.quantize_gguf.children import Child, documents, forward, llama
from llmcourse.quantize_gguf.config import Config
from llmcourse.quantize_gguf.lanes import side_by_side
from llmcourse.quantize_gguf.naming import CONVERTED, IMATRIX_NAME, IMATRIX_PIECE
from llmcourse.quantize_gguf.quality import Measuring, Row
from llmcourse.quantize_gguf.timing import record_quantized, record_run
from llmcourse.quantize_gguf.types import type_facts

_LANES = 2
_CHARACTERS_PER_TOKEN = 8  # mostly fewer
_CONVERTED_RECORD = "converted.json"
_NICENESS = (0, 5, 10)  # of the first type, the second, and those behind
_PROMPT = "The meaning of life is"
_SAMPLE_TOKENS = 12
_ROOM_S = 0.5


def quantize_settings(
    config: Config, type_name: str, source: Path, name: str, imatrix: Path | None = None
) -> dict[str, Any]:
    """The settings of llama/quantize.py; of an imatrix its name alone goes into the file, not its place."""
    return {
        "source": str(source),
        "type": type_name,
        "name": name,
        "threads": usable_cpus(),
        "imatrix": str(imatrix) if imatrix else None,
        "imatrix_name": imatrix.name if imatrix else None,
        "tensor_types": config.tensor_types,
        "split": config.split_bytes,
        "dry_run": False,
    }


@dataclass
class Making:
    """One run: what is asked for, what is there, where things go."""

    config: Config
    job: Job
    progress: Progress

    def __post_init__(self) -> None:
        self._files = {file.path: file for file in self.job.done}
        self._threads = usable_cpus()

    @property
    def source(self) -> Path:
        """The unquantized model as GGUF; it has this name only when it is whole."""
        return self.job.scratch / CONVERTED

    @property
    def missing(self) -> list[str]:
        """Types still to be made, the largest first: they are made fast and upload longest."""
        done = whole_pieces(self._files.values())
        wanted = [name for name in self.config.types if name not in done]
        return sorted(wanted, key=lambda name: -type_facts(name).bits)

    def needs_source(self) -> bool:
        """Whether something is left that is made from the unquantized model."""
        return bool(self.missing or (self.measuring and self._unmeasured()))

    def convert(self, start: Callable[[], Child]) -> None:
        """Make `source`, unless an earlier run did."""
        if self._is_converted():
            return
        settings = {
            "task": "convert",
            "name": CONVERTED,
            "metadata": self.job.settings["metadata"],
            "pre_tokenizer": self.job.settings.get("pre_tokenizer", {}).get("name"),
        }
        inputs = {"model": self.job.inputs[self.config.model]}
        child = start()
        for file in forward(child.run(settings, self.job.scratch, inputs), self.progress):
            write_json(self.job.scratch / _CONVERTED_RECORD, file.as_json())
        child.stop()  # it holds torch, and half a gigabyte

    def _is_converted(self) -> bool:
        """Whether an earlier run made `source`, and it is as it was made."""
        record = self.job.scratch / _CONVERTED_RECORD
        if not (self.source.is_file() and record.is_file()):
            return False
        made = OutputFile.of(self.job.scratch, CONVERTED)
        return bool(made.as_json() == json.loads(record.read_text(encoding="utf-8")))

    def imatrix(self) -> Iterator[OutputFile]:
        """Measure the importance matrix, unless there is one or none is wanted."""
        wish = self.config.imatrix
        if wish is None or wish.file is not None or IMATRIX_NAME in self._files:
            return
        data = wish.documents()
        if data:
            text, has_conversations = self._written(data)
        else:
            text, has_conversations = expanded(str(wish.text)), False
        settings = {
            "source": str(self.source),
            "text": str(text),
            "special_tokens": has_conversations,
            "chunks": wish.chunks,
            "context": CONTEXT,
            "threads": self._threads,
            "name": IMATRIX_NAME,
        }
        with llama("imatrix", self.job.scratch / "imatrix") as child:
            is_anew, begin = not any(child.scratch.iterdir()), time.monotonic()
            for file in forward(child.run(settings, self.job.files), self.progress):
                found = child.result()
                if is_anew:
                    seconds, parameters = time.monotonic() - begin, self.job.settings["parameters"]
                    record_run("imatrix", seconds, found["chunks"], parameters)
                yield self._finished(replace(file, piece=IMATRIX_PIECE, about=found))

    def _written(self, data: Calibration) -> tuple[Path, bool]:
        """Rows of a data set or a file as one text, and whether special tokens of a template are in it."""
        source = data.dataset or PurePath(str(data.text and data.text[0])).name
        settings = {
            "wish": data.model_dump(mode="json"),
            "revision": self.job.settings["calibration"].get("revision"),
            "characters": data.tokens * _CHARACTERS_PER_TOKEN,
            "name": source.replace("/", "--"),
            "trust_remote_code": self.config.trust_remote_code,
        }
        place = self.job.scratch / "documents"
        with documents(place) as child:
            inputs = {"model": self.job.inputs[self.config.model]}
            if not (child.scratch / "result.json").is_file():
                forward(child.run(settings, place, inputs), self.progress)
            return place / str(settings["name"]), bool(child.result()["has_conversations"])

    def types(self) -> Iterator[OutputFile]:
        """Make every type that is missing; a failure of one does not stop the others.

        Raises:
            LlmcourseError: of the one type that failed, or of several in one sentence.
        """
        if self.measuring and self.missing and not self.config.keep_local:
            forward(self.measuring.base(), self.progress)
        works = {
            # The first is on its way to the Hub the sooner, the less the one beside it takes from it.
            name: partial(self._make, name, _NICENESS[min(place, len(_NICENESS) - 1)])
            for place, name in enumerate(self.missing)
        }
        failures: dict[str, LlmcourseError] = {}
        for name, message in side_by_side(works, _LANES):
            if isinstance(message, LlmcourseError):
                failures[name] = message
            elif isinstance(message, OutputFile):
                lanes = min(_LANES, len(self.config.types))
                parameters = self.job.settings["parameters"]
                record_quantized(name, message.about["seconds"], lanes, parameters)
                yield self._finished(message)
            else:
                self.progress.emit(message)
        if failures:
            raise _failure(failures, len(works))

    def _make(self, name: str, niceness: int) -> Iterator[Event | OutputFile]:
        """Quantize to one type, try the result, and only then give it its place."""
        yield from self._wait_for_room(name)
        place = self.job.scratch / name
        made = place / "files"
        made.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        files: list[OutputFile] = []
        file_name = self.job.settings["file_name"].format(type=name)
        settings = quantize_settings(self.config, name, self.source, file_name, self._imatrix())
        with llama("quantize", place, niceness) as child:
            for message in child.run(settings, made):
                if isinstance(message, OutputFile):
                    files.append(message)
                else:
                    yield message
            result = child.result()
        files.sort(key=lambda file: file.path)
        about = {"type": name, "bits_per_weight": round(result["bits_per_weight"], 3),
                 "seconds": round(time.monotonic() - begin, 2)}  # fmt: skip
        about |= {key: result[key] for key in ("pinned", "unweighted", "fallbacks", "kept") if result[key]}
        with llama("generate", place / "try") as child:
            # Its threads wait for each other spinning, which would stop the lane beside.
            settings = {"source": str(made / files[0].path), "type": name, "prompt": _PROMPT,
                        "tokens": _SAMPLE_TOKENS, "threads": max(1, self._threads // _LANES),
                        "weights": str(self.source), "has_imatrix": bool(self.config.imatrix)}  # fmt: skip
            yield from child.run(settings, child.scratch)
            about["sample"] = _PROMPT + child.result()["text"]
        if self.measuring and not self.config.keep_local:  # it will be gone when the others are measured
            yield from self.measuring.compare(name, made / files[0].path)
            about["quality"] = self.measuring.figures(name)
        for file in files:
            (made / file.path).rename(self.job.files / file.path)
            yield replace(file, piece=name, about=about, files_in_piece=len(files))

    def _wait_for_room(self, name: str) -> Iterator[Event]:
        """Without keep_local a type waits here until what was made before it is on the Hub, and gone."""
        if self.config.keep_local or len(self._unpublished()) < _LANES:
            return
        step = f"{WAITING} for {name}"
        yield Started(step)
        while len(self._unpublished()) >= _LANES:
            time.sleep(_ROOM_S)
            yield Advanced(step, 0)
        yield Finished(step)

    def _unpublished(self) -> set[str]:
        paths = {path.name for path in self.job.files.glob("*.gguf")}
        return {file.piece for file in self._files.values() if file.path in paths} - {IMATRIX_PIECE}

    def _imatrix(self) -> Path | None:
        wish = self.config.imatrix
        if wish is None:
            return None
        return expanded(wish.file).absolute() if wish.file else self.job.files / IMATRIX_NAME

    @cached_property
    def measuring(self) -> Measuring | None:
        wish = self.config.quality
        folder = self.job.scratch / "quality"
        parameters = self.job.settings["parameters"]
        return Measuring(wish, self.source, folder, self._threads, parameters) if wish else None

    def _unmeasured(self) -> list[OutputFile]:
        """The first file of each type that was not measured on this text yet."""
        assert self.measuring
        firsts = {file.piece: file for file in reversed(self._files.values())}
        wanted = [firsts[name] for name in self.config.types if name in firsts]
        return [file for file in wanted if self.measuring.lacks(file)]

    def quality(self) -> Iterator[OutputFile]:
        """Measure what is not measured yet, then write the table and the plot."""
        if self.measuring is None:
            return
        unmeasured = self._unmeasured()
        gone = [file.path for file in unmeasured if not file.is_local]
        if gone:
            raise PlanError(
                f"{gone[0]} was deleted here after it was published, so it cannot be measured.",
                "Leave quality out, or quantize anew into another folder.",
                where="quality",
            )
        if unmeasured:
            forward(self.measuring.base(), self.progress)
        for file in unmeasured:
            forward(self.measuring.compare(file.piece, self.job.files / file.path), self.progress)
            figures = self.measuring.figures(file.piece)
            for shard in [shard for shard in self._files.values() if shard.piece == file.piece]:
                yield self._finished(replace(shard, about=shard.about | {"quality": figures}))
        names = self.measuring.write_tables(self.job.files, self._rows())
        for name in names:
            file = OutputFile.of(self.job.files, name, piece=self.measuring.piece(self.config.types))
            yield replace(file, files_in_piece=len(names))

    def _rows(self) -> list[Row]:
        """What the table says of each type, from the smallest file to the largest."""
        rows = []
        for name in self.config.types:
            files = [file for file in self._files.values() if file.piece == name]
            about = files[0].about
            rows.append(
                Row(name, sum(file.size for file in files), about["bits_per_weight"], about["quality"])
            )
        return sorted(rows, key=lambda row: row.size)

    def _finished(self, file: OutputFile) -> OutputFile:
        self._files[file.path] = file
        return file


def _failure(failures: dict[str, LlmcourseError], count: int) -> LlmcourseError:
    """One error for all; a full disk says more than what followed from it."""
    first = max(failures.values(), key=lambda error: isinstance(error, PlanError))
    if len(failures) == count == 1 or isinstance(first, PlanError):
        return first
    error = LibraryError(
        f"{', '.join(failures)} could not be made: {first.what}",
        f"{first.fix} The other {count - len(failures)} types are made; the same command tries again, or "
        "leave these out.",
    )
    error.log = first.log
    return error
