"""A large family on a slow Hub: the shape of the work, and its time with room for a busy machine.

`make bench` measures against the limit; here the machine may run other tests at the same time.
"""

import signal
import threading
import time

import pytest

from llmcourse.testing.families import ROOT, WIDTHS, seed_family
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.plugin import Cli, as_user
from tests.family_tree.conftest import Seed, Walker

_LATENCY_S = 0.1


@pytest.fixture(params=[False, True], ids=["cards", "recipes"])
def has_recipes(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_three_hundred_models_in_eight_levels(walk: Walker, has_recipes: bool) -> None:
    seed_family(walk.hub, with_recipes=has_recipes)
    walk.hub.settings.latency_s = _LATENCY_S
    walked = walk(ROOT)
    assert len(walked.graph.nodes) == sum(WIDTHS) == 300 and min(walked.graph.levels.values()) == -8
    paths = [record.path for record in walk.hub.requests]
    files = [path for path in paths if "/resolve/" in path]
    # One request a model; a recipe beside a card, which has the weights, costs one more of another budget.
    assert len(paths) - len(files) == 300
    assert len(files) == (len([n for n in walked.graph.nodes.values() if n.id.split("-")[0] != "family/m8"])
                          if has_recipes else 0)  # fmt: skip


def test_models_of_a_level_are_asked_for_together(walk: Walker, seed: Seed) -> None:
    parents = [seed(f"acme/p{number}", license="mit") for number in range(40)]
    seed("acme/m", license="mit", base_model=parents)
    walk.hub.settings.latency_s = 0.5
    walk("acme/m")
    records = [record for record in walk.hub.requests if "/acme/p" in record.path]
    assert len(records) == 40
    assert max(record.time for record in records) < min(record.time + record.duration_s for record in records)


def test_connections_are_made_once(walk: Walker, seed: Seed) -> None:
    """Levels of eight need hardly more than eight, and not one for each of thirty-three models."""
    widths = (1, 8, 8, 8, 8)
    seed_family(walk.hub, widths)
    before = threading.active_count()
    opened = before
    stop = threading.Event()

    def watch() -> None:
        nonlocal opened
        while not stop.is_set():
            opened = max(opened, threading.active_count())
            time.sleep(0.005)

    watching = threading.Thread(target=watch)
    watching.start()
    walk.hub.settings.latency_s = 0.05
    walk(ROOT)
    stop.set()
    watching.join()
    assert opened - before - 1 <= 16  # the Hub serves each connection in a thread of its own


def test_who_interrupts_does_not_wait_for_answers(hub: LoopbackHub, seed: Seed, llmcourse: Cli) -> None:
    seed("acme/m", license="mit")
    hub.settings.latency_s = 6
    cli = as_user(llmcourse, hub)
    process = cli.start("family-tree", "acme/m", env={"LLMCOURSE_CACHE": str(cli.folder / "cache")})
    while not hub.requests:
        time.sleep(0.05)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in stderr
    assert time.monotonic() - begin < 4
