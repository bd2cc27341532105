"""Scripts with environments of their own, which the real uv builds without network, of packages made here."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from llmcourse.core.environments import Environment, pinned, work
from llmcourse.core.errors import LibraryError, MissingError, PlanError
from llmcourse.core.progress import Advanced, Event, Finished, Progress, Started

HEADER = """
# /// script
# requires-python = ">=3.11"
# dependencies = ["{dependency}"]
# ///
"""
SILENT = Progress(lambda event: None)
Script = Callable[..., Environment]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of a package `greeting`."""
    folder = tmp_path_factory.mktemp("packages")
    files = {
        "greeting.py": "WORD = 'hello'\n",
        "greeting-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        "greeting-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
        f"{len(text)}\n"
        for name, text in files.items()
    )
    with zipfile.ZipFile(folder / "greeting-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr("greeting-1.0.dist-info/RECORD", record + "greeting-1.0.dist-info/RECORD,,\n")
    return folder


@pytest.fixture
def settings(tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Caches of this test, and pip told of that folder and of nothing else."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LLMCOURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return monkeypatch


@pytest.fixture
def script(tmp_path: Path, settings: pytest.MonkeyPatch) -> Script:
    """Writes a script with that body and header; its environment is not built yet."""

    def write(body: str = "", dependency: str = "greeting==1.0", name: str = "tiny.py") -> Environment:
        path = tmp_path / name
        path.write_text(HEADER.format(dependency=dependency) + dedent(body))
        return Environment(path)

    return write


def output_of(environment: Environment, *arguments: str) -> str:
    process = environment.start(arguments, stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.decode()


def test_an_environment_is_built_once_and_then_used_without_its_packages(
    script: Script, settings: pytest.MonkeyPatch
) -> None:
    body = "import greeting, sys\nprint(greeting.WORD, __file__, *sys.argv)"
    environment = script(body)
    assert not environment.is_ready()
    events: list[Event] = []
    environment.prepare(Progress(events.append))
    step = "build the environment of tiny.py"
    assert events == [Started(step), Finished(step)]
    assert environment.is_ready()

    settings.setenv("PIP_FIND_LINKS", "nowhere")
    environment.prepare(Progress(events.append))
    assert len(events) == 2
    path = str(environment.script)
    assert output_of(environment, "one", "two words").split("\n")[0] == f"hello {path} {path} one two words"


def test_the_header_and_not_the_body_decides_which_environment_it_is(script: Script) -> None:
    first = script("print(1)")
    assert script("print(2)").folder == first.folder
    assert script("print(1)", dependency="greeting").folder != first.folder


def test_whether_it_is_ready_is_known_at_once(script: Script) -> None:
    script().prepare(SILENT)
    start = time.perf_counter()
    assert script().is_ready()
    assert time.perf_counter() - start < 0.1


def test_an_environment_whose_python_is_gone_is_not_ready(script: Script) -> None:
    environment = script("import greeting")
    environment.prepare(SILENT)
    environment.python.unlink()
    assert not environment.is_ready()
    environment.prepare(SILENT)
    assert output_of(environment) == ""


@pytest.mark.parametrize("table", ["", "# [tool.uv]\n# no-build = true\n"])
def test_a_torch_of_this_machine_takes_the_place_of_the_one_that_a_script_pins(
    table: str, tmp_path: Path, settings: pytest.MonkeyPatch
) -> None:
    """Here a module of that name; the version that is pinned does not exist."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "torch.py").write_text("__version__ = '1.0+ours'")
    of_its_own = tmp_path / "site" / "torch-1.0.dist-info"
    of_its_own.mkdir()
    (of_its_own / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0+ours\n")
    settings.setenv("LLMCOURSE_TORCH", str(tmp_path / "site"))
    script = tmp_path / "tiny.py"
    header = HEADER.format(dependency='greeting==1.0", "torch==99.0').replace("# ///\n", f"{table}# ///\n")
    script.write_text(f"{header}import greeting, torch\nprint(greeting.WORD, torch.__version__)")
    environment = Environment(script)
    environment.prepare(SILENT)
    assert output_of(environment) == "hello 1.0+ours\n"
    assert pinned(script) == {"greeting": "1.0", "torch": "1.0+ours"}
    settings.delenv("LLMCOURSE_TORCH")
    assert pinned(script) == {"greeting": "1.0", "torch": "99.0"}
    assert not Environment(script).is_ready()


def index_of(packages: Path, folder: Path) -> str:
    """An index, as pip reads them from a folder, with a link to the package."""
    page = folder / "simple" / "greeting" / "index.html"
    page.parent.mkdir(parents=True)
    wheel = next(packages.glob("*.whl"))
    page.write_text(f'<!DOCTYPE html><html><body><a href="{wheel.as_uri()}">{wheel.name}</a></body></html>')
    return (folder / "simple").as_uri()


@pytest.mark.parametrize("option", ["find-links", "index-url", "extra-index-url"])
@pytest.mark.parametrize("place", ["variable", "file"])
def test_packages_are_found_where_pip_finds_them(
    option: str, place: str, script: Script, settings: pytest.MonkeyPatch, packages: Path, tmp_path: Path
) -> None:
    settings.delenv("PIP_FIND_LINKS")
    settings.delenv("PIP_NO_INDEX")
    empty = tmp_path / "empty" / "greeting"
    empty.mkdir(parents=True)
    (empty / "index.html").write_text("<!DOCTYPE html><html><body></body></html>")
    value = str(packages) if option == "find-links" else index_of(packages, tmp_path)
    wanted = {"index-url": empty.parent.as_uri()} | {option: value}
    if place == "variable":
        for name, text in wanted.items():
            settings.setenv(f"PIP_{name.replace('-', '_').upper()}", text)
    else:
        lines = "".join(f"{name} = {text}\n" for name, text in wanted.items())
        (tmp_path / "pip.conf").write_text(f"[global]\n{lines}")
        settings.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    environment = script("import greeting")
    environment.prepare(SILENT)
    assert environment.is_ready()


def test_a_package_that_cannot_be_had_is_named(script: Script) -> None:
    environment = script(dependency="no-such-greeting==2.0")
    with pytest.raises(MissingError) as caught:
        environment.prepare(SILENT)
    assert caught.value.what.startswith("The environment of tiny.py cannot be built: ")
    assert "no-such-greeting" in caught.value.what
    assert caught.value.fix
    assert not environment.is_ready()


def test_a_password_in_an_address_is_not_shown(script: Script, settings: pytest.MonkeyPatch) -> None:
    settings.delenv("PIP_NO_INDEX")
    settings.setenv("PIP_INDEX_URL", "http://someone:hidden@127.0.0.1:9/simple")
    with pytest.raises(MissingError) as caught:
        script(dependency="no-such-greeting==2.0").prepare(SILENT)
    assert "127.0.0.1:9/simple" in caught.value.what
    assert "hidden" not in caught.value.what


def test_without_uv_the_extras_that_bring_it_are_named(script: Script, settings: pytest.MonkeyPatch) -> None:
    settings.setitem(sys.modules, "uv", None)
    with pytest.raises(MissingError) as caught:
        script().prepare(SILENT)
    assert caught.value.what == "uv, which builds the environment of tiny.py, is not installed."
    assert "llmcourse[gptq]" in caught.value.fix


# Python that prepares the environment of a script in another process.
PREPARE = """
import sys
from pathlib import Path
from llmcourse.core.environments import Environment
from llmcourse.core.progress import Progress
Environment(Path(sys.argv[1])).prepare(Progress(lambda event: None))
"""


def prepare_elsewhere(environment: Environment) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", PREPARE, str(environment.script)])


def test_two_that_come_at_once_do_not_disturb_each_other(script: Script) -> None:
    environment = script("import greeting\nprint(greeting.WORD)")
    others = [prepare_elsewhere(environment) for _ in range(3)]
    assert [other.wait(timeout=60) for other in others] == [0, 0, 0]
    assert output_of(environment) == "hello\n"


# A build backend that says that it is at work and waits there until it is told to go on.
BACKEND = """
import os, shutil, time
from pathlib import Path

def build_wheel(folder, config_settings=None, metadata_directory=None):
    Path(os.environ["SLOW_FOLDER"], "variables").write_text(" ".join(os.environ))
    Path(os.environ["SLOW_FOLDER"], "pid").write_text(str(os.getpid()))
    while not Path(os.environ["SLOW_FOLDER"], "go").exists():
        time.sleep(0.05)
    wheel = next(Path(os.environ["SLOW_FOLDER"]).glob("*.whl"))
    return Path(shutil.copy(wheel, folder)).name
"""


@pytest.fixture
def slow(tmp_path: Path, packages: Path, settings: pytest.MonkeyPatch) -> Path:
    """A folder in which `greeting` is source that takes its time to build, and says so in `pid`."""
    folder = tmp_path / "slow"
    folder.mkdir()
    files = {
        "PKG-INFO": "Metadata-Version: 2.2\nName: greeting\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "greeting"\nversion = "1.0"\n',
        "backend.py": BACKEND,
    }
    links = tmp_path / "sources"
    links.mkdir()
    with tarfile.open(links / "greeting-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"greeting-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    wheel = next(packages.glob("*.whl"))
    (folder / wheel.name).write_bytes(wheel.read_bytes())
    settings.setenv("SLOW_FOLDER", str(folder))
    settings.setenv("PIP_FIND_LINKS", str(links))
    return folder


def test_a_build_whose_parent_was_killed_ends_and_is_not_taken_for_whole(
    script: Script, slow: Path, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("HF_TOKEN", "hf_secret")
    environment = script("import greeting\nprint(greeting.WORD)")
    other = prepare_elsewhere(environment)
    builder = pid_in(slow / "pid")
    other.kill()
    other.wait()
    assert is_gone(builder, within_s=2)
    assert "HF_TOKEN" not in (slow / "variables").read_text().split()
    assert not environment.is_ready()

    (slow / "go").touch()
    environment.prepare(SILENT)
    assert output_of(environment) == "hello\n"


def pid_in(path: Path, within_s: float = 20) -> int:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(0.02)
    raise AssertionError(f"nothing in {path}")


def is_gone(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or ") Z " in stat.read_text():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache for the tests that need an environment and not its making."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def ready(script: Script, settings: pytest.MonkeyPatch, kept: Path) -> Script:
    """Writes a script whose environment is built."""
    settings.setenv("LLMCOURSE_CACHE", str(kept))

    def write(body: str) -> Environment:
        environment = script(body)
        environment.prepare(SILENT)
        return environment

    return write


def test_no_credential_reaches_a_script(ready: Script, settings: pytest.MonkeyPatch) -> None:
    secrets = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "RUNPOD_API_KEY", "PIP_INDEX_URL", "UV_INDEX_A_PASSWORD"]
    secrets += ["DATABASE_URL", "WANDB_LOGIN"]  # by whose names nobody would know them
    for name in secrets:
        settings.setenv(name, "secret")
    settings.setenv("CUDA_VISIBLE_DEVICES", "1")
    names = output_of(ready("import os\nprint(*os.environ)")).split()
    assert not set(names) & set(secrets)
    assert {"CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "PATH"} <= set(names)


def test_a_script_is_alone_with_its_packages(
    ready: Script, settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither our libraries nor a module in the current folder, beside it, or on PYTHONPATH is in its way."""
    (tmp_path / "greeting.py").write_text("WORD = 'not this one'")
    settings.chdir(tmp_path)
    settings.setenv("PYTHONPATH", str(tmp_path))
    body = """
    import greeting, importlib.util
    print(greeting.WORD, importlib.util.find_spec("llmcourse"))
    """
    assert output_of(ready(body)) == "hello None\n"


WITH_A_CHILD = """
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
Path(__file__).with_suffix(".pid").write_text(str(child.pid))
time.sleep(100)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_a_script_and_its_children(ready: Script, sent: signal.Signals) -> None:
    with ready(WITH_A_CHILD).start(stderr=subprocess.DEVNULL) as process:
        child = pid_in(Path(process.args[-1]).with_suffix(".pid"))  # type: ignore[index, arg-type]
        process.send_signal(sent)
        assert process.wait(timeout=5) == -sent
    assert is_gone(child, within_s=2)


PARENT = """
import sys, time
from pathlib import Path
from llmcourse.core.environments import Environment
process = Environment(Path(sys.argv[1])).start()
print(process.pid, flush=True)
time.sleep(100)
"""


def test_a_script_and_its_children_end_with_a_parent_that_is_killed(ready: Script) -> None:
    environment = ready(WITH_A_CHILD)
    command = [sys.executable, "-c", PARENT, str(environment.script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        child = pid_in(environment.script.with_suffix(".pid"))
        parent.kill()
    assert is_gone(pid, within_s=2)
    assert is_gone(child, within_s=2)


WORKING = """
import sys
from pathlib import Path
from llmcourse.core.environments import Environment, work
from llmcourse.core.progress import Progress
with open(sys.argv[2], "wb") as log:
    work(Environment(Path(sys.argv[1])), {}, Progress(lambda event: None), log)
"""


def test_an_interrupt_of_ours_ends_the_work(ready: Script, tmp_path: Path) -> None:
    environment = ready(WITH_A_CHILD)
    command = [sys.executable, "-c", WORKING, str(environment.script), str(tmp_path / "log")]
    # A shell's background job ignores SIGINT and hands that on; this one must hear it.
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    ) as parent:
        child = pid_in(environment.script.with_suffix(".pid"))
        parent.send_signal(signal.SIGINT)
        assert parent.wait(timeout=5) == -signal.SIGINT
    assert is_gone(child, within_s=2)


def test_work_gives_the_result_and_passes_progress_on_and_the_rest_to_the_log(
    ready: Script, tmp_path: Path
) -> None:
    environment = ready("""
    import json, sys
    job = json.load(sys.stdin)
    for event in ({"event": "started", "step": "count", "total": 2, "unit": "items"},
                  {"event": "advanced", "step": "count", "done": 2}, {"event": "finished", "step": "count"}):
        print(json.dumps(event), file=sys.stderr)
        print("a warning", file=sys.stderr)
    json.dump({"sum": sum(job["numbers"])}, sys.stdout)
    """)
    events: list[Event] = []
    with (tmp_path / "log").open("wb") as log:
        result = work(environment, {"numbers": list(range(100_000))}, Progress(events.append), log)
    assert result == {"sum": 4_999_950_000}
    assert events == [Started("count", 2, "items"), Advanced("count", 2), Finished("count")]
    assert (tmp_path / "log").read_text() == "a warning\n" * 3


def test_work_raises_what_the_script_reports(ready: Script) -> None:
    environment = ready("""
    print('{"error": {"type": "PlanError", "what": "The model is of paper.", "fix": "Take another."}}')
    """)
    with pytest.raises(PlanError) as caught:
        work(environment, {}, SILENT, io.BytesIO())
    assert (caught.value.what, caught.value.fix) == ("The model is of paper.", "Take another.")


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("raise ValueError('no good')", "tiny.py ended with exit code 1: ValueError: no good"),
        (
            "import os, sys; print('torn', file=sys.stderr, flush=True); os.abort()",
            "tiny.py ended with SIGABRT: torn",
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "The system killed tiny.py; most likely memory ran out.",
        ),
        ("", "tiny.py ended with exit code 0."),
    ],
)
def test_work_explains_a_script_that_ends_without_a_result(
    ready: Script, tmp_path: Path, body: str, what: str
) -> None:
    with (tmp_path / "log").open("wb") as log, pytest.raises(LibraryError) as caught:
        work(ready(body), {}, SILENT, log)
    assert caught.value.what == what
    assert caught.value.log == tmp_path / "log"
