"""A result of which some pieces are published to places of their own."""

from dataclasses import replace

from llmcourse.core.artifact import Artifact, HubLocation, OutputFile

PLACE = HubLocation("me/x", "4.0bpw", "c" * 40, "https://hub/me/x/tree/4.0bpw")
MAIN = HubLocation("me/x", "main", "d" * 40, "https://hub/me/x")
FILES = (
    OutputFile("measurement.json", 1, "a" * 64, piece="measurement"),
    OutputFile("4.0bpw/b.safetensors", 2, "b" * 64, piece="4.0bpw", files_in_piece=2),
    OutputFile("4.0bpw/a.json", 3, "c" * 64, piece="4.0bpw", files_in_piece=2),
    OutputFile("4.0bpw/README.md", 4, "d" * 64),
    OutputFile("README.md", 5, "e" * 64),
)
ARTIFACT = Artifact("quantize-exl2", "out", "f" * 64, FILES, {}, {}, {"run": 1.0}, written={"README.md": "e"})


def test_a_part_is_what_the_root_of_its_place_holds() -> None:
    part = replace(ARTIFACT, hub=MAIN, places={"4.0bpw": PLACE}).part("4.0bpw")
    assert [file.path for file in part.files] == ["README.md", "a.json", "b.safetensors"]
    assert part.pieces == frozenset() and part.hub is None and not part.places and not part.timings_s
    assert part == replace(ARTIFACT, files=FILES[::-1]).part("4.0bpw")


def test_places_survive_the_manifest() -> None:
    published = replace(ARTIFACT, hub=MAIN, places={"4.0bpw": PLACE})
    assert Artifact.from_json(published.as_json()) == published
    assert Artifact.from_json({name: value for name, value in ARTIFACT.as_json().items() if name != "places"})


def test_one_place_is_the_reference_and_several_are_not() -> None:
    one = replace(ARTIFACT, hub=MAIN, places={"4.0bpw": PLACE})
    assert one.reference == f"hf://me/x@{PLACE.commit}"
    two = replace(one, places={"4.0bpw": PLACE, "5.0bpw": PLACE})
    assert two.reference == f"hf://me/x@{MAIN.commit}"
    assert ARTIFACT.reference == "out"
