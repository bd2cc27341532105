"""Where something may be said of a model that was read at some revision: the branch that holds that model."""

from llmcourse.core.config import HubTarget
from llmcourse.core.errors import PlanError
from llmcourse.core.hub.client import api, has_token, is_offline, no_token, retrying, translated
from llmcourse.core.hub.editing import Place
from llmcourse.core.hub.target import WEIGHTS, read_target, remote_files


def editable(repo: str, revision: str | None, as_pull_request: bool, where: str) -> Place:
    """The branch named `revision`, or `main` where it holds the weights of that commit or tag.

    `where` is the key or the option that asks for it, for errors.

    Raises:
        PlanError: no token, no right to write there (a pull request needs none), or the model has changed.
    """
    if is_offline():
        raise PlanError("HF_HUB_OFFLINE is set, so nothing can be published.", "Unset it.", where)
    if not has_token():
        raise PlanError(*no_token("publish"), where=where)
    with translated(repo):
        branches = [branch.name for branch in retrying(lambda: api().list_repo_refs(repo)).branches]
    branch = revision if revision in branches and not as_pull_request else "main"
    if as_pull_request:
        _refuse_reader(repo, where)
    else:
        read_target(HubTarget(repo=repo, revision=branch))
    with translated(repo):
        if revision not in (None, branch) and _weights(repo, str(revision)) != _weights(repo, branch):
            raise PlanError(
                f"{repo}@{revision} is another model than {branch}, whose card would tell of it.",
                f"Name a branch as the model's revision, or leave {where} out.",
                where=where,
            )
    return Place(repo, "model", branch, as_pull_request)


def _refuse_reader(repo: str, where: str) -> None:
    """Whoever may write anywhere may open a pull request."""
    with translated(repo):
        identity = retrying(lambda: api().whoami())
    if identity.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise PlanError(
            "Your Hub token may only read.", "Make one with write access and set HF_TOKEN.", where
        )


def _weights(repo: str, revision: str) -> dict[str, str]:
    """What makes it this model: the content of its weights and of its configuration."""
    files = remote_files(repo, revision)
    return {
        name: file.digest for name, file in files.items() if name.endswith(WEIGHTS) or name == "config.json"
    }
