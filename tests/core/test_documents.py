"""YAML with places, and the YAML that is refused."""

from pathlib import Path

import pytest

from llmcourse.core.documents import parse, read_documents
from llmcourse.core.errors import ConfigError


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, "m.yaml")
    return caught.value


def test_every_value_has_the_place_where_it_was_written() -> None:
    [document] = parse("a: 1\nb:\n  - c: 2\n", "m.yaml")
    assert document.data == {"a": 1, "b": [{"c": 2}]}
    assert document.marks == {
        (): "m.yaml:1:1",
        ("a",): "m.yaml:1:1",
        ("b",): "m.yaml:2:1",
        ("b", 0): "m.yaml:3:5",
        ("b", 0, "c"): "m.yaml:3:5",
    }


def test_the_place_of_an_absent_value_is_that_of_the_nearest_around_it() -> None:
    [document] = parse("a:\n  - b: 2\n", "m.yaml")
    assert document.where(("a", 0, "absent", "deeper")) == "m.yaml:2:5"
    assert document.where(("other",)) == "m.yaml:1:1"


def test_places_move_with_a_document_that_becomes_part_of_another() -> None:
    [document] = parse("a: 1\n", "m.yaml")
    assert document.under("merge", 0)[("merge", 0, "a")] == "m.yaml:1:1"


def test_every_document_of_a_file_is_read_and_empty_ones_are_passed_over() -> None:
    documents = parse("---\na: 1\n---\n---\nb: 2\n", "m.yaml")
    assert [document.data for document in documents] == [{"a": 1}, {"b": 2}]
    assert documents[1].where(("b",)) == "m.yaml:5:1"


def test_aliases_and_merge_keys_mean_what_yaml_says() -> None:
    [document] = parse("base: &b {x: 1, y: 1}\none:\n  <<: *b\n  y: 2\n", "m.yaml")
    assert document.data["one"] == {"x": 1, "y": 2}
    assert document.where(("one", "x")) == "m.yaml:1:11"


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("a: 1\nb: 2\na: 3\n", "The key 'a' is written twice.", "m.yaml:3:1"),
        ("o:\n  - a: 1\n    a: 2\n", "The key 'a' is written twice.", "m.yaml:3:5"),
        ("? [a, b]\n: 1\n", "A key is not a plain word.", "m.yaml:1:3"),
        ("a: b: c\n", "Not valid YAML: mapping values are not allowed here.", "m.yaml:1:5"),
        ("a: [1, 2\n", "Not valid YAML: expected ',' or ']', but got '<stream end>'.", "m.yaml:2:1"),
        ("a: *nobody\n", "Not valid YAML: found undefined alias 'nobody'.", "m.yaml:1:4"),
        ("a: &x [*x]\n", "m.yaml nests without end.", "m.yaml"),
        ("", "m.yaml is empty.", "m.yaml"),
        ("# only a comment\n", "m.yaml is empty.", "m.yaml"),
        ("when: 2024-13-45\n", "m.yaml is not YAML: month must be in 1..12.", "m.yaml"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, what: str, where: str) -> None:
    error = refusal(text)
    assert (error.what, error.where) == (what, where)
    assert error.fix


def test_python_objects_are_never_made_from_yaml() -> None:
    error = refusal("a: !!python/object/apply:os.system ['true']\n")
    assert "python/object/apply" in error.what
    assert error.where == "m.yaml:1:4"


def test_an_alias_bomb_is_refused_before_it_expands() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert refusal("\n".join(lines)).what == "m.yaml expands to more than 200,000 values."


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "slerp.yaml").write_text("a: 1")
    with pytest.raises(ConfigError) as caught:
        read_documents(str(tmp_path / "slrep.yaml"))
    assert caught.value.what == f"There is no file {str(tmp_path / 'slrep.yaml')!r}."
    assert caught.value.fix == f"Did you mean {tmp_path / 'slerp.yaml'}?"


def test_a_missing_file_in_a_missing_folder_has_no_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_documents(str(tmp_path / "gone" / "m.yaml"))
    assert caught.value.fix == "Check the path."


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_documents(str(tmp_path))
    assert caught.value.what == f"The config {str(tmp_path)!r} cannot be read: Is a directory."


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes("name: café".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        read_documents(str(path))
    assert caught.value.what == f"{path} is not UTF-8 text."


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes("a: 1\n".encode("utf-8-sig"))
    assert read_documents(str(path))[0].data == {"a": 1}
