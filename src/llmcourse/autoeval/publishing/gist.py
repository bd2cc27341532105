"""A gist for each model, named as LLM AutoEval names it: `{model}-{Suite}.md`, which YALL reads.

Private unless public is asked for.  GitHub cannot change what a gist is, so one of the other kind is left
alone.  A gist is ours by its file's name and its description, which names model and suite: a second run
updates it, and neither somebody's own gist nor that of another model of the same name is ever replaced.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llmcourse.autoeval.publishing.github import GitHub, Refusal, patiently
from llmcourse.core.errors import PublishError


@dataclass(frozen=True)
class Gist:
    """What is to be there. `model` is its id on the Hub, or its folder's name."""

    model: str
    suite: str
    is_public: bool
    text: str = ""

    @property
    def file_name(self) -> str:
        """As LLM AutoEval's `main.py` makes it."""
        name = self.model.partition("@")[0].rpartition("/")[2]
        return f"{name}-{self.suite.capitalize()}.md"

    @property
    def description(self) -> str:
        return f"{self.model} on {self.suite}, evaluated by llmcourse"

    def is_kept_in(self, gist: dict[str, Any]) -> bool:
        """Whether this gist of a listing is ours for this model and suite, public or not."""
        return self.file_name in gist["files"] and gist["description"] == self.description


def put(gist: Gist, github: GitHub) -> str:
    """Create the gist, or bring the one that is there up to date; its address.

    A creation whose answer was lost is looked for before it is tried again.

    Raises:
        PublishError: GitHub refused or could not be reached.
    """
    try:
        return patiently(lambda: _put(gist, github))
    except Refusal as refusal:
        raise PublishError(*refusal.sentences(f"the gist {gist.file_name}"), where="gist") from refusal


def _put(gist: Gist, github: GitHub) -> str:
    present = of_visibility(gist, github.gists())
    content = {"description": gist.description, "files": {gist.file_name: {"content": gist.text}}}
    if present is None:
        made = github.ask("POST", "/gists", {**content, "public": gist.is_public}).data
        if made["public"] is not gist.is_public:
            github.ask("DELETE", f"/gists/{made['id']}")
            raise PublishError(
                "GitHub made the gist with another visibility than asked; it was deleted.",
                "Run the same command again, or leave publish.gist out.",
                where="gist",
            )
        return str(made["html_url"])
    now = github.ask("GET", f"/gists/{present['id']}").data
    if now["files"].get(gist.file_name, {}).get("content") != gist.text:
        github.ask("PATCH", f"/gists/{present['id']}", content)
    return str(present["html_url"])


def of_visibility(gist: Gist, listing: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The one that is to be updated."""
    ours = (found for found in listing if gist.is_kept_in(found) and found["public"] is gist.is_public)
    return next(ours, None)


def of_other_visibility(gist: Gist, listing: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The one that stays as it is, since GitHub cannot make it what is asked for now."""
    ours = (found for found in listing if gist.is_kept_in(found) and found["public"] is not gist.is_public)
    return next(ours, None)
