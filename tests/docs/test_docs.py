"""The pages are true: references, commands that are shown, errors that are explained, links, recipes."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from llmcourse.cli import app
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import CODE_ID, PROSE_ID
from llmcourse.testing.plugin import Cli, as_user

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in _BLOCK.findall(page.read_text()) if language in languages]


def test_the_references_are_what_the_program_says() -> None:
    for name, text in reference().pages().items():
        assert (DOCS / "reference" / name).read_text() == text, "run `make docs`"


def command_lines() -> list[tuple[str, str]]:
    """Every `llmcourse …` that a page shows in a block for a shell."""
    found = []
    for page in PAGES:
        if page.parent.name == "reference":
            continue
        for block in blocks(page, "bash", "make", "yaml"):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.strip().removeprefix("- run: ").removeprefix("$ ")
                for part in re.split(r"\s\|\s", line):
                    if part.strip().startswith("llmcourse "):
                        found.append((page.name, part.strip()))
    return found


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_a_command_that_is_shown_is_one(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    group: Any = get_command(app)
    name = " ".join(words[:2]) if " ".join(words[:2]) in group.commands else words[0]
    assert name in group.commands or name.startswith("-"), name
    if name in group.commands:
        command = group.commands[name]
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        used = [word for word in words[len(name.split()) :] if re.fullmatch(r"-\w|--[\w-]+", word)]
        assert set(used) <= known | {"-h", "--help"}


def quoted_errors() -> list[str]:
    text = (DOCS / "troubleshooting.md").read_text()
    return [line.removeprefix("> ") for line in text.splitlines() if line.startswith("> ")]


@pytest.mark.parametrize("sentence", quoted_errors())
def test_an_error_that_is_explained_is_one_that_is_told(sentence: str) -> None:
    parts = [part.strip(" '.()") for part in sentence.split("…")]
    assert max(map(len, parts)) >= 7, "too little to be found again"
    sources = sources_text()
    for part in parts:
        assert part in sources, part


def sources_text() -> str:
    """All strings of the sources, joined as Python joins them, without what is filled in."""
    texts = []
    for path in (ROOT / "src").rglob("*.py"):
        code = re.sub(r'"\s*\n\s*f?"', "", path.read_text())
        texts += [re.sub(r"\{[^{}]*\}", "…", found) for found in _STRING.findall(code)]
    return "\n".join(texts)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", page.read_text())):
        place, _, _ = target.partition("#")
        if place and not re.match(r"\w+:", place):
            assert (page.parent / place).exists(), target


def test_the_site_holds_every_page() -> None:
    listed = re.findall(r"- ([\w./-]+\.md)", (ROOT / "mkdocs.yml").read_text())
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_the_nightly_job_is_a_workflow_and_its_pipeline_one_of_ours() -> None:
    from llmcourse.core.config import validate
    from llmcourse.core.documents import parse
    from llmcourse.run.config import Config
    from llmcourse.run.steps import works

    workflow, pipeline = blocks(DOCS / "recipes" / "nightly.md", "yaml")
    jobs = yaml.safe_load(workflow)["jobs"]
    assert all("run" in step or "uses" in step for step in jobs["models"]["steps"])
    (document,) = parse(pipeline, "pipeline.yaml")
    found = works(validate(Config, document), Path("/x"), Path("/x/nightly"), document.where)
    assert [work.name for work in found] == ["merge", "gguf"]


@pytest.mark.slow
def test_the_makefile_makes_its_targets_and_nothing_twice(llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    cli = as_user(llmcourse, demo_hub)
    (makefile,) = blocks(DOCS / "recipes" / "makefile.md", "make")
    (quantize,) = blocks(DOCS / "recipes" / "makefile.md", "yaml")
    (cli.folder / "Makefile").write_text(makefile)
    (cli.folder / "gguf.yaml").write_text(quantize)
    models = [{"model": name, "parameters": {"weight": 0.5}} for name in (CODE_ID, PROSE_ID)]
    (cli.folder / "merge.yaml").write_text(yaml.safe_dump({"models": models, "merge_method": "linear"}))
    bin_folder = cli.folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "llmcourse").write_text(f'#!/bin/sh\nexec {sys.executable} -m llmcourse "$@"\n')
    (bin_folder / "llmcourse").chmod(0o755)

    def make() -> str:
        env = {**cli.env, "PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(cli.folder)}
        done = subprocess.run(["make"], cwd=cli.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    make()
    assert (cli.folder / "family.svg").is_file() and len(list((cli.folder / "gguf").glob("*.gguf"))) == 2
    assert "llmcourse" not in make()


@pytest.mark.slow
def test_the_site_is_built_without_a_warning() -> None:
    zensical = Path(sys.executable).with_name("zensical")
    if not zensical.exists():
        pytest.skip("zensical is not installed: pip install 'llmcourse[docs]'")
    done = subprocess.run(
        [zensical, "build", "--strict", "--clean"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
