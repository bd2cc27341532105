"""Figures as the Hub reads them from `.eval_results/*.yaml` of a model, and what its benchmarks take."""

from dataclasses import dataclass
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from llmcourse.core.documents import YAML_ERRORS
from llmcourse.core.hub.client import HUB_ERRORS, status_of
from llmcourse.core.hub.editing import Place, read_texts


@dataclass(frozen=True)
class Benchmark:
    """A data set that has an eval.yaml: the ids of its tasks by the config of the data set each is of."""

    dataset: str
    tasks: tuple[tuple[str, str | None], ...]  # id, config

    def task_id(self, config: str) -> str | None:
        """The task that is on this config, or the only one there is."""
        if len(self.tasks) == 1:
            return self.tasks[0][0]
        return next((task for task, of in self.tasks if config and of == config), None)


def read_benchmark(dataset: str) -> Benchmark | None:
    """None where the Hub has no such data set that we may see, or it is no benchmark.

    Raises:
        what the client raises where the network or the Hub fails.
    """
    try:
        text = read_texts(Place(dataset, "dataset"), ["eval.yaml"])["eval.yaml"]
    except HUB_ERRORS as error:
        if status_of(error) in (401, 403, 404):
            return None
        raise
    try:
        data = yaml.safe_load(text) if text else None
    except YAML_ERRORS:
        return None  # then the Hub shows no leaderboard of it either
    listed = data.get("tasks") if isinstance(data, dict) else None
    tasks = [item for item in listed or [] if isinstance(item, dict) and "id" in item]
    named = tuple((str(item["id"]), item.get("config")) for item in tasks)
    return Benchmark(dataset, named) if named else None


def eval_results_text(entries: list[dict[str, Any]]) -> str:
    """The YAML of a file in `.eval_results`; entries have the fields of huggingface_hub's EvalResultEntry."""
    made = [EvalResultEntry(**entry) for entry in entries]
    return yaml.safe_dump(eval_result_entries_to_yaml(made), sort_keys=False, allow_unicode=True, width=1000)
