"""The short form of `make torture`: all kinds of faults on the quickest jobs, fuzzed configs."""

import random
from collections.abc import Iterator

import pytest
from torture import disks, fuzz, hostile, hub_faults, kills, surroundings
from torture.__main__ import ABOUT, FAULTS
from torture.ground import Ground, ground
from torture.jobs import JOBS
from torture.running import Ended
from torture.tally import Tally, page


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("torture")) as made:
        yield made


def good(tally: Tally) -> bool:
    if tally.skipped:
        pytest.skip(tally.skipped)
    assert tally.tries > 0
    assert tally.is_good, "\n".join(tally.wrong)
    return True


@pytest.mark.parametrize("command", JOBS)
def test_fuzzed_configs_are_planned_or_refused_in_words(command: str, here: Ground) -> None:
    assert good(fuzz.fuzz(here, JOBS[command], random.Random(5), 15))


@pytest.mark.parametrize(
    ("act", "command", "tries"),
    [
        (kills.kill, "family-tree", 2),
        (kills.interrupt, "quantize-exl2", 1),
        (hub_faults.break_hub, "family-tree", 2),
        (disks.fill, "family-tree", 1),
        (surroundings.together, "quantize-exl2", 1),
        (surroundings.clock, "family-tree", 2),
        (surroundings.names, "family-tree", 2),
        (hostile.hostile, "family-tree", 2),
    ],
)  # fmt: skip
def test_a_fault_ends_as_meant(act: object, command: str, tries: int, here: Ground) -> None:
    assert callable(act)
    assert good(act(here, JOBS[command], random.Random(3), tries))


@pytest.mark.slow
@pytest.mark.parametrize("command", JOBS)
@pytest.mark.parametrize("fault", [name for name in FAULTS if name != fuzz.FUZZ])
def test_every_fault_on_every_command(fault: str, command: str, here: Ground) -> None:
    act, _, few = FAULTS[fault]
    assert good(act(here, JOBS[command], random.Random(4), few))


def test_every_kind_of_fault_is_explained() -> None:
    assert set(ABOUT) == set(FAULTS)


def test_a_traceback_a_wrong_code_and_a_missing_sentence_are_counted() -> None:
    tally = Tally("merge", kills.KILL)
    told = "error: It is full.\nfix: Make room.\n"
    assert tally.see(Ended(4, "", told), [4]) and tally.is_good
    assert not tally.see(Ended(5, "", told), [4])
    assert not tally.see(Ended(4, "", "error: It is full.\n"), [4])
    tally.see(Ended(0, "", "Traceback (most recent call last):\n"), [0])
    assert (tally.tries, tally.tracebacks, len(tally.wrong)) == (4, 1, 3) and not tally.is_good


def test_a_result_that_differs_or_is_missing_is_counted() -> None:
    tally = Tally("merge", kills.KILL)
    tally.compare({"a": "1"}, {"a": "1"})
    tally.compare({"a": "2"}, {"a": "1"})
    tally.compare({}, {})
    assert (tally.compared, tally.equal) == (3, 1) and not tally.is_good
    assert "|merge|0|2|0|0|1 of 3|0|–|" in page([tally], ABOUT, JOBS, "a machine")
