"""What is asked before anything is evaluated: may the figures be published where they are to be?"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.publishing.gist import Gist, of_other_visibility
from llmcourse.autoeval.publishing.github import GitHub, Refusal, patiently
from llmcourse.autoeval.suites import suite_of
from llmcourse.core.config import HubTarget
from llmcourse.core.errors import ConfigError, LlmcourseError
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, Facts, fail, failure, ok, warn

_KEY = "publish"


def look_up(config: Config) -> dict[str, str]:
    """What GitHub and the Hub answer: the plan's checks as JSON, for Facts.present."""
    wishes = config.publish
    checks: list[Check] = []
    if wishes.hub:
        remote = [ref for ref in config.models().values() if not ref.is_local]
        checks += [
            _told("publish.hub", partial(_model_check, config, ref.path, ref.revision)) for ref in remote
        ]
    if wishes.leaderboard:
        checks.append(_told("publish.leaderboard", partial(_leaderboard_check, wishes.leaderboard)))
    if wishes.gist:
        checks += _gist_checks(config)
    return {_KEY: json.dumps([asdict(check) for check in checks])} if checks else {}


def publish_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """The plan's checks of `publish`, pure: what was looked up is in the facts."""
    wishes = config.publish
    if config.runtime.limit is not None and (wishes.hub or wishes.leaderboard or wishes.gist):
        yield fail(
            "publish",
            f"With runtime.limit={config.runtime.limit} this is a trial, and its figures are no results.",
            "Leave limit out, or publish neither to the model nor as a gist nor to a leaderboard.",
            ConfigError.exit_code,
        )
    for name in config.model if wishes.hub else ():
        model = facts.models.get(name)
        if not isinstance(model, ModelFacts) or model.ref.is_local:
            yield fail(
                "publish.hub",
                f"{name} is no repository of the Hub that figures could be added to.",
                "Give the model by its id on the Hub, or leave publish.hub out.",
            )
    yield from (Check(**item) for item in json.loads(facts.present.get(_KEY, "[]")))


def _told(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except LlmcourseError as error:
        return failure(error, name)


def _model_check(config: Config, repo: str, revision: str | None) -> Check:
    from llmcourse.core import hub

    place = hub.editable(repo, revision, config.publish.pull_request, "publish.hub")
    how = "a pull request to" if place.as_pull_request else "a commit to"
    return ok("publish.hub", f"{how} {repo}@{place.revision}")


def _leaderboard_check(repo: str) -> Check:
    from llmcourse.core import hub

    target = hub.read_target(HubTarget(repo=repo, private=True), "dataset")
    state = "" if target.exists else " (new, and private until you make it public in its settings)"
    return ok("publish.leaderboard", f"{target.repo}{state}")


def _gist_checks(config: Config) -> Iterator[Check]:
    github = GitHub.of_environment()
    if github is None:
        yield fail(
            "publish.gist",
            "There is no GitHub token to publish a gist with.",
            "Set GITHUB_TOKEN to a token with the scope gist, or leave publish.gist out.",
        )
        return
    try:
        user = patiently(lambda: github.ask("GET", "/user"))
        scopes = user.headers.get("x-oauth-scopes")
        if scopes is not None and "gist" not in [scope.strip() for scope in scopes.split(",")]:
            raise Refusal(404, "")
        listing = patiently(github.gists)
    except Refusal as refusal:
        yield fail("publish.gist", *refusal.sentences("gists"))
        return
    yield ok("publish.gist", f"{config.publish.gist}, as {user.data['login']}")
    try:
        suite = suite_of(config).name
    except LlmcourseError:
        return  # the plan says what is wrong with the suite
    for ref in config.models().values():
        gist = Gist(str(ref), suite, config.publish.gist == "public")
        other = of_other_visibility(gist, listing)
        if other:
            kind = "public" if other["public"] else "private"
            yield warn(
                "publish.gist",
                f"There is a {kind} gist of this, and GitHub cannot change that: another one is made.",
                f"Delete {other['html_url']} if it is not to be seen any more.",
            )
