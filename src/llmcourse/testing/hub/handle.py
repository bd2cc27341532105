"""Repositories seen from a test: seed them, look into them and change their settings without HTTP."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from llmcourse.testing.hub.gitattributes import is_large, lfs_patterns
from llmcourse.testing.hub.repos import Commit, FileEntry, Gate, Kind, Repo, lfs_entry, regular_entry
from llmcourse.testing.hub.state import HubState


class RepoHandle:
    """One repository, which `add_files`, `gate` and `set_private` create if it is missing."""

    def __init__(self, state: HubState, repo_id: str, kind: Kind = "model") -> None:
        self._state = state
        self._id = repo_id
        self._kind = kind

    def exists(self) -> bool:
        return self._state.repos.get(self._kind, self._id) is not None

    def files(self, revision: str = "main") -> dict[str, FileEntry]:
        """Size, ids and storage of every file, by path. Contents: `read`."""
        return dict(self._commit(revision).tree)

    def commits(self, revision: str = "main") -> list[Commit]:
        """The history, newest first."""
        return list(self._repo().history(self._commit(revision).oid))

    def branches(self) -> dict[str, str]:
        """Commit ids by branch."""
        return dict(self._repo().settings.branches)

    def tags(self) -> dict[str, str]:
        """Commit ids by tag."""
        return dict(self._repo().settings.tags)

    def read(self, path: str, revision: str = "main") -> bytes:
        """A file's content. For one that came over Xet the hub must be running."""
        return self._state.content_path(self._commit(revision).tree[path].sha256).read_bytes()

    def add_files(
        self, files: Mapping[str, bytes | Path], message: str = "Add files", revision: str = "main"
    ) -> Commit:
        """Commit files as the repository's owner; cards are not validated, as old ones on the Hub are not."""
        repo, blobs = self._repo_or_new(), self._state.blobs
        with repo.lock:
            parent = repo.ref(revision) or repo.head.oid
            tree = dict(repo.commit(parent).tree)
            patterns = lfs_patterns(self._state.text(repo.commit(parent), ".gitattributes"))
            for path, content in files.items():
                size = len(content) if isinstance(content, bytes) else content.stat().st_size
                if is_large(path, size, patterns):
                    with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source:
                        tree[path] = lfs_entry(blobs.put_stream(source), size)
                else:
                    data = content if isinstance(content, bytes) else content.read_bytes()
                    tree[path] = regular_entry(blobs, data)
            return repo.add_commit(revision, tree, message, "", self._id.split("/")[0])

    def gate(self, mode: Gate, allowed: list[str] | None = None) -> None:
        """Gate the repository; `allowed` are the users who were given access."""
        repo = self._repo_or_new()
        repo.settings.gated = mode
        repo.settings.allowed = list(allowed or [])
        repo.save()

    def set_private(self, is_private: bool) -> None:
        repo = self._repo_or_new()
        repo.settings.is_private = is_private
        repo.save()

    def describe(
        self, *, downloads: int = 0, likes: int = 0, created_at: str | None = None,
        gguf: dict[str, Any] | None = None, is_disabled: bool = False,
    ) -> None:  # fmt: skip
        """What the Hub counts or reads by itself: `created_at` as `2026-11-23T14:46:14.000Z`, `gguf` from the
        headers of GGUF files (total, architecture, context_length)."""
        repo = self._repo_or_new()
        settings = repo.settings
        settings.downloads, settings.likes, settings.gguf = downloads, likes, gguf
        settings.created_at = created_at or settings.created_at
        settings.is_disabled = is_disabled
        repo.save()

    def rename(self, repo_id: str) -> None:
        """Move the repository; its old name, which may lack an owner as `gpt2` does, leads to the new one."""
        self._state.repos.rename(self._repo(), repo_id)
        self._id = repo_id

    def delete(self) -> None:
        self._state.repos.delete(self._repo())

    def _repo(self) -> Repo:
        repo = self._state.repos.get(self._kind, self._id)
        if repo is None:
            raise KeyError(f"no {self._kind} {self._id} on this hub")
        return repo

    def _repo_or_new(self) -> Repo:
        namespace = self._id.split("/")[0]
        return self._state.repos.create(self._kind, self._id, namespace) or self._repo()

    def _commit(self, revision: str) -> Commit:
        return self._state.commit_at(self._repo(), revision)
