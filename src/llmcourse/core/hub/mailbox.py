"""The private data set repository through which pods send results, seen from the client.

Everything of one run lies in branches that begin with the run's name, so runs do not disturb each other and
are forgotten by deleting them:

    RUN         moves while the client is there; holds `handed_over` when pods work by themselves
    POD         `pod.json`, how the pod ended, and `log.txt`
    POD-N       the result of the pod's job N, as `llmcourse autoeval` publishes it
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.core.hub.client import api, no_token, retrying, sent_token, translated

USUAL_NAME = "llmcourse-results"
_HANDED_OVER = "handed_over"


class Mailbox:
    """One repository; `wish` is user/name or a name of one's own, `folder` takes what is read.

    Raises everywhere:
        LibraryError: the Hub does not answer, or refuses.
    """

    def __init__(self, wish: str | None, folder: Path) -> None:
        name = wish or USUAL_NAME
        with translated(f"datasets/{name}"):
            user = "" if "/" in name else f"{retrying(lambda: api().whoami())['name']}/"
        self.repository = f"{user}{name}"
        self._folder = folder
        self._lease = 0

    def open(self) -> None:
        """Create the repository unless it is there.

        Raises:
            PlanError: it is public, or may not be written.
        """
        with translated(f"datasets/{self.repository}"):
            try:
                is_private = retrying(lambda: api().dataset_info(self.repository)).private
            except RepositoryNotFoundError:
                api().create_repo(self.repository, repo_type="dataset", private=True, exist_ok=True)
                is_private = True
        if not is_private:
            raise refusal_of_public(self.repository)

    def add_branch(self, name: str) -> None:
        with self._translated():
            retrying(
                lambda: api().create_branch(self.repository, branch=name, repo_type="dataset", exist_ok=True)
            )

    def renew_lease(self, branch: str) -> None:
        """Move the branch: pods that watch it know that the client is there."""
        self._lease += 1
        with self._translated():
            api().upload_file(
                path_or_fileobj=str(self._lease).encode(),
                path_in_repo="lease",
                repo_id=self.repository,
                repo_type="dataset",
                revision=branch,
                commit_message="The client is there",
            )

    def hand_over(self, branch: str) -> None:
        """Leave word that nobody waits any more; only what is left to the pods has one."""
        with self._translated():
            api().upload_file(
                path_or_fileobj=b"",
                path_in_repo=_HANDED_OVER,
                repo_id=self.repository,
                repo_type="dataset",
                revision=branch,
                commit_message="The client has handed over",
            )

    def was_handed_over(self, branch: str) -> bool:
        return _HANDED_OVER in self.paths(branch)

    def paths(self, branch: str) -> list[str]:
        """Files of a branch, none while it is not there."""
        with self._translated():
            try:
                return retrying(
                    lambda: api().list_repo_files(self.repository, repo_type="dataset", revision=branch)
                )
            except RevisionNotFoundError:
                return []

    def file(self, branch: str, path: str) -> Path:
        """A file of a branch as it is now, on this machine."""
        with self._translated():
            return Path(
                retrying(
                    lambda: api().hf_hub_download(
                        self.repository, path, repo_type="dataset", revision=branch,
                        local_dir=self._folder / branch,
                    )
                )
            )  # fmt: skip

    def text(self, branch: str, path: str) -> str | None:
        """A text file of a branch, None where it is not there."""
        try:
            return self.file(branch, path).read_text(encoding="utf-8") if path in self.paths(branch) else None
        except EntryNotFoundError:
            return None

    def branches(self, prefix: str) -> list[str]:
        """Names that begin so, none while there is no repository."""
        with self._translated():
            try:
                refs = retrying(lambda: api().list_repo_refs(self.repository, repo_type="dataset"))
            except RepositoryNotFoundError:
                return []
            return [branch.name for branch in refs.branches if branch.name.startswith(prefix)]

    def forget(self, branches: Iterable[str]) -> None:
        with self._translated():
            for branch in branches:
                with suppress(RevisionNotFoundError):
                    api().delete_branch(self.repository, branch=branch, repo_type="dataset")

    def _translated(self) -> AbstractContextManager[None]:
        return translated(f"datasets/{self.repository}", LibraryError)


def refusal_of_public(repository: str) -> PlanError:
    return PlanError(
        f"The repository of the results, {repository}, is public.",
        "Make it private in its settings on the Hub, or name another in runpod.results.",
    )


def hub_token() -> str:
    """The token that pods get as a secret.

    Raises:
        PlanError: there is none.
    """
    token = sent_token()
    if token is None:
        what, fix = no_token("receive results of pods")
        raise PlanError(f"Pods send their results through the Hub. {what}", fix)
    return token
