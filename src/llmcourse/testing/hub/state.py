"""Everything one hub knows and remembers; the routes get it as their first argument."""

from pathlib import Path
from typing import TYPE_CHECKING

from llmcourse.testing.hub.accounts import Accounts, Token
from llmcourse.testing.hub.blobs import BlobStore
from llmcourse.testing.hub.faults import FaultRules
from llmcourse.testing.hub.limits import RateLimits
from llmcourse.testing.hub.log import RequestLog
from llmcourse.testing.hub.pace import Pace
from llmcourse.testing.hub.protocol import HubError, repo_not_found
from llmcourse.testing.hub.repos import Commit, FileEntry, Kind, Repo, RepoStore
from llmcourse.testing.hub.xet_orphans import OrphanIndexer
from llmcourse.testing.hub.xet_store import XetStore

if TYPE_CHECKING:
    from llmcourse.testing.hub.info import Facts


class HubState:
    """The stores under one root folder, and the settings of this run."""

    def __init__(self, root: Path, xet: bool) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.xet = xet
        self.endpoint = ""
        self.latency_s = 0.0
        self.upload_pace = Pace()
        self.rate_limits = RateLimits()
        self.page_size = 1000
        self.lfs_part_bytes = 5_000_000_000
        self.xet_token_ttl_s = 3600
        self.accounts = Accounts(root / "accounts.json")
        self.blobs = BlobStore(root)
        self.repos = RepoStore(root, self.blobs)
        self.xet_store = XetStore(root)
        self.xet_orphans = OrphanIndexer(self.xet_store, root)
        self.faults = FaultRules()
        self.facts: dict[str, Facts] = {}  # of commits, by their ids
        self.log = RequestLog(root / "requests.jsonl")

    def has_content(self, sha256: str) -> bool:
        """Whether a large file's content has arrived, by either transport."""
        return self.blobs.has(sha256) or self.xet_store.file_of(sha256) is not None

    def xet_hash(self, entry: FileEntry) -> str | None:
        """The file's Xet hash, if this hub speaks Xet and the file came that way."""
        file = self.xet_store.file_of(entry.sha256) if self.xet and entry.is_lfs else None
        return file.hash if file else None

    def content_path(self, sha256: str) -> Path:
        """The content as a plain file; a Xet file is assembled on the first call."""
        file = self.xet_store.file_of(sha256)
        if self.blobs.has(sha256) or file is None:
            return self.blobs.path(sha256)
        return self.blobs.put_made(sha256, lambda target: self.xet_store.assemble(file, target))

    def text(self, commit: Commit, path: str) -> str:
        """A file's text in a commit, empty if it is not there."""
        entry = commit.tree.get(path)
        if entry is None:
            return ""
        return self.content_path(entry.sha256).read_text(encoding="utf-8", errors="replace")

    def is_member(self, token: Token | None, repo: Repo) -> bool:
        """Whether the repo belongs to the token's user or one of their organizations."""
        return token is not None and self.accounts.is_member(token.user, repo.id.split("/")[0])

    def can_read(self, token: Token | None, repo: Repo) -> bool:
        """Whether the repo is visible: public, or of the user's own with a token that reads it."""
        if not repo.settings.is_private:
            return True
        if token is None or not self.is_member(token, repo):
            return False
        return token.allows("repo.content.read", repo.id, repo.settings.kind)

    def readable(self, token: Token | None, kind: Kind, repo_id: str) -> Repo:
        """Find a repository the token may see.

        Raises:
            HubError: the Hub's RepoNotFound, for missing and for private ones alike, and for disabled ones
                to those who are not signed in (huggingface_hub pull request 1965); 403 for these to others.
        """
        repo = self.repos.get(kind, repo_id)
        if repo is None or not self.can_read(token, repo) or (repo.settings.is_disabled and token is None):
            raise repo_not_found(token)
        if repo.settings.is_disabled:
            raise HubError(403, "Access to this resource is disabled.")
        return repo

    def writable(self, token: Token | None, kind: Kind, repo_id: str) -> Repo:
        """Find a repository the token may write to.

        Raises:
            HubError: RepoNotFound, 401 without a token, or 403.
        """
        repo = self.readable(token, kind, repo_id)
        if token is None:
            raise HubError(401, "Invalid username or password.")
        if not self.can_write(token, repo):
            raise HubError(403, f"You don't have the rights to write to {repo.id}")
        return repo

    def can_write(self, token: Token, repo: Repo) -> bool:
        return self.is_member(token, repo) and token.allows("repo.write", repo.id, repo.settings.kind)

    def check_gate(self, token: Token | None, repo: Repo) -> None:
        """Raise the Hub's GatedRepo unless the token's user was given access to the contents."""
        if not repo.settings.gated or self.is_member(token, repo):
            return
        restricted = f"Access to {repo.settings.kind} {repo.id} is restricted"
        if token is None:
            message = f"{restricted}. You must have access to it and be authenticated."
            raise HubError(401, message, "GatedRepo")
        if token.user not in repo.settings.allowed or not token.can_read_gated:
            message = f"{restricted} and you are not in the authorized list."
            raise HubError(403, message, "GatedRepo")

    def commit_at(self, repo: Repo, revision: str) -> Commit:
        """The commit a revision names.

        Raises:
            HubError: the Hub's RevisionNotFound.
        """
        oid = repo.ref(revision)
        if oid is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return repo.commit(oid)
