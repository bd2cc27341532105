"""What RunPod offers, asked while the command plans, and what the plan makes of it. The checks are pure."""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from llmcourse.core.console import human_bytes
from llmcourse.core.errors import LlmcourseError, PlanError
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, Facts, fail, failure, ok, warn

if TYPE_CHECKING:
    from llmcourse.autoeval.config import Config
    from llmcourse.autoeval.runpod.client import Offer

PRESENT = "runpod"  # the key of Facts.present
# Of running pods, for each GB of container disk; RunPod's price list of November 2026.
DISK_USD_PER_GB_HOUR = 0.10 / 730
# Rough figures, not measured: a pod's start with the installation, and a task for each GB of weights.
START_HOURS, HOURS_PER_TASK_AND_GB = 0.2, 0.005
# Weights, activations and lm-eval's logits, beside what CUDA takes.
_MEMORY_FACTOR, _MEMORY_EXTRA = 1.2, 2 * 1000**3


@dataclass(frozen=True)
class Offers:
    """Cards of the config that exist, types that do not (and what is like them), or why nothing is known."""

    offers: tuple["Offer", ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    error: tuple[str, str, int] | None = None  # what, fix, exit code


def look_up(config: "Config") -> dict[str, str]:
    """For Facts.present: RunPod's offers as JSON; nothing for other engines, which do not need the SDK."""
    if config.engine != "runpod":
        return {}
    return {PRESENT: json.dumps(asdict(_asked(config)))}


def _asked(config: "Config") -> Offers:
    from llmcourse.autoeval.runpod.client import RunpodClient, RunpodError, WrongKey, key_from_environment

    key = key_from_environment()
    if key is None:
        what = "There is no key for RunPod in RUNPOD_API_KEY."
        return Offers(
            error=(what, "Make one in RunPod's settings and set RUNPOD_API_KEY.", PlanError.exit_code)
        )
    try:
        client = RunpodClient(key, patience_s=10)
        client.pods()  # proves that the key may see pods; prices are public
        found = {gpu: client.offer(gpu, config.runpod.gpus) for gpu in config.runpod.gpu}
        every = client.gpus() if None in found.values() else []
    except WrongKey:
        what = "RunPod does not accept the key in RUNPOD_API_KEY."
        return Offers(error=(what, "Make a new one in RunPod's settings.", PlanError.exit_code))
    except RunpodError as error:
        return Offers(error=(f"RunPod cannot be asked: {error}", "Run it again later.", PlanError.exit_code))
    except ImportError:
        what = "The extra for RunPod is not installed."
        return Offers(error=(what, "Run: pip install 'llmcourse[runpod]'.", 3))
    near = {gpu: ", ".join(difflib.get_close_matches(gpu, every, 2, 0.3)) for gpu in found if not found[gpu]}
    return Offers(tuple(offer for offer in found.values() if offer), near)


def read_offers(facts: Facts) -> Offers:
    """What `look_up` found."""
    from llmcourse.autoeval.runpod.client import Offer

    data = json.loads(facts.present.get(PRESENT) or "{}")
    error = data.get("error")
    offers = tuple(Offer(**item) for item in data.get("offers", ()))
    return Offers(offers, data.get("unknown", {}), (error[0], error[1], error[2]) if error else None)


def usd_per_hour(config: "Config", offer: "Offer") -> float | None:
    """Of one pod, its disk included; None where the chosen cloud has no such card."""
    price = offer.usd_per_hour(config.runpod.cloud)
    if price is None:
        return None
    return price * config.runpod.gpus + config.runpod.container_disk_gb * DISK_USD_PER_GB_HOUR


def ranked(config: "Config", offers: Offers, needed_bytes: int) -> list[tuple["Offer", float]]:
    """Cards that hold the model, cheapest first and those that are free now before the others."""
    priced = [(offer, price) for offer in offers.offers if (price := usd_per_hour(config, offer)) is not None]
    fitting = [item for item in priced if item[0].memory_gb * 1000**3 * config.runpod.gpus >= needed_bytes]
    return sorted(fitting, key=lambda item: (not item[0].is_free, item[1]))


def labels(config: "Config", facts: Facts) -> dict[str, list[str]]:
    """For the plan's labels: cards that hold the models, and the models that are not downloaded here."""
    if config.engine != "runpod":
        return {}
    cards = ranked(config, read_offers(facts), needed_bytes(facts))
    return {"gpu": [offer.gpu for offer, _ in cards], "without_weights": list(config.model)}


def needed_bytes(facts: Facts) -> int:
    """GPU memory of the largest model."""
    models = [model for model in facts.models.values() if isinstance(model, ModelFacts)]
    largest = max(
        (sum(model.files.get(name, 0) for name in model.weight_files) for model in models), default=0
    )
    return int(largest * _MEMORY_FACTOR) + _MEMORY_EXTRA


def estimated_hours(config: "Config", facts: Facts, tasks: int) -> float:
    """Of each pod: a rough figure; `tasks` counts those of one model."""
    models = [model for model in facts.models.values() if isinstance(model, ModelFacts)]
    gigabytes = (
        sum(sum(model.files.get(name, 0) for name in model.weight_files) for model in models) / 1000**3
    )
    return START_HOURS + gigabytes * tasks * HOURS_PER_TASK_AND_GB / config.runpod.pods


def runpod_checks(config: "Config", facts: Facts, offers: Offers, tasks: int) -> Iterator[Check]:
    """Key, cards, memory, places of the models, hours and dollars; a plan that may cost more is refused."""
    if offers.error:
        what, fix, code = offers.error
        yield fail(PRESENT, what, fix, code)
        return
    yield from _model_checks(facts)
    for gpu, near in offers.unknown.items():
        meant = f"Did you mean {near}?" if near else "See RunPod's list of GPU types."
        yield fail("runpod.gpu", f"RunPod has no GPU of the type {gpu!r}.", meant)
    memory = needed_bytes(facts)
    cards = ranked(config, offers, memory)
    if not offers.offers:
        return
    if not cards:
        yield fail("runpod.gpu", *_no_card(config, offers, memory))
        return
    yield _availability(cards)
    yield from _cost_checks(config, cards[0], estimated_hours(config, facts, tasks))


def _model_checks(facts: Facts) -> Iterator[Check]:
    for name, model in facts.models.items():
        if isinstance(model, ModelFacts) and model.ref.is_local:
            yield fail(
                "model",
                f"{name} is on this machine, where a pod cannot read it.",
                "Push it to the Hub (it may be private) and name it there, or use engine: local.",
            )
        elif isinstance(model, LlmcourseError):
            yield failure(model)


def _no_card(config: "Config", offers: Offers, memory: int) -> tuple[str, str]:
    if not any(usd_per_hour(config, offer) for offer in offers.offers):
        return (
            f"The {config.runpod.cloud} cloud has none of these cards.",
            "Set runpod.cloud: all, or more cards.",
        )
    largest = max(offer.memory_gb for offer in offers.offers) * config.runpod.gpus
    return (
        f"The model needs about {human_bytes(memory)} of GPU memory; the largest card has {largest} GB.",
        "Name a larger card in runpod.gpu, or raise runpod.gpus.",
    )


def _availability(cards: list[tuple["Offer", float]]) -> Check:
    free = [f"{offer.gpu} ({price:.2f} $/h)" for offer, price in cards if offer.is_free]
    if not free:
        return fail(
            "runpod.gpu",
            "None of the cards named is free at RunPod now.",
            "Name more cards in runpod.gpu, set runpod.cloud: all, or try again later.",
        )
    return ok("runpod.gpu", ", ".join(free))


def _cost_checks(config: "Config", card: tuple["Offer", float], hours: float) -> Iterator[Check]:
    wish, (offer, price) = config.runpod, card
    dollars = hours * price * wish.pods
    affordable = wish.max_cost_usd / (price * wish.pods)
    what = f"about {hours:.1f} h on {wish.pods} × {wish.gpus} {offer.gpu}, {dollars:.2f} $"
    if dollars > wish.max_cost_usd:
        yield fail(
            "runpod.max_cost_usd",
            f"It would take {what}, which is over the cap of {wish.max_cost_usd:g} $.",
            "Raise runpod.max_cost_usd, name a cheaper card, or evaluate fewer tasks.",
        )
        return
    limit = min(wish.max_hours, affordable)
    yield ok("cost", f"{what}; never more than {limit * price * wish.pods:.2f} $")
    if hours > wish.max_hours:
        yield warn(
            "runpod.max_hours",
            f"It would take {what}, and pods end after {wish.max_hours:g} h.",
            "Raise runpod.max_hours; what is not finished then is missing.",
        )
    elif affordable < wish.max_hours:
        yield warn(
            "runpod.max_hours", f"For the cap of {wish.max_cost_usd:g} $ pods end after {limit:.2f} h."
        )
