"""An environment of its own for a script whose libraries cannot live beside ours.

The script names its dependencies itself, in the header that PEP 723 describes, so `uv run --script` runs it
by hand too.  Here the environment is built once by `uv sync --script` under $LLMCOURSE_CACHE, and from then
on its interpreter is started directly: that needs no network, and nothing stands between us and the process.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import distributions
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from llmcourse.core.cache import cache_folder, made_folder
from llmcourse.core.errors import BY_NAME, LibraryError, LlmcourseError, MissingError, PlanError
from llmcourse.core.package_sources import as_pip_finds_packages
from llmcourse.core.progress import Progress, event_from_json

# The regular expression of PEP 723, for blocks of the type "script".
_HEADER = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_WHOLE = "llmcourse-whole"  # written last: a build that was killed has no such file
# What a script is told of our environment variables: where things are, languages, devices, compilers.
_PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TERM|TZ|TE?MP|TMPDIR|LANG|LANGUAGE|LC_\w+|XDG_\w+|LD_\w+|DYLD_\w+|SSL_CERT_\w+"
    r"|CC|CXX|CPP|\w+FLAGS|MAX_JOBS|NINJA_\w+|NVCC_\w+|CUDA_\w+|NVIDIA_\w+|NCCL_\w+|TORCH\w*|PYTORCH_\w+|TRITON_\w+"
    r"|OMP_\w+|MKL_\w+|HF_HOME|LLMCOURSE_\w+"
)
_NAMES_A_SECRET = re.compile(r"TOKEN|SECRET|PASSW|KEY|CREDENTIAL|_PAT$", re.IGNORECASE)
_NO_HUB = {"HF_HUB_OFFLINE": "1", "HF_TOKEN_PATH": os.devnull}
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+@")

# Runs before what is started.  Its group holds all that it starts in turn, compilers for example; the pipe
# closes with our end, however we end, and then the whole group is killed.
_TIED = """
import os, signal, sys, threading
def end_with_parent(pipe):
    os.read(pipe, 1)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end_with_parent, args=(int(sys.argv[1]),), daemon=True).start()
sys.argv = sys.argv[2:]
"""
_SCRIPT = _TIED + "import runpy\nrunpy.run_path(sys.argv[0], run_name='__main__')"
_PROGRAM = _TIED + "import subprocess\nsys.exit(subprocess.call(sys.argv))"

_Stream = int | IO[bytes] | None


class TiedProcess(subprocess.Popen[bytes]):
    """A process in a group of its own that ends with all its children when this process ends.

    A signal goes to the whole group.  The group is not the terminal's, so Ctrl-C reaches it through us:
    whoever waits for it kills it on the way out.
    """

    def __init__(self, python: Path, code: str, arguments: Sequence[str | Path], **options: Any) -> None:
        pipe, self._lifeline = Pipe(duplex=False)
        with pipe:
            # -I: no PYTHONPATH, and no module beside the script or in the current folder, hides a library.
            command = [str(python), "-I", "-c", code, str(pipe.fileno()), *map(str, arguments)]
            super().__init__(command, pass_fds=(pipe.fileno(),), start_new_session=True, **options)

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, sig)


class Environment:
    """Where one PEP 723 script runs; its folder depends on the script's header and on our Python.

    With $LLMCOURSE_TORCH, a folder of site-packages for the same Python, the torch in there is used rather
    than the one that the script pins: for machines that have a build of torch of their own and no network.
    """

    def __init__(self, script: Path) -> None:
        self.script = script.absolute()
        header = _HEADER.search(script.read_text(encoding="utf-8"))
        assert header, f"{script} has no header of PEP 723"
        self._header = header["content"]
        self._torch = os.environ.get("LLMCOURSE_TORCH", "")
        known = f"{sys.version_info.major}.{sys.version_info.minor}\n{self._torch}\n{self._header}"
        key = hashlib.sha256(known.encode()).hexdigest()[:16]
        self.folder = cache_folder().absolute() / "environments" / f"{script.stem}-{key}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def is_ready(self) -> bool:
        """Whether it is built, and so usable without network.  Looks at two files."""
        return (self.folder / _WHOLE).is_file() and self.python.exists()

    def prepare(self, progress: Progress) -> None:
        """Build it unless it is there; two that come at once build it once.

        Raises:
            MissingError: uv is not installed, or the packages cannot be had.
            PlanError: the cache cannot be written.
        """
        if self.is_ready():
            return
        made_folder(self.folder.parent)
        with (
            progress.step(f"build the environment of {self.script.name}"),
            FileLock(f"{self.folder}.lock"),
        ):
            if not self.is_ready():
                self._build()

    def _build(self) -> None:
        if self.folder.exists():
            shutil.rmtree(self.folder)
        where, options = as_pip_finds_packages()
        script = self._script_without_torch() if self._torch else self.script
        command = [_uv(self.script.name), "sync", "--script", str(script), "--active", *options]
        environment = {
            **_of_ours(is_for_uv=True),
            **where,
            "VIRTUAL_ENV": str(self.folder),
            # The first Python that suits the header is taken: ours, if it does.
            "UV_PYTHON_PREFERENCE": "system",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        }
        with tempfile.TemporaryFile() as log:
            # Not in the user's folder, whose uv.toml or pyproject.toml is about something else.
            with TiedProcess(
                Path(sys.executable), _PROGRAM, command,
                env=environment, cwd=self.folder.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            ) as process:  # fmt: skip
                try:
                    code = process.wait()
                finally:
                    process.kill()
            log.seek(0)
            if code != 0:
                raise self._not_built(log.read().decode(errors="replace"))
        if self._torch:
            (packages,) = self.folder.glob("lib/python*/site-packages")
            (packages / "torch.pth").write_text(self._torch + "\n", encoding="utf-8")
        (self.folder / _WHOLE).touch()

    def _script_without_torch(self) -> Path:
        """A script with the same header except that torch is installed nowhere."""
        table, header = "# [tool.uv]\n", self._header
        if table not in header:
            header += table
        never = f"""{table}# override-dependencies = ["torch; python_version < '3'"]\n"""
        script = Path(f"{self.folder}.py")
        script.write_text(f"# /// script\n{header.replace(table, never)}# ///\n", encoding="utf-8")
        return script

    def _not_built(self, log: str) -> LlmcourseError:
        if "(os error 28)" in log:
            return PlanError(
                f"The disk is full: the environment of {self.script.name} could not be built.",
                f"Free some space for {self.folder.parent}; the same command goes on.",
            )
        lines = [line.strip() for line in log.splitlines() if re.match(r"\s*(error|cause): ", line)]
        why = _CREDENTIALS.sub("", ": ".join(line.partition(": ")[2] for line in lines[:2]) or log.strip())
        return MissingError(
            f"The environment of {self.script.name} cannot be built: {why.removesuffix('.')}.",
            "Connect to a package index, or name a folder that has the packages in PIP_FIND_LINKS.",
        )

    def start(
        self,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str] | None = None,
        stdin: _Stream = subprocess.DEVNULL,
        stdout: _Stream = None,
        stderr: _Stream = None,
    ) -> TiedProcess:
        """Start the script; the environment must be ready.

        Of our environment variables it sees those that it may need, none that holds a credential, and no
        Hub: its inputs are on this machine.
        """
        return TiedProcess(
            self.python, _SCRIPT, [self.script, *arguments],
            env={**_of_ours(), **_NO_HUB, **(environment or {})},
            stdin=stdin, stdout=stdout, stderr=stderr,
        )  # fmt: skip


def pinned(script: Path) -> dict[str, str]:
    """Packages that the script's header pins, and their versions: for plan, fingerprint and card."""
    header = _HEADER.search(script.read_text(encoding="utf-8"))
    assert header, f"{script} has no header of PEP 723"
    stated = tomllib.loads("".join(line[2:] for line in header["content"].splitlines(keepends=True)))
    found = {name: version for name, _, version in (pin.partition("==") for pin in stated["dependencies"])}
    place = os.environ.get("LLMCOURSE_TORCH")
    if place and "torch" in found:
        found["torch"] = next((there.version for there in distributions(name="torch", path=[place])), "")
    return {name: version for name, version in found.items() if version}


def work(environment: Environment, job: dict[str, Any], progress: Progress, log: IO[bytes]) -> dict[str, Any]:
    """Have the script do one job: JSON on stdin, one JSON result on stdout, anything else on stderr.

    A line of stderr that is an event of core.progress as JSON goes to `progress`, every other one to `log`.
    A result {"error": {"type": "PlanError", "what": …, "fix": …}} is raised as that error.

    Raises:
        MissingError: the environment cannot be built.
        LlmcourseError: what the script reported.
        LibraryError: the script ended without a result.
    """
    environment.prepare(progress)
    name = environment.script.name
    with tempfile.TemporaryFile() as job_file, tempfile.TemporaryFile() as result_file:
        job_file.write(json.dumps(job).encode())
        job_file.seek(0)
        with environment.start(stdin=job_file, stdout=result_file, stderr=subprocess.PIPE) as process:
            try:
                last_line = _listen(process, progress, log)
                code = process.wait()
            finally:
                process.kill()
        result_file.seek(0)
        text = result_file.read()
    if code == -signal.SIGINT:
        raise KeyboardInterrupt
    if code != 0 or not text:
        raise _died(name, code, last_line, log)
    result: dict[str, Any] = json.loads(text)
    if "error" in result:
        error = result["error"]
        raise BY_NAME[error["type"]](error["what"], error["fix"])
    return result


def _listen(process: TiedProcess, progress: Progress, log: IO[bytes]) -> str:
    """Pass on what the process says until it ends; its last line of text often says why."""
    last_line = ""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b'{"event"'):
            with suppress(ValueError, KeyError):  # a library's own line that looks like ours is log
                progress.emit(event_from_json(json.loads(line)))
                continue
        log.write(line)
        log.flush()
        last_line = line.decode(errors="replace").strip() or last_line
    return last_line


def _died(name: str, code: int, last_line: str, log: IO[bytes]) -> LlmcourseError:
    if code == -signal.SIGKILL:
        error = LibraryError(
            f"The system killed {name}; most likely memory ran out.",
            "Close other programs or use a machine with more memory, then run the same command again.",
        )
    else:
        end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        why = f": {last_line}" if last_line else "."
        error = LibraryError(f"{name} ended with {end}{why}", "Read the end of its log.")
    path = getattr(log, "name", None)  # a number or nothing where the log has no name of its own
    if isinstance(path, str) and Path(path).is_file():
        error.log = Path(path)
    return error


def _uv(script: str) -> str:
    try:
        from uv import find_uv_bin
    except ImportError:
        raise MissingError(
            f"uv, which builds the environment of {script}, is not installed.",
            "Run: pip install 'llmcourse[gptq]', or 'llmcourse[exl2]' for that command.",
        ) from None
    return find_uv_bin()


def _of_ours(is_for_uv: bool = False) -> dict[str, str]:
    """Of our environment variables those a script may need; uv's also open package indexes and proxies."""

    def is_kept(name: str) -> bool:
        if is_for_uv and (name.startswith(("PIP_", "UV_")) or name.upper().endswith("_PROXY")):
            return True
        return not _NAMES_A_SECRET.search(name) and (is_for_uv or _PASSED_ON.fullmatch(name) is not None)

    return {name: value for name, value in os.environ.items() if is_kept(name)}
