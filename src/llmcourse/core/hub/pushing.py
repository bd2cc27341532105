"""Publishing: one push is one visible commit, verified against what is on disk.

Large files are sent first, one by one, and are kept by the Hub without being visible; then a single
commit names them all.  A killed push therefore leaves the branch as it was, and the next one sends
only what the Hub does not hold yet.  The client repeats a commit whose answer was lost as a
duplicate, or fails although it was applied; here the branch is looked at instead.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import get_session, hf_raise_for_status
from huggingface_hub.utils._xet import XetTokenType, xet_connection_info_refresh_url
from tenacity import Retrying, retry_if_exception, stop_after_attempt

from llmcourse.core.artifact import MANIFEST_NAME, Artifact, HubLocation, OutputFile
from llmcourse.core.errors import PublishError
from llmcourse.core.hub.client import HUB_ERRORS, api, may_pass, retrying, status_of, translated
from llmcourse.core.hub.standstill import watched
from llmcourse.core.hub.target import WEIGHTS, RemoteFile, Target, remote_files
from llmcourse.core.hub.waiting import wait
from llmcourse.core.progress import Progress

_SMALL_BYTES = 10_000_000


def push(
    folder: Path, artifact: Artifact, target: Target, progress: Progress, piece: str = ""
) -> HubLocation:
    """Make the branch hold exactly the artifact's files, plus what others keep beside them.

    With `piece` the artifact is a part of what is to come: nothing is deleted yet.

    Raises:
        PublishError: the Hub refused or could not be reached, or holds something else than was sent.
    """
    files = artifact.files
    message = f"Add {piece or artifact.command} made by llmcourse"
    with translated(target.repo, PublishError):
        head = _ensure_branch(target)
        present = remote_files(target.repo, target.revision, target.kind)
        missing = [file for file in files if not _is_same(folder, file, present.get(file.path))]
        if piece and [file.path for file in missing] == [MANIFEST_NAME]:
            # Of what an earlier run published; its manifest is brought up to date by the last push.
            files, missing = tuple(file for file in files if file not in missing), []
        stale = [] if piece else _stale(present, artifact, target)
        if missing or stale:
            head = _send(folder, missing, stale, target, head, message, progress, piece)
        _verify(folder, files, target, head)
    base = f"{api().endpoint}/{'datasets/' if target.kind == 'dataset' else ''}{target.repo}"
    url = base if target.revision == "main" else f"{base}/tree/{target.revision}"
    return HubLocation(target.repo, target.revision, head, url, target.kind)


def _ensure_branch(target: Target) -> str:
    if not target.exists:
        retrying(
            lambda: api().create_repo(
                target.repo, private=target.private, repo_type=target.kind, exist_ok=True
            )
        )
    if target.revision != "main":
        retrying(
            lambda: api().create_branch(
                target.repo, branch=target.revision, repo_type=target.kind, exist_ok=True
            )
        )
    return _head(target)


def _head(target: Target) -> str:
    info = retrying(lambda: api().repo_info(target.repo, revision=target.revision, repo_type=target.kind))
    if info.sha is None:
        raise PublishError(
            f"{target.repo} has no branch {target.revision}.", "Create it on the Hub and run it again."
        )
    return info.sha


def _stale(present: dict[str, RemoteFile], artifact: Artifact, target: Target) -> list[str]:
    """Files of the result that is being replaced; what others keep in the repository stays.

    Weights of another kind are another model: GGUF files do not replace the safetensors beside them.
    """
    if target.fingerprint == artifact.fingerprint:
        return []
    ours = {file.path for file in artifact.files}
    if target.kind == "dataset":
        return [name for name in target.listed if name in present and name not in ours]
    # Without a manifest of ours: the weights of one model, but GGUF files are each a thing of their own.
    unlisted = [name for name in present if name.endswith(WEIGHTS) and not name.endswith(".gguf")]
    replaced = target.listed or [name for name in unlisted if "/" not in name]
    kinds = _kinds(ours)
    if not kinds & _kinds(replaced):
        return []
    return [name for name in replaced if name in present and name not in ours and _kinds([name]) <= kinds]


def _kinds(names: Iterable[str]) -> set[str]:
    """Which kinds of weights are among the files: GGUF, or Hugging Face's own."""
    return {"gguf" if name.endswith(".gguf") else "hf" for name in names if name.endswith(WEIGHTS)}


def _send(
    folder: Path,
    missing: Sequence[OutputFile],
    stale: Sequence[str],
    target: Target,
    head: str,
    message: str,
    progress: Progress,
    piece: str,
) -> str:
    additions: list[CommitOperationAdd] = []
    _refuse_deleted(missing, target)
    place = target.repo if target.revision == "main" else f"{target.repo}@{target.revision}"
    what = f"upload {piece} to {place}" if piece else f"upload {place}"
    with progress.step(what, sum(file.size for file in missing), "B") as step:
        for group in _groups(missing):
            batch = [CommitOperationAdd(file.path, str(folder / file.path)) for file in group]
            for file, addition in zip(group, batch, strict=True):
                if piece:  # hashed a moment ago, in this run; the network would wait for it
                    addition.upload_info.sha256 = bytes.fromhex(file.sha256)
                else:
                    _refuse_changed(file, addition)
            names = ", ".join(file.path for file in group[:3])
            with watched(f"The upload of {names} to {place}", progress.note):
                _send_large(batch, target)
            additions += batch
            step.advance(sum(file.size for file in group))
    operations: list[CommitOperationAdd | CommitOperationDelete] = [*additions]
    operations += [CommitOperationDelete(name) for name in stale]
    return _commit_once(operations, target, head, message, {file.path: file for file in missing})


def _send_large(batch: list[CommitOperationAdd], target: Target) -> None:
    """Have the Hub keep what is large. Where Xet refuses it says nothing of why; the Hub is asked for that.

    Raises what the client raises.
    """
    try:
        api().preupload_lfs_files(target.repo, batch, revision=target.revision, repo_type=target.kind)
    except (ConnectionError, RuntimeError):
        url = xet_connection_info_refresh_url(
            token_type=XetTokenType.WRITE,
            repo_id=target.repo,
            repo_type=target.kind,
            revision=target.revision,
            endpoint=api().endpoint,
        )
        hf_raise_for_status(get_session().get(url, headers=build_hf_headers()))
        raise


def _groups(files: Sequence[OutputFile]) -> list[list[OutputFile]]:
    """Each large file by itself, so that it is kept when the next one fails; the small ones together."""
    small = [file for file in files if file.size < _SMALL_BYTES]
    large = [[file] for file in files if file.size >= _SMALL_BYTES]
    return [*large, small] if small else large


def _refuse_deleted(missing: Sequence[OutputFile], target: Target) -> None:
    gone = [file.path for file in missing if not file.is_local]
    if gone:
        raise PublishError(
            f"{target.repo} no longer holds {gone[0]}, which was deleted here after it was published.",
            "Delete the output folder and run the command again.",
            where=gone[0],
        )


def _refuse_changed(file: OutputFile, addition: CommitOperationAdd) -> None:
    if addition.upload_info.sha256.hex() != file.sha256:
        raise PublishError(
            f"{file.path} has changed on disk since it was made.",
            "Delete the output folder and run the command again.",
            where=file.path,
        )


def _commit_once(
    operations: list[CommitOperationAdd | CommitOperationDelete],
    target: Target,
    head: str,
    message: str,
    wanted: dict[str, OutputFile],
) -> str:
    """Commit on top of `head`; when the answer is lost, the branch says whether it happened."""

    def attempt() -> str:
        try:
            return str(
                api()
                .create_commit(
                    target.repo,
                    operations,
                    commit_message=message,
                    revision=target.revision,
                    parent_commit=head,
                    repo_type=target.kind,
                )
                .oid
            )
        except HUB_ERRORS as error:
            if not may_pass(error) and status_of(error) not in (409, 412):
                raise
            settled = _settled(target, head, wanted)
            if settled is None:
                raise
            return settled

    attempts = Retrying(
        retry=retry_if_exception(may_pass),
        stop=stop_after_attempt(6),
        wait=wait,
        reraise=True,
    )
    return attempts(attempt)


def _settled(target: Target, head: str, wanted: dict[str, OutputFile]) -> str | None:
    """The new head if it holds what was sent, None if the branch has not moved."""
    now = _head(target)
    if now == head:
        return None
    present = remote_files(target.repo, now, target.kind)
    if all(name in present and present[name].size == file.size for name, file in wanted.items()):
        return now
    raise PublishError(
        f"Someone else changed {target.repo} during the push.", "Run the same command again.", target.repo
    )


def _verify(folder: Path, files: Sequence[OutputFile], target: Target, head: str) -> None:
    present = remote_files(target.repo, head, target.kind)
    wrong = [file.path for file in files if not _is_same(folder, file, present.get(file.path))]
    if wrong:
        raise PublishError(
            f"{target.repo} holds something else than was sent in {', '.join(wrong[:3])}.",
            "Run the same command again to send it anew.",
            where=target.repo,
        )


def _is_same(folder: Path, file: OutputFile, remote: RemoteFile | None) -> bool:
    if remote is None or remote.size != file.size:
        return False
    if not file.is_local and not remote.is_lfs:
        return True  # its content is not here to be named in git's way
    return remote.digest == (file.sha256 if remote.is_lfs else _git_blob_id(folder / file.path))


def _git_blob_id(path: Path) -> str:
    """Git's name of a file's content, by which the Hub knows files that are not LFS."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
