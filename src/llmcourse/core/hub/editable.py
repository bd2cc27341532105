"""Where something may be said of a model that was read at some revision: the branch that holds that model."""

from llmcourse.core.config import HubTarget
from llmcourse.core.errors import PlanError
from llmcourse.core.hub.client import api, has_token, is_offline, retrying, translated
from llmcourse.core.hub.edit import Place
from llmcourse.core.hub.target import WEIGHTS, read_target, remote_files


def editable(repo: str, revision: str | None, as_pull_request: bool) -> Place:
    """The branch named `revision`, or `main` where it holds the weights of that commit or tag.

    Raises:
        PlanError: no token, no right to write there (a pull request needs none), or the model has changed.
    """
    if is_offline():
        raise PlanError("HF_HUB_OFFLINE is set, so nothing can be published.", "Unset it.", "publish.hub")
    if not has_token():
        raise PlanError(
            "There is no Hub token to publish with.", "Run `hf auth login` or set HF_TOKEN.", "publish.hub"
        )
    with translated(repo):
        branches = [branch.name for branch in retrying(lambda: api().list_repo_refs(repo)).branches]
    branch = revision if revision in branches and not as_pull_request else "main"
    if as_pull_request:
        _refuse_reader(repo)
    else:
        read_target(HubTarget(repo=repo, revision=branch))
    with translated(repo):
        if revision not in (None, branch) and _weights(repo, str(revision)) != _weights(repo, branch):
            raise PlanError(
                f"{repo}@{revision} is another model than {branch}, of which the figures would be told.",
                "Evaluate a branch, or leave publish.hub out.",
                where="publish.hub",
            )
    return Place(repo, "model", branch, as_pull_request)


def _refuse_reader(repo: str) -> None:
    """Whoever may write anywhere may open a pull request."""
    with translated(repo):
        identity = retrying(lambda: api().whoami())
    if identity.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise PlanError(
            "Your Hub token may only read.", "Make one with write access and set HF_TOKEN.", "publish.hub"
        )


def _weights(repo: str, revision: str) -> dict[str, str]:
    """What makes it this model: the content of its weights and of its configuration."""
    files = remote_files(repo, revision)
    return {
        name: file.digest for name, file in files.items() if name.endswith(WEIGHTS) or name == "config.json"
    }
