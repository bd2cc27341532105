"""The repository that a result is published to, looked at before anything is made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._validators import validate_repo_id

from llmcourse.core.artifact import MANIFEST_NAME, HubKind
from llmcourse.core.config import HubTarget
from llmcourse.core.errors import PlanError
from llmcourse.core.hub.client import api, has_token, is_offline, no_token, retrying, translated

WEIGHTS = (".safetensors", ".bin", ".index.json", ".gguf")
_ROWS = (".parquet", ".arrow", ".jsonl", ".csv", ".tsv")


@dataclass(frozen=True)
class RemoteFile:
    """`digest` is the sha256 of an LFS file's content, else the git blob id."""

    size: int
    digest: str
    is_lfs: bool


@dataclass(frozen=True)
class Target:
    """`head` is None while the branch, or the whole repository, does not exist.

    Models and data sets are apart: the same id may be both.
    """

    repo: str
    revision: str
    private: bool
    exists: bool = False
    head: str | None = None
    files: Mapping[str, RemoteFile] | None = None
    is_public: bool = False
    # Of the artifact that the branch holds, where it is one of ours.
    fingerprint: str | None = None
    listed: tuple[str, ...] = ()
    kind: HubKind = "model"

    @property
    def is_taken(self) -> bool:
        """Whether the branch holds a model, or the rows of a data set, that a push would replace."""
        contents = WEIGHTS if self.kind == "model" else _ROWS
        return self.fingerprint is not None or any(name.endswith(contents) for name in self.files or ())


def read_target(wish: HubTarget, kind: HubKind = "model") -> Target:
    """What is at the target, after proving that this token may write there.

    Raises:
        PlanError: no token, a token that cannot write, a namespace that is not yours, or no network.
    """
    if is_offline():
        raise PlanError(
            "HF_HUB_OFFLINE is set, so nothing can be pushed.", "Unset it, or use --no-push.", "push"
        )
    if not has_token():
        raise PlanError(*no_token("push"), where="push")
    with translated(wish.repo):
        identity = retrying(lambda: api().whoami())
        repo = wish.repo if "/" in wish.repo else f"{identity['name']}/{wish.repo}"
        validate_repo_id(repo)
        _refuse_read_only(identity, repo)
        target = _existing(repo, wish, kind)
        if target.exists:
            retrying(lambda: api().auth_check(repo, repo_type=kind, write=True))
        return target


def _refuse_read_only(identity: Mapping[str, Any], repo: str) -> None:
    namespace = repo.partition("/")[0]
    orgs = {org["name"]: org.get("roleInOrg", "write") for org in identity.get("orgs", [])}
    if namespace != identity["name"] and orgs.get(namespace, "read") == "read":
        writable = [identity["name"], *(name for name, role in orgs.items() if role != "read")]
        raise PlanError(
            f"{identity['name']} may not write to {namespace} on the Hub.",
            f"Push to one of: {', '.join(writable)}.",
            where="push",
        )
    token = identity.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise PlanError(
            "Your Hub token may only read.", "Make one with write access and set HF_TOKEN.", where="push"
        )
    if token.get("role") == "fineGrained" and not _may_write(token.get("fineGrained", {}), namespace, repo):
        raise PlanError(
            f"Your fine-grained token has no write permission for {repo}.",
            f"Give it 'Write access to contents' of {namespace} in your token settings.",
            where="push",
        )


def _may_write(grants: Mapping[str, Any], namespace: str, repo: str) -> bool:
    permissions = [
        permission
        for scope in grants.get("scoped", [])
        if scope.get("entity", {}).get("name") in (namespace, repo)
        for permission in scope.get("permissions", [])
    ]
    return "repo.write" in permissions or "repo.write" in grants.get("global", [])


def _existing(repo: str, wish: HubTarget, kind: HubKind) -> Target:
    try:
        is_public = not retrying(lambda: api().repo_info(repo, repo_type=kind)).private
    except RepositoryNotFoundError:
        return Target(repo, wish.revision, wish.private, kind=kind)
    there = Target(repo, wish.revision, wish.private, exists=True, is_public=is_public, kind=kind)
    try:
        head = retrying(lambda: api().repo_info(repo, revision=wish.revision, repo_type=kind)).sha
    except RevisionNotFoundError:
        return there
    files = remote_files(repo, wish.revision, kind)
    fingerprint, listed = _remote_manifest(repo, head, kind) if MANIFEST_NAME in files else (None, ())
    return replace(there, head=head, files=files, fingerprint=fingerprint, listed=listed)


def remote_files(repo: str, revision: str, kind: HubKind = "model") -> dict[str, RemoteFile]:
    """Every file at a revision, with what is needed to compare it to one on disk."""
    # The client repeats this call itself; again around that, a failing Hub would be asked for minutes.
    items = list(api().list_repo_tree(repo, revision=revision, recursive=True, repo_type=kind))
    return {
        item.path: RemoteFile(item.size, item.lfs.sha256 if item.lfs else item.blob_id, item.lfs is not None)
        for item in items
        if isinstance(item, RepoFile)
    }


def _remote_manifest(repo: str, head: str | None, kind: HubKind) -> tuple[str | None, tuple[str, ...]]:
    """Fingerprint and files of the artifact at `head`; nothing where the manifest is not ours."""
    try:
        path = retrying(lambda: api().hf_hub_download(repo, MANIFEST_NAME, revision=head, repo_type=kind))
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        return str(data["fingerprint"]), tuple(str(file["path"]) for file in data["files"])
    except (EntryNotFoundError, ValueError, KeyError, TypeError):
        # Then it is somebody's file, and a push over weights needs --force like any other.
        return None, ()
