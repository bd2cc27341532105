"""The report's files: summary.md, results.json, and scores.png."""

from pathlib import Path
from typing import Any

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.plot import save_plot
from llmcourse.autoeval.references import Figures, beside, read_reference
from llmcourse.autoeval.report import as_json, markdown
from llmcourse.autoeval.scores import Results, scores
from llmcourse.autoeval.suite import Suite
from llmcourse.core.workspace import write_json, write_text

SUMMARY, DATA, PLOT = "summary.md", "results.json", "scores.png"


def write_report(
    folder: Path, suite: Suite, results: Results, settings: dict[str, Any], config: Config
) -> list[str]:
    """Write the report's files; their names, the JSON first.  No plot where there is nothing to draw."""
    elapsed_s = sum(result.seconds for own in results.values() for result in own.values())
    data = as_json(suite, results, elapsed_s, settings["versions"], config.runtime)
    write_json(folder / DATA, data)
    write_text(folder / SUMMARY, markdown(suite, results, elapsed_s, settings["versions"], config.runtime))
    drawn = {model: _drawable(suite, results, model) for model in results}
    drawn = {model: values for model, values in drawn.items() if values}
    if not drawn:
        return [DATA, SUMMARY]
    errors = {
        model: {score.name: score.error for score in scores(suite, results, model) if score.error}
        for model in drawn
    }
    limit = config.runtime.limit
    limited = f", {limit} samples of each task at most" if limit else ""
    figures = beside(drawn, _references(config, suite))
    save_plot(f"{suite.name}: score by group{limited}", figures, errors, folder / PLOT)
    return [DATA, SUMMARY, PLOT]


def _drawable(suite: Suite, results: Results, model: str) -> dict[str, float]:
    """A model's percentages by group; those that are not, as perplexities, are not drawn beside them."""
    found = scores(suite, results, model)
    return {score.name: score.value for score in found if score.value is not None and score.is_share}


def _references(config: Config, suite: Suite) -> dict[str, Figures]:
    """Figures of other results' models in the groups of this suite, by the results' folders."""
    names = {group.name for group in suite.groups}
    found: dict[str, Figures] = {}
    for folder, path in config.reference_files().items():
        figures = {
            model: {name: value for name, value in values.items() if name in names}
            for model, values in read_reference(path).items()
        }
        found[folder] = {model: values for model, values in figures.items() if values}
    return found
