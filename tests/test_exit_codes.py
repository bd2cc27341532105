"""What is typed wrongly ends with 2, whatever finds it; what is not there with 4."""

import pytest

from llmcourse.testing.plugin import Cli


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["merge", "m.yaml"], 2),
        (["family-tree", "bad id!!"], 2),
        (["family-tree", "a/b", "--depth", "-1"], 2),
        (["family-tree", "a/b", "--format", "gif"], 2),
        (["family-tree", "./gone"], 4),
        (["family-tree", "a/b", "-o", "m.yaml/x.svg"], 4),
        (["init", "merge", "bogus"], 2),
        (["init", "merge", "-o", "m.yaml"], 4),
        (["schema", "bogus"], 2),
        (["doctor", "bogus"], 2),
        (["doctor", "merge", "too-many"], 2),
        (["autoeval", "leaderboard", "./gone"], 2),
    ],
)
def test_the_exit_code_says_what_kind_of_fault_it_is(llmcourse: Cli, words: list[str], code: int) -> None:
    (llmcourse.folder / "m.yaml").write_text(
        "merge_method: linear\ndtype: float32\nmodels: [{model: bad id!!, parameters: {weight: 1}}]\n"
    )
    said = llmcourse(*words)
    assert said.exit_code == code, said.stderr
    assert "error: " in said.stderr and "fix: " in said.stderr and "bug" not in said.stderr
