"""What the README and the manual show to type is typed here, on a Hub that holds the tiny models."""

import re
from pathlib import Path

import pytest

from llmcourse.core.progress import Progress
from llmcourse.testing.demo.hub import USER, demo_hub, write_texts
from llmcourse.testing.models import Family
from llmcourse.testing.smol import Smol
from tests.docs.pages import ROOT, script

examples = script("examples")
SHOWN = {page: list(examples.examples(page)) for page in examples.PAGES}


def test_the_readme_and_the_manual_show_commands() -> None:
    assert len(SHOWN["README.md"]) > 20
    assert sum(map(len, SHOWN.values())) > 40


def test_each_reason_not_to_run_a_command_is_that_of_one() -> None:
    commands = " ".join(each.command for page in SHOWN.values() for each in page)
    assert [part for part in (*examples.NOT_RUN, *examples.ENDS_WITH) if part not in commands] == []


def test_nothing_of_ours_is_left_out_but_what_waits() -> None:
    left_out = [each.command for page in SHOWN.values() for each in page if each.reason_not_to_run]
    ours = {word for command in left_out for word in re.findall(r"llmcourse ([a-z-]+)", command)}
    assert ours <= {"demo", "family-tree", "--install-completion"}  # the second is piped into another program


def test_an_output_is_replaced_and_cut_where_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "ROOT", tmp_path)
    text = "Text.\n\n```\n$ one \\\n      more\nold\n\n$ two\nold 1\n…\n```\n\nEnd.\n"
    (tmp_path / "page.md").write_text(text)
    first, second = examples.examples("page.md")
    assert (first.command, second.command) == ("one more", "two")
    outputs = {first.shown: "new\nand more\n", second.shown: "new 1\nnew 2\n"}
    assert examples.rewritten(text, outputs) == text.replace("old\n\n", "new\nand more\n\n").replace(
        "old 1", "new 1"
    )


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("page", [page for page, found in SHOWN.items() if found])
def test_every_command_of_a_page_ends_as_it_is_shown(page: str, tmp_path: Path, family: Family) -> None:
    write_texts(examples.prepared(tmp_path))
    smol = Smol(family.base, family.code, family.prose)
    with demo_hub(tmp_path / "hub", smol, Progress(lambda event: None)) as hub:
        environment = hub.env(user=USER, home=tmp_path / "hf-home")
        for example in SHOWN[page]:
            if not example.reason_not_to_run:
                ended = examples.ran(example, tmp_path, environment)
                assert ended.returncode in example.codes, (example.command, ended.stdout + ended.stderr)


def test_the_pages_are_all_that_name_commands() -> None:
    """Recipes and troubleshooting have tests of their own; the rest is built of what the program says."""
    elsewhere = {"recipes", "reference"}
    pages = [path for path in (ROOT / "docs").rglob("*.md") if path.parent.name not in elsewhere]
    fenced = [str(path.relative_to(ROOT)) for path in pages if "```bash" in path.read_text()]
    assert set(fenced) <= set(examples.PAGES)
