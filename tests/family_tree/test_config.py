"""What may be typed and written, what each of it amounts to, and what is refused with which sentences."""

from pathlib import Path
from typing import Any, get_args

import pytest

from llmcourse.core.errors import ConfigError, LlmcourseError, Problems
from llmcourse.family_tree.config import CardTarget, Config, Format, reference
from llmcourse.family_tree.formats import FORMATS
from llmcourse.family_tree.places import Place, places
from llmcourse.family_tree.request import Request, piped_references, read

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def typed(*words: str, **options: Any) -> Config:
    flags = {
        key: options.pop(key) for key in ("push", "no_push", "pull_request", "is_offline") if key in options
    }
    return read(Request(words, options, **flags))


def refused(*words: str, **options: Any) -> LlmcourseError:
    with pytest.raises((ConfigError, Problems)) as caught:
        typed(*words, **options)
    return caught.value


def test_a_model_alone_is_enough() -> None:
    config = typed("org/name")
    assert config == Config(model=["org/name"])
    assert (config.direction, config.depth, config.limit, config.colour_by) == ("up", None, 50, "licence")
    assert config.hub is None


def test_models_keep_their_order_and_are_asked_for_once() -> None:
    assert typed("b/b", "a/a", "b/b").model == ["b/b", "a/a"]


def test_a_yaml_file_says_the_same_and_is_overridden_by_words_and_those_by_options(tmp_path: Path) -> None:
    Path("family.yaml").write_text(
        "model: [a/a, b/b]\ndirection: both\ndepth: 3\nformats: [html, svg]\noutput: out\nhub: {repo: a/a}\n"
    )
    config = typed("family.yaml", "depth=2", "limit=7", direction="down")
    assert config.model == ["a/a", "b/b"]
    assert (config.direction, config.depth, config.limit) == ("down", 2, 7)
    assert config.formats == ["html", "svg"] and config.output == "out"
    assert config.hub == CardTarget(repo="a/a")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("hub: true", CardTarget()),
        ("hub: false", None),
        ("hub: {}", CardTarget()),
        ("hub: {pull_request: true}", CardTarget(pull_request=True)),
        ("formats: html", None),
    ],
)
def test_short_forms(written: str, expected: CardTarget | None) -> None:
    Path("f.yaml").write_text(f"model: a/a\n{written}\n")
    assert typed("f.yaml").hub == expected


def test_options_win_over_the_hub_of_the_file() -> None:
    Path("f.yaml").write_text("model: a/a\nhub: {repo: me/other, revision: next}\n")
    assert typed("f.yaml", no_push=True).hub is None
    assert typed("f.yaml", push=True).hub == CardTarget(repo="me/other", revision="next")
    proposed = typed("f.yaml", pull_request=True).hub
    assert proposed == CardTarget(repo="me/other", revision="next", pull_request=True)
    assert typed("a/a", pull_request=True).hub == CardTarget(pull_request=True)


@pytest.mark.parametrize(
    ("words", "options", "what", "where"),
    [
        (("a/a",), {"direction": "sideways"}, "direction cannot be 'sideways'.", "--direction"),
        (("a/a",), {"depth": -1}, "depth is -1.", "--depth"),
        (("a/a",), {"formats": ["pdf"]}, "formats.0 cannot be 'pdf'.", "--format"),
        (("a/a",), {"formats": ["svg", "svg"]}, "formats names svg twice.", None),
        (("a/a",), {"colour_by": "age"}, "colour_by cannot be 'age'.", "--colour-by"),
        (("a/a",), {"output": ""}, "-o needs a value.", None),
        (("a/a",), {"push": True, "no_push": True}, "--push and --no-push exclude each other.", None),
        (("a/a",), {"pull_request": True, "no_push": True}, "--pull-request and --no-push exclude", None),
        (("a/a",), {"push": True, "is_offline": True}, "A card cannot be changed with ", "--offline"),
        (("a/a", "b/b"), {"push": True}, "The tree of 2 models cannot tell whose card it goes into.", None),
        (("a/a", "depth=2"), {}, "'depth=2' overrides a YAML file, and there is none.", "depth=2"),
        (("a/a", "f.yaml"), {}, "'f.yaml' is a YAML file after a model.", "f.yaml"),
        (("hf://datasets/a/b@main",), {}, "hf://datasets/a/b@main is no model.", "hf://datasets/a/b@main"),
        ((" ",), {}, "A model's name is empty.", None),
        (("gone.yaml",), {}, "There is no file 'gone.yaml'.", "gone.yaml"),
        (("f.yaml", "b/b"), {}, "'b/b' is not an override.", "b/b"),
        (("f.yaml", "dept=2"), {}, "'dept' is not a known key.", "override dept=2"),
        (("f.yaml", "model=[]"), {}, "model is empty.", "override model=[]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(
    words: tuple[str, ...], options: dict[str, Any], what: str, where: str | None
) -> None:
    Path("f.yaml").write_text("model: a/a\n")
    error = refused(*words, **options)
    assert error.what.startswith(what) and error.exit_code == 2
    assert where is None or error.where == where
    assert error.fix.endswith((".", "?"))


def test_a_misplaced_override_is_told_as_the_option_it_would_be() -> None:
    assert refused("a/a", "colour_by=relation").fix.endswith("as --colour-by relation.")
    assert "Name the file first." in refused("a/a", "x=1").fix


def test_references_of_a_pipe_come_one_a_line_or_as_a_document() -> None:
    assert piped_references(f"hf://me/merged@{COMMIT}\n\nout/merged\n") == [
        f"hf://me/merged@{COMMIT}",
        "out/merged",
    ]
    assert piped_references('{"command": "merge", "reference": "out/merged"}') == ["out/merged"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "No model came through the pipe."),
        ("\n \n", "No model came through the pipe."),
        ('{"error": {"exit_code": 4}}', "No model came through the pipe."),
        ("{broken", "No model came through the pipe."),
    ],
)
def test_a_pipe_that_brings_no_model_is_refused(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        piped_references(text)
    assert caught.value.what == what


def test_a_page_s_address_is_the_model_of_that_page() -> None:
    config = typed("https://huggingface.co/org/name/tree/main", output="out/", formats=["dot"])
    assert [str(reference(name)) for name in config.model] == ["org/name"]
    assert places(config.formats, config.output, config.model) == [Place("dot", Path("out/name.dot"))]


def test_a_dash_as_output_is_stdout() -> None:
    assert typed("a/a", output="-").output is None


def test_without_an_output_there_is_one_format_and_stdout() -> None:
    assert places([], None, ["a/a"]) == [Place("tree")]
    assert places(["dot"], None, ["a/a"]) == [Place("dot")]
    with pytest.raises(ConfigError, match="2 formats do not fit on stdout"):
        places(["dot", "svg"], None, ["a/a"])


@pytest.mark.parametrize(("format", "ending"), [*FORMATS.items(), ("dot", ".gv"), ("html", ".HTM")])
def test_the_ending_chooses_the_format(format: str, ending: str) -> None:
    assert places([], f"out/x{ending}", ["a/a"]) == [Place(format, Path(f"out/x{ending}"))]
    assert format in get_args(Format)


def test_a_folder_gets_a_file_for_each_format() -> None:
    both = places(["html", "svg"], "out.d", ["org/My model"])
    assert [str(place.path) for place in both] == ["out.d/My-model.html", "out.d/My-model.svg"]
    Path("there.v1").mkdir()
    assert places(["png"], "there.v1", ["org/name@4.0bpw"]) == [Place("png", Path("there.v1/name.png"))]
    assert places([], "new", ["a/a", "b/b"]) == [Place("tree", Path("new/a-and-1-more.txt"))]
    assert places(["dot"], "x.svg/", ["./my/folder/"])[0].path == Path("x.svg/folder.dot")


@pytest.mark.parametrize(
    ("formats", "output", "what", "fix"),
    [
        ([], "tree.pdf", "The ending of 'tree.pdf' is not that of a format.", "Use one of .txt, "),
        (["html"], "tree.svg", "tree.svg ends as svg does, and the format is to be html.", "Name it tree"),
        (["mermaid"], "README.md", "README.md is a text that would be lost.", "Give another name"),
        (["html", "svg"], "README.md", "README.md is a file, and no folder.", "Give a folder with -o."),
    ],
)  # fmt: skip
def test_an_output_that_cannot_be_meant_is_refused(
    formats: list[Any], output: str, what: str, fix: str
) -> None:
    Path("README.md").write_text("mine")
    with pytest.raises(ConfigError) as caught:
        places(formats, output, ["a/a"])
    assert caught.value.what == what and caught.value.fix.startswith(fix)


def test_a_format_may_have_an_ending_that_is_no_format_s() -> None:
    assert places(["mermaid"], "tree.md", ["a/a"]) == [Place("mermaid", Path("tree.md"))]
