"""The work of one run, step by step; what an earlier run finished is taken as it is."""

import json
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from llmcourse.core.artifact import OutputFile, sha256_of, whole_pieces
from llmcourse.core.environments import Environment
from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.core.isolated import Job
from llmcourse.core.model import expanded
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import share_files, write_json
from llmcourse.quantize_exl2 import extension
from llmcourse.quantize_exl2.architectures import as_exllamav2_reads
from llmcourse.quantize_exl2.calibration_rows import calibration_file
from llmcourse.quantize_exl2.config import Config
from llmcourse.quantize_exl2.converter import Converter
from llmcourse.quantize_exl2.failures import failure_of
from llmcourse.quantize_exl2.naming import (
    MEASUREMENT,
    MEASUREMENT_NAME,
    QUALITY_NAME,
    quality_piece,
    width_name,
)
from llmcourse.quantize_exl2.options import Options, Places
from llmcourse.quantize_exl2.results import has_chat_template, measurement_problem, model_problem


class Making:
    """One run: what is asked for, what is there, where things go."""

    def __init__(self, config: Config, job: Job, progress: Progress, environment: Environment) -> None:
        self.config = config
        self.job = job
        self.progress = progress
        self.environment = environment
        self.done = whole_pieces(job.done)

    @property
    def measurement_path(self) -> Path:
        return self.job.files / MEASUREMENT_NAME

    @property
    def missing(self) -> list[float]:
        """Widths still to be made."""
        return [bits for bits in self.config.bits_per_weight if width_name(bits) not in self.done]

    @cached_property
    def converter(self) -> Converter:
        """The converter in an environment that is built, with the model's folder in its place."""
        told = extension.variables(self.environment, self.job.settings["gpu"])
        extension.prepare(self.environment, told, self.progress)
        self._link_model()
        return Converter(self.environment, told, self.progress)

    def _link_model(self) -> None:
        """The converter takes every safetensors file for weights and copies all others: it sees ours only."""
        source, place = Path(self.job.inputs[self.config.model]), self.job.scratch / "model"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name in self.job.settings["files"]:
            if name == "config.json":
                said = json.loads((source / name).read_text(encoding="utf-8"))
                write_json(place / name, as_exllamav2_reads(said))
            else:
                (place / name).symlink_to((source / name).absolute())

    @cached_property
    def _places(self) -> Places:
        calibration = calibration_file(self.config, self.job, self.progress)
        return Places(self.job.scratch / "model", self.job.scratch / "work", calibration)

    def measurement(self) -> Iterator[OutputFile]:
        """Measure, or take the measurement that is given.

        Raises:
            PlanError: the given one is none, or of another model.
            LlmcourseError: the converter failed.
        """
        if MEASUREMENT in self.done:
            return
        begin = time.monotonic()
        if self.config.measurement:
            self._take_given()
        elif measurement_problem(self.measurement_path, self.job.settings["layers"]):
            self._measure()
        about = {} if self.config.measurement else {"seconds": round(time.monotonic() - begin, 2)}
        yield OutputFile.of(self.job.files, MEASUREMENT_NAME, piece=MEASUREMENT, about=about)

    def _take_given(self) -> None:
        source = expanded(str(self.config.measurement))
        problem = measurement_problem(source, self.job.settings["layers"])
        if problem:
            raise PlanError(f"{problem}.", "Give the measurement of this model, or none.", "measurement")
        shutil.copyfile(source, self.measurement_path)

    def _measure(self) -> None:
        made = self.job.scratch / MEASUREMENT_NAME
        options = self._places.measuring(self.config, MEASUREMENT, made)
        if measurement_problem(made, self.job.settings["layers"]):  # else a kill came just after it
            call = self.converter.run("measure", options)
            problem = measurement_problem(made, self.job.settings["layers"])
            if problem:
                raise failure_of("measure", call.code, call.telling, problem)
        made.replace(self.measurement_path)
        shutil.rmtree(options.out_dir, ignore_errors=True)

    def widths(self) -> Iterator[OutputFile]:
        """Make every result that is missing.

        Raises:
            LlmcourseError: the converter failed.
        """
        for bits in self.missing:
            yield from self._width(bits)

    def _width(self, bits: float) -> Iterator[OutputFile]:
        """Quantize, look whether the result is whole, and only then give it its place."""
        name, begin = width_name(bits), time.monotonic()
        place, made = self.job.files / name, self.job.scratch / "made" / name
        about: dict[str, Any] = {"bits_per_weight": bits, "head_bits": self.config.head_bits}
        if not self._is_whole(place, bits):  # else a kill came before it was recorded
            options = self._places.quantizing(self.config, name, bits, self.measurement_path, made)
            if not self._is_whole(made, bits):
                about |= self._quantize(name, bits, options)
            about["seconds"] = round(time.monotonic() - begin, 2)
            shutil.rmtree(place, ignore_errors=True)
            share_files(made)
            made.replace(place)
            shutil.rmtree(options.out_dir, ignore_errors=True)
        about |= {"is_chat": True} if has_chat_template(place) else {}
        names = sorted(path.name for path in place.iterdir())
        for file in names:
            output = OutputFile.of(self.job.files, f"{name}/{file}", piece=name, about=about)
            yield replace(output, files_in_piece=len(names))

    def _is_whole(self, folder: Path, bits: float) -> bool:
        return model_problem(folder, bits, self.config.head_bits) is None

    def _quantize(self, name: str, bits: float, options: Options) -> dict[str, float]:
        """Make the folder that the options name; what the converter says of its quality."""
        call = self.converter.run(name, options)
        problem = model_problem(Path(str(options.compile_full)), bits, self.config.head_bits)
        if problem:
            raise failure_of(name, call.code, call.telling, problem)
        if call.perplexity is not None and not math.isfinite(call.perplexity):
            raise LibraryError(
                f"The result with {bits} bits predicts nothing: its perplexity is {call.perplexity}.",
                "Use more bits, or another format for this model.",
            )
        return {} if call.perplexity is None else {"calibration_perplexity": call.perplexity}

    @property
    def quality_name(self) -> str:
        """The piece of the measurement that is asked for, empty if none is."""
        wish = self.config.quality
        if wish is None:
            return ""
        return quality_piece(self.config, sha256_of(wish.path))

    def quality(self) -> Iterator[OutputFile]:
        """Measure every result that is asked for against the unquantized model."""
        wish, piece = self.config.quality, self.quality_name
        if wish is None or piece in self.done:
            return
        from llmcourse.quantize_exl2.quality import Measuring, write_table  # numpy, which only this needs

        measuring = Measuring(wish, self.converter, self.job.scratch / "quality", self.progress)
        measuring.base(self.job.scratch / "model")
        names = [width_name(bits) for bits in self.config.bits_per_weight]
        figures = {name: measuring.compare(name, self.job.files / name) for name in names}
        write_table(self.job, wish, sha256_of(wish.path), figures, QUALITY_NAME)
        about = {"text": wish.path.name, "results": figures}
        yield OutputFile.of(self.job.files, QUALITY_NAME, piece=piece, about=about)
