"""The engine of a Ray cluster: a model's group of tasks is a Ray task, with as many GPUs as the config says.

A cluster is found by its address, or one is started on this machine for the run.  Nodes of a cluster must see
the models and the data sets' cache under the same paths.
"""

import os

# Ray tells its makers of each use otherwise.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.results import TaskResult, samples_path
from llmcourse.autoeval.units import Unit
from llmcourse.core.errors import LibraryError
from llmcourse.core.isolated import Job
from llmcourse.core.machine import usable_cpus
from llmcourse.core.progress import Progress

_RETRIES = 3  # of a group whose worker died

# A task's outcome with its answers, where they are kept.
Outcome = tuple[TaskResult, bytes | None]


def evaluate(units: Sequence[Unit], job: Job, progress: Progress) -> Iterator[TaskResult]:
    """Evaluate groups side by side; a group whose worker died is tried again on another one.

    Raises:
        LibraryError: there is no such cluster, or it has not the GPUs that a group needs.
    """
    config = Config(**job.config)
    groups: dict[tuple[str, str], list[Unit]] = {}
    for unit in units:
        groups.setdefault((unit.model, unit.group), []).append(unit)
    with _cluster(config), progress.step("evaluate on Ray", len(units), "tasks") as step:
        waiting = {_sent(own, job, config): own for own in groups.values()}
        while waiting:
            done, _ = ray.wait(list(waiting))
            own = waiting.pop(done[0])
            for result, samples in _outcomes(done[0], own):
                if samples is not None:
                    _keep(job.files / samples_path(result.model, result.task), samples)
                yield result
                step.advance()


@contextmanager
def _cluster(config: Config) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        try:
            _connect(config, folder)
            yield
        finally:
            ray.shutdown()


def _connect(config: Config, folder: str) -> None:
    address = config.ray.address
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(num_cpus=config.ray.workers, include_dashboard=False, _temp_dir=folder, **quiet)
    # A node that is not there after half a minute, as on a busy machine, is a bare Exception of Ray's.
    except Exception as error:
        place = f"The Ray cluster at {address}" if address else "A Ray cluster on this machine"
        fix = (
            "Check ray.address and that the cluster runs."
            if address
            else "Run it again, or use engine: local."
        )
        raise LibraryError(f"{place} cannot be used: {error}", fix) from error
    wanted = config.ray.gpus_per_task
    if wanted > ray.cluster_resources().get("GPU", 0):
        raise LibraryError(
            f"No node of the Ray cluster can have the {wanted:g} GPUs of a group.",
            "Set ray.gpus_per_task lower, or use another cluster.",
        )


def _sent(units: list[Unit], job: Job, config: Config) -> Any:
    """The promise of a group's outcomes."""
    threads = max(1, usable_cpus() // config.ray.workers) if not config.ray.address else None
    remote = ray.remote(num_cpus=1, num_gpus=config.ray.gpus_per_task, max_retries=_RETRIES)(_group)
    return remote.remote(units, replace(job, done=()), threads)


def _group(units: list[Unit], job: Job, threads: int | None) -> list[Outcome]:
    """What a worker does: the same as this machine's engine, in a folder of its own."""
    if threads:
        import torch

        torch.set_num_threads(threads)
    from llmcourse.autoeval import local

    absent = [unit for unit in units if not Path(unit.path).exists()]
    if absent:
        reason = f"node {os.uname().nodename} does not see {absent[0].name} under the path of the others"
        return [(TaskResult(unit.name, unit.task.name, error=reason), None) for unit in units]
    with tempfile.TemporaryDirectory() as folder:
        place = replace(job, files=Path(folder), scratch=Path(folder))
        found: list[Outcome] = []
        for result in local.evaluate(units, place, Progress(lambda event: None)):
            path = Path(folder) / samples_path(result.model, result.task)
            found.append((result, path.read_bytes() if path.is_file() else None))
        return found


def _outcomes(promise: Any, units: list[Unit]) -> list[Outcome]:
    try:
        found: list[Outcome] = ray.get(promise)
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"its Ray task ended with {type(error).__name__}: {lines[-1]}"
        return [(TaskResult(unit.name, unit.task.name, error=reason), None) for unit in units]
    return found


def _keep(path: Path, samples: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(samples)
