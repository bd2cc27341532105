"""The converter's options, by the library's own names: as its command line, and as its job file has them.

Source: exllamav2 0.3.2, exllamav2/conversion/convert_exl2.py.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmcourse.quantize_exl2.config import Config
from llmcourse.quantize_exl2.sizes import BUILT_IN_ROWS, LENGTH

JOB_NAME = "job_new.json"
_FLAGS = {
    "in_dir": "-i",
    "out_dir": "-o",
    "output_measurement": "-om",
    "measurement": "-m",
    "compile_full": "-cf",
    "bits": "-b",
    "head_bits": "-hb",
    "shard_size": "-ss",
    "cal_dataset": "-c",
    "dataset_rows": "-r",
    "length": "-l",
    "measurement_rows": "-mr",
    "measurement_length": "-ml",
    "rope_scale": "-rs",
    "rope_alpha": "-ra",
}
# What the job file keeps of an option as it was given. Numbers of rows and lengths are those that the
# converter came to, which are others with its own set or a model of a short context.
_KEPT = ("in_dir", "output_measurement", "compile_full", "cal_dataset", "rope_scale", "rope_alpha")
_KEPT_IF_GIVEN = ("bits", "head_bits")


@dataclass(frozen=True)
class Options:
    """One call of the converter; None is left out, and the library's default holds."""

    in_dir: str
    out_dir: str
    dataset_rows: int
    length: int
    measurement_rows: int
    measurement_length: int
    output_measurement: str | None = None
    measurement: str | None = None
    compile_full: str | None = None
    bits: float | None = None
    head_bits: int | None = None
    shard_size: int | None = None
    cal_dataset: str | None = None
    rope_scale: float | None = None
    rope_alpha: float | None = None

    def arguments(self) -> list[str]:
        """The command line; never with -nr, which deletes a folder whosever it is."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return [*(part for name, value in given.items() for part in (_FLAGS[name], str(value))), "-so"]

    def agree_with(self, job: Mapping[str, Any]) -> bool:
        """Whether the converter, which takes an interrupted job's options for ours, would do what we want."""
        names = [*_KEPT, *(name for name in _KEPT_IF_GIVEN if getattr(self, name) is not None)]
        is_same = all(job.get(name) == getattr(self, name) for name in names)
        return is_same and job.get("reuse_measurement") == self.measurement


@dataclass(frozen=True)
class Places:
    """Folders and files of a run; the same in every run that goes on with it, as the job file names them."""

    model: Path
    work: Path
    calibration: Path | None

    def measuring(self, config: Config, name: str, measurement: Path) -> Options:
        """Measure only, and write `measurement`."""
        return Options(**self._common(config, name), output_measurement=str(measurement))

    def quantizing(self, config: Config, name: str, bits: float, measurement: Path, made: Path) -> Options:
        """Quantize by a measurement, and write a whole model into the folder `made`."""
        return Options(
            **self._common(config, name),
            measurement=str(measurement),
            compile_full=str(made),
            bits=bits,
            head_bits=config.head_bits,
            shard_size=config.shard_size,
        )

    def _common(self, config: Config, name: str) -> dict[str, Any]:
        return {
            "in_dir": str(self.model),
            "out_dir": str(self.work / name),
            "cal_dataset": str(self.calibration) if self.calibration else None,
            "dataset_rows": config.calibration.samples if config.calibration else BUILT_IN_ROWS,
            "length": config.calibration.length if config.calibration else LENGTH,
            "measurement_rows": config.measurement_rows,
            "measurement_length": config.measurement_length,
            "rope_scale": config.rope_scale,
            "rope_alpha": config.rope_alpha,
        }
