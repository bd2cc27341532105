"""Change a few texts of a repository that others write to as well: read, change, commit on what was read.

The commit names the head it was made from, so whoever else committed meanwhile is never overwritten: then
the texts are read again and changed again.  A change must therefore be one that may be applied twice, and
an answer that was lost needs no other treatment.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import EntryNotFoundError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from llmcourse.core.artifact import HubKind
from llmcourse.core.errors import PublishError
from llmcourse.core.hub.client import api, first_line, may_pass, retrying, status_of, translated

# Texts by path; None where there is no such file, or is to be none.
Texts = Mapping[str, str | None]
_ATTEMPTS = 12


@dataclass(frozen=True)
class Place:
    """Where the texts are. As a pull request, the change is proposed to `main` and not made."""

    repo: str
    kind: HubKind = "model"
    revision: str = "main"
    as_pull_request: bool = False

    @property
    def url(self) -> str:
        base = f"{api().endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.repo}"
        return base if self.revision == "main" else f"{base}/tree/{self.revision}"


def edit(place: Place, paths: Iterable[str], change: Callable[[Texts], Texts], message: str) -> str:
    """Give `change` the texts at `paths` and commit what it returns; no commit where that is the same.

    A pull request of this user with this message that is still open gets the commit, rather than another
    one being opened.  Returns the address of what now holds the texts.

    Raises:
        PublishError: the Hub refused or could not be reached, or `change` raised it.
    """
    asked = tuple(paths)
    attempts = Retrying(
        retry=retry_if_exception(lambda error: may_pass(error) or status_of(error) in (409, 412)),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.2, max=8),  # at random, so that two do not meet again
        reraise=True,
    )
    with translated(place.repo, PublishError):
        return attempts(_edit_once, place, asked, change, message)


def _edit_once(place: Place, paths: tuple[str, ...], change: Callable[[Texts], Texts], message: str) -> str:
    proposal = _open_proposal(place, message) if place.as_pull_request else None
    revision, url = proposal or (place.revision, place.url)
    info = retrying(lambda: api().repo_info(place.repo, revision=revision, repo_type=place.kind))
    head = str(info.sha)
    before = read_texts(place, paths, head)
    after = change(before)
    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    for path, text in after.items():
        if text is None and before.get(path) is not None:
            operations.append(CommitOperationDelete(path))
        elif text is not None and text != before.get(path):
            operations.append(CommitOperationAdd(path, text.encode()))
    if not operations:
        return url
    try:
        made = api().create_commit(
            place.repo,
            operations,
            commit_message=message,
            revision=revision,
            repo_type=place.kind,
            parent_commit=head,
            create_pr=place.as_pull_request and proposal is None,
        )
    except ValueError as error:  # the client shows the Hub a card before it sends it
        if status_of(error) not in (None, 400):
            raise
        raise PublishError(
            f"The Hub refuses the card of {place.repo} ({_last_line(error)}).",
            "Correct what it says there, and run the same command again.",
            where=place.repo,
        ) from error
    return str(made.pr_url) if made.pr_url else url


def _open_proposal(place: Place, title: str) -> tuple[str, str] | None:
    """The ref and the address of our pull request of this title, if it is not closed."""
    me = str(retrying(lambda: api().whoami())["name"])
    listed = retrying(
        lambda: list(
            api().get_repo_discussions(
                place.repo, author=me, discussion_type="pull_request", repo_type=place.kind
            )
        )
    )
    for item in listed:
        if item.title == title and item.status in ("open", "draft") and item.git_reference:
            return item.git_reference, item.url
    return None


def create(place: Place, is_private: bool) -> None:
    """The repository, if it is not there.

    Raises:
        PublishError: the Hub refused or could not be reached.
    """
    with translated(place.repo, PublishError):
        retrying(
            lambda: api().create_repo(place.repo, private=is_private, repo_type=place.kind, exist_ok=True)
        )


def is_private(place: Place) -> bool:
    """Whether strangers see the repository; raises the client's own errors."""
    return bool(retrying(lambda: api().repo_info(place.repo, repo_type=place.kind)).private)


def list_paths(place: Place) -> list[str]:
    """Every file there; raises the client's own errors."""
    return retrying(lambda: api().list_repo_files(place.repo, revision=place.revision, repo_type=place.kind))


def read_texts(place: Place, paths: Iterable[str], revision: str | None = None) -> dict[str, str | None]:
    """Those texts as they are at a revision; raises the client's own errors."""
    return {path: _text(place, path, revision or place.revision) for path in paths}


def _text(place: Place, path: str, revision: str) -> str | None:
    try:
        found = retrying(
            lambda: api().hf_hub_download(place.repo, path, revision=revision, repo_type=place.kind)
        )
    except EntryNotFoundError:
        return None
    return Path(found).read_bytes().decode("utf-8")


def _last_line(error: BaseException) -> str:
    lines = [line.strip("- ") for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else first_line(error)
