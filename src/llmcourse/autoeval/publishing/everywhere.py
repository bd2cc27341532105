"""Publish an artifact's figures wherever the config says, each place by itself."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from llmcourse.autoeval.conditions import conditions
from llmcourse.autoeval.config import Config
from llmcourse.autoeval.model_checks import names_of
from llmcourse.autoeval.publishing import gist as gists
from llmcourse.autoeval.publishing.github import GitHub
from llmcourse.autoeval.publishing.rows import Row
from llmcourse.autoeval.report import markdown
from llmcourse.autoeval.results import TaskResult, result_path
from llmcourse.autoeval.scores import average, scores
from llmcourse.autoeval.suite import Suite
from llmcourse.core.artifact import Artifact
from llmcourse.core.config import HubTarget
from llmcourse.core.errors import LlmcourseError, Problems, PublishError
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Facts
from llmcourse.core.progress import Progress

_MODEL = "model"
_NO_BENCHMARK = (
    "none of its data sets is a benchmark of the Hub, so .eval_results has nothing; figures are in the card."
)
_EVALUATOR_URL = "https://github.com/EleutherAI/lm-evaluation-harness"

Results = dict[str, TaskResult]
# Its kind, and what publishes it and tells the address of each thing that was written.
Work = tuple[str, Callable[[], dict[str, str]]]


def publish(config: Config, facts: Facts, artifact: Artifact, progress: Progress) -> dict[str, str]:
    """Publish for each model to its repository, as a gist and to the leaderboard; addresses by kind.

    One that fails keeps no other from being published; all may be published again.

    Raises:
        PublishError, Problems: after everything was tried.
    """
    suite = Suite(**artifact.details["suite"])
    published: dict[str, str] = {}
    errors: list[LlmcourseError] = []
    names = names_of(config, facts)
    for written, name in names.items():
        results = _read(Path(artifact.path), suite, name)
        for kind, work in _works(config, facts, artifact, suite, written, name, results):
            try:
                made = work()
            except LlmcourseError as error:
                errors.append(PublishError(error.what, error.fix, error.where))
                continue
            for written_to, url in made.items():
                label = written_to if len(names) == 1 else f"{written_to} of {name}"
                published[label] = url
                progress.note(f"published: {label}: {url}")
            if kind == _MODEL and "eval_results" not in made:
                progress.note(f"! {name}: {_NO_BENCHMARK}")
    if errors:
        raise errors[0] if len(errors) == 1 else Problems(errors)
    return published


def _read(folder: Path, suite: Suite, name: str) -> Results:
    """Outcomes by task; the failed ones too."""
    paths = {task.name: folder / result_path(name, task.name) for task in suite.tasks()}
    return {task: TaskResult.read(path) for task, path in paths.items() if path.is_file()}


def _works(
    config: Config, facts: Facts, artifact: Artifact, suite: Suite, written: str, name: str, results: Results
) -> Iterator[Work]:
    wishes = config.publish
    model = facts.models.get(written)
    ref = model.ref if isinstance(model, ModelFacts) and not model.ref.is_local else None
    evaluator = f"lm-eval {artifact.details['versions']['lm-eval']}"
    if wishes.hub and ref is not None:
        yield (
            _MODEL,
            partial(
                _to_model,
                hub_place=(ref.path, ref.revision, wishes.pull_request),
                artifact=artifact,
                suite=suite,
                results=results,
                evaluator=evaluator,
                about=conditions(config.runtime),
            ),
        )
    if wishes.leaderboard:
        about = {"dtype": config.runtime.dtype, "evaluator": evaluator}
        about |= {"revision": model.revision} if isinstance(model, ModelFacts) and model.revision else {}
        found = scores(suite, {name: results}, name)
        rounded = {score.name: None if score.value is None else round(score.value, 2) for score in found}
        mean = average(found)
        url = f"https://huggingface.co/{ref.path}" if ref else ""
        row = Row(
            name, suite.name, rounded, None if mean is None else round(mean, 2), url, suite.version, about
        )
        yield "leaderboard", partial(_to_leaderboard, wishes.leaderboard, row)
    if wishes.gist:
        seconds = sum(result.seconds for result in results.values())
        text = markdown(suite, {name: results}, seconds, artifact.details["versions"], config.runtime)
        yield "gist", partial(_to_gist, gists.Gist(name, suite.name, wishes.gist == "public", text))


def _to_model(
    hub_place: tuple[str, str | None, bool],
    artifact: Artifact,
    suite: Suite,
    results: Results,
    evaluator: str,
    about: list[str],
) -> dict[str, str]:
    from llmcourse.autoeval.publishing import hub as model_repository
    from llmcourse.core import hub

    source = _EVALUATOR_URL
    if artifact.hub:
        place = hub.Place(artifact.hub.repo, artifact.hub.kind, artifact.hub.revision)
        with hub.translated(place.repo, PublishError):
            source = source if hub.is_private(place) else artifact.hub.url  # a private one's name is private
    model = hub.editable(*hub_place, "publish.hub")
    everything = "" if source == _EVALUATOR_URL else source
    return model_repository.put(model, suite, results, source, evaluator, about, everything)


def _to_leaderboard(repo: str, row: Row) -> dict[str, str]:
    from llmcourse.autoeval.publishing import leaderboard
    from llmcourse.core import hub

    target = hub.read_target(HubTarget(repo=repo, private=True), "dataset")
    return {"leaderboard": leaderboard.put(hub.Place(target.repo, "dataset"), row, is_private=True)}


def _to_gist(gist: gists.Gist) -> dict[str, str]:
    github = GitHub.of_environment()
    if github is None:
        raise PublishError(
            "There is no GitHub token to publish a gist with.",
            "Set GITHUB_TOKEN and run the same command again.",
            where="gist",
        )
    return {"gist": gists.put(gist, github)}
