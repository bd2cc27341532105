"""What the plan makes of RunPod's offers: pure, so with offers and models made by hand."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.runpod.client import Offer
from llmcourse.autoeval.runpod.offers import PRESENT, Offers, look_up, read_offers, runpod_checks
from llmcourse.core.machine import Machine, this_machine
from llmcourse.core.model import ModelFacts, ModelRef
from llmcourse.core.plan import Check, Facts

CHEAP = Offer("NVIDIA GeForce RTX 4090", 24, 0.34, 0.69, True)
LARGE = Offer("NVIDIA H100 80GB HBM3", 80, 2.69, 2.99, True)
MACHINE: Machine = this_machine()


def config(**wish: Any) -> Config:
    return Config.model_validate({"model": "me/model", "suite": "nous", "engine": "runpod", "runpod": wish})


def facts(gigabytes: float, is_local: bool = False) -> Facts:
    size = int(gigabytes * 1000**3)
    ref = ModelRef("me/model", is_local=is_local)
    files = {"model.safetensors": size}
    model = ModelFacts(ref, "a" * 40, {}, {}, ("model.safetensors",), files)
    return Facts(MACHINE, {"me/model": model})


def checks(wish: Config, known: Facts, *offers: Offer, tasks: int = 34, **more: Any) -> list[Check]:
    return list(runpod_checks(wish, known, Offers(offers, **more), tasks))


def failures(found: list[Check]) -> list[tuple[str, int]]:
    return [(check.name, check.exit_code) for check in found if check.status == "fail"]


def test_hours_and_dollars_are_told_and_what_it_comes_to_at_most() -> None:
    (card, cost) = checks(config(max_hours=6), facts(14), CHEAP)
    assert (card.status, cost.status) == ("ok", "ok")
    assert "0.35 $/h" in card.what
    assert cost.what == "about 2.6 h on 1 × 1 NVIDIA GeForce RTX 4090, 0.91 $; never more than 2.11 $"


def test_a_plan_over_the_cap_is_refused() -> None:
    found = checks(config(max_cost_usd=0.5), facts(14), CHEAP)
    assert failures(found) == [("runpod.max_cost_usd", 4)]
    assert "over the cap of 0.5 $" in found[-1].what


def test_the_hours_are_cut_to_the_cap_and_that_is_told() -> None:
    found = checks(config(max_cost_usd=1, max_hours=6), facts(14), CHEAP)
    assert failures(found) == []
    assert "never more than 1.00 $" in found[1].what
    assert found[2].status == "warn"


@pytest.mark.parametrize(
    ("wish", "gigabytes", "offers", "name"),
    [
        ({}, 40, (CHEAP,), "runpod.gpu"),  # it does not fit
        ({"gpus": 2}, 30, (CHEAP,), None),
        ({}, 14, (replace(CHEAP, is_free=False),), "runpod.gpu"),
        ({"cloud": "secure"}, 14, (replace(CHEAP, secure_usd=None),), "runpod.gpu"),
    ],
)
def test_cards_that_will_not_do_are_refused(
    wish: dict[str, Any], gigabytes: float, offers: tuple[Offer, ...], name: str | None
) -> None:
    found = failures(checks(config(**wish), facts(gigabytes), *offers))
    assert found == ([(name, 4)] if name else [])


def test_a_card_that_holds_the_model_is_taken_though_a_smaller_one_is_cheaper() -> None:
    found = checks(config(max_cost_usd=50), facts(40), CHEAP, LARGE, tasks=1)
    assert "H100" in found[0].what and "4090" not in found[0].what


def test_an_unknown_card_is_told_with_what_is_like_it() -> None:
    found = checks(config(), facts(14), CHEAP, unknown={"RTX 4090": CHEAP.gpu})
    assert found[0].fix == "Did you mean NVIDIA GeForce RTX 4090?"


def test_a_model_of_this_machine_is_refused() -> None:
    assert failures(checks(config(), facts(14, is_local=True), CHEAP)) == [("model", 4)]


def test_no_key_is_refused_in_both_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    known = replace(facts(14), present=look_up(config()))
    (check,) = runpod_checks(config(), known, read_offers(known), 1)
    assert (check.status, check.exit_code) == ("fail", 4)
    assert "RUNPOD_API_KEY" in check.what and check.fix


def test_other_engines_ask_nothing() -> None:
    assert look_up(Config.model_validate({"model": "me/model", "suite": "nous"})) == {}


def test_offers_survive_the_way_through_the_facts() -> None:
    offers = Offers((CHEAP, LARGE), {"x": "y"})
    known = replace(facts(1), present={PRESENT: json.dumps(asdict(offers))})
    assert read_offers(known) == offers


def test_importing_the_checks_loads_no_client(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, llmcourse.autoeval.runpod.offers; print({'requests', 'runpod'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
