"""Repositories on disk: one folder each, with `repo.json` and one JSON file per commit.

A commit holds its whole tree, which is what every read route needs; git itself is not involved, and
ids are sha1 values of the commit's JSON so that they look and behave like git's.
"""

import hashlib
import json
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from llmcourse.testing.hub.blobs import BlobStore, git_blob_oid, lfs_pointer
from llmcourse.testing.hub.gitattributes import DEFAULT_GITATTRIBUTES

Kind = Literal["model", "dataset", "space"]
Gate = Literal["auto", "manual", False]


@dataclass(frozen=True)
class FileEntry:
    """A file in a tree. `oid`: git blob id (of the pointer, for `is_lfs`); `sha256`: of the content."""

    size: int
    oid: str
    sha256: str
    is_lfs: bool


@dataclass(frozen=True)
class Commit:
    """A commit with its whole tree."""

    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    tree: Mapping[str, FileEntry] = field(repr=False)


def now_iso() -> str:
    """Now, in the one format the client parses (milliseconds and `Z`)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def regular_entry(blobs: BlobStore, data: bytes) -> FileEntry:
    """Store a regular file's content and describe it."""
    return FileEntry(len(data), git_blob_oid(data), blobs.put_bytes(data), False)


def lfs_entry(sha256: str, size: int) -> FileEntry:
    """Describe a large file whose content is stored already."""
    return FileEntry(size, git_blob_oid(lfs_pointer(sha256, size)), sha256, True)


@dataclass
class RepoSettings:
    """What `repo.json` holds."""

    id: str
    kind: Kind
    created_at: str
    uid: str
    is_private: bool = False
    gated: Gate = False
    allowed: list[str] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    discussions: list[dict[str, Any]] = field(default_factory=list)
    pull_requests: dict[str, str] = field(default_factory=dict)
    former_ids: list[str] = field(default_factory=list)
    is_disabled: bool = False
    downloads: int = 0
    likes: int = 0
    gguf: dict[str, Any] | None = None


class Repo:
    """One repository. Callers that read a head and then write hold `lock` around both."""

    def __init__(self, folder: Path, settings: RepoSettings) -> None:
        self.folder = folder
        self._commits: dict[str, Commit] = {}
        self.settings = settings
        self.lock = threading.RLock()

    @property
    def id(self) -> str:
        return self.settings.id

    @property
    def head(self) -> Commit:
        return self.commit(self.settings.branches["main"])

    @property
    def last_modified(self) -> str:
        return self.head.date

    def save(self) -> None:
        """Write `repo.json` so that a crash leaves the old or the new one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"repo.{uuid.uuid4().hex}.tmp"
        temporary.write_text(json.dumps(asdict(self.settings), indent=1), encoding="utf-8")
        temporary.replace(self.folder / "repo.json")

    def ref(self, revision: str) -> str | None:
        """The commit id that a branch, tag, PR ref or full commit id names."""
        settings = self.settings
        if revision in settings.branches:
            return settings.branches[revision]
        if revision in settings.tags:
            return settings.tags[revision]
        if revision in settings.pull_requests:
            return settings.pull_requests[revision]
        if revision.startswith("refs/heads/"):
            return settings.branches.get(revision.removeprefix("refs/heads/"))
        return revision if self._commit_path(revision).exists() else None

    def commit(self, oid: str) -> Commit:
        """Load a commit by its id."""
        if oid not in self._commits:
            raw = json.loads(self._commit_path(oid).read_text(encoding="utf-8"))
            tree = {path: FileEntry(**entry) for path, entry in raw.pop("tree").items()}
            self._commits[oid] = Commit(tree=tree, **raw)
        return self._commits[oid]

    def history(self, oid: str) -> Iterator[Commit]:
        """The commit and its ancestors, newest first."""
        current: str | None = oid
        while current is not None:
            commit = self.commit(current)
            yield commit
            current = commit.parent

    def add_commit(
        self, ref: str, tree: Mapping[str, FileEntry], title: str, message: str, author: str
    ) -> Commit:
        """Put a commit on top of `ref` (a branch, which may be new, or a PR ref).

        A tree equal to its parent's still makes a commit, as on the Hub: it is the client that
        drops unchanged files (huggingface_hub pull request 2389).
        """
        with self.lock:
            refs = self.settings.pull_requests if ref.startswith("refs/pr/") else self.settings.branches
            body = {
                "parent": refs.get(ref),
                "title": title,
                "message": message,
                "author": author,
                "date": now_iso(),
                "tree": {path: asdict(tree[path]) for path in sorted(tree)},
            }
            unique = json.dumps(body) + uuid.uuid4().hex
            oid = hashlib.sha1(unique.encode(), usedforsecurity=False).hexdigest()
            path = self._commit_path(oid)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"oid": oid, **body}), encoding="utf-8")
            refs[ref] = oid
            self.save()
            return self.commit(oid)

    def _commit_path(self, oid: str) -> Path:
        return self.folder / "commits" / f"{oid.replace('/', '%2F')}.json"


class RepoStore:
    """All repositories under `<root>/repos`, loaded at the start."""

    def __init__(self, root: Path, blobs: BlobStore) -> None:
        self._root = root / "repos"
        self._blobs = blobs
        self._repos: dict[tuple[Kind, str], Repo] = {}
        self._lock = threading.RLock()
        for path in sorted(self._root.glob("*/*/*/repo.json")):
            settings = RepoSettings(**json.loads(path.read_text(encoding="utf-8")))
            self._repos[settings.kind, settings.id.lower()] = Repo(path.parent, settings)

    def get(self, kind: Kind, repo_id: str) -> Repo | None:
        """Find a repository as the Hub does: in any letter case, and by its old names."""
        wanted = repo_id.lower()
        found = self._repos.get((kind, wanted))
        return found or next((repo for repo in self.all(kind) if wanted in repo.settings.former_ids), None)

    def rename(self, repo: Repo, repo_id: str) -> None:
        """Give a repository another name; its folder on disk keeps the first one."""
        with self._lock:
            del self._repos[repo.settings.kind, repo.id.lower()]
            repo.settings.former_ids.append(repo.id.lower())
            repo.settings.id = repo_id
            repo.save()
            self._repos[repo.settings.kind, repo_id.lower()] = repo

    def all(self, kind: Kind) -> list[Repo]:
        with self._lock:
            return [repo for (its_kind, _), repo in self._repos.items() if its_kind == kind]

    def create(self, kind: Kind, repo_id: str, author: str, is_private: bool = False) -> Repo | None:
        """Create a repository with the Hub's first commit; None if the name is taken."""
        with self._lock:
            if self.get(kind, repo_id) is not None:
                return None
            settings = RepoSettings(repo_id, kind, now_iso(), uuid.uuid4().hex[:24], is_private)
            repo = Repo(self._root / kind / repo_id, settings)
            attributes = regular_entry(self._blobs, DEFAULT_GITATTRIBUTES.encode())
            repo.add_commit("main", {".gitattributes": attributes}, "initial commit", "", author)
            self._repos[kind, repo_id.lower()] = repo
            return repo

    def delete(self, repo: Repo) -> None:
        """Remove a repository; contents stay, other repositories may share them."""
        with self._lock:
            del self._repos[repo.settings.kind, repo.id.lower()]
            shutil.rmtree(repo.folder)
