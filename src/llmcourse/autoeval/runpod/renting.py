"""Rent one pod: cards in order of price, and a request without an answer is never simply repeated."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmcourse.autoeval.runpod.budget import Budget, Lease
from llmcourse.autoeval.runpod.client import (
    NoCapacity,
    Offer,
    PodSpec,
    RunpodClient,
    RunpodError,
    Unreachable,
)
from llmcourse.core.errors import LibraryError

# How long a pod may appear after its request: the SDK waits 30 s for the answer, RunPod may be slower still.
ANSWER_S, LATE_S = 30.0, 45.0


@dataclass(frozen=True)
class Rented:
    """A pod that exists: its id, what it costs, and the card it has."""

    id: str
    name: str
    lease: Lease
    card: str
    original: dict[str, Any] | None = None


@dataclass
class Renter:
    """`spec_of(name, card, hours, began)` makes the request; `expects` hears until when a pod may appear of
    which nothing was heard.  `looks` are the seconds between looks for a pod whose request had no answer.
    """

    client: RunpodClient
    budget: Budget
    spec_of: Callable[[str, str, float, float], PodSpec]
    expects: Callable[[float], None]
    looks: Sequence[float] = (1, 2, 4, 8, 15)
    least_hours: float = 1 / 60
    late_s: float = LATE_S
    _unsure_until: float = 0.0

    def rent(self, name: str, cards: Sequence[tuple[Offer, float]], shares: int) -> Rented:
        """The cheapest pod that can be had now; `shares` pods are still to be rented from what is left.

        Raises:
            LibraryError: no card is free, the cap leaves no time, or RunPod does not answer.
        """
        refusals = []
        for offer, usd_per_hour in cards:
            for attempt in range(2):
                hours = self.budget.hours(usd_per_hour, shares)
                if hours < self.least_hours:
                    refusals.append(f"{offer.gpu}: the cap leaves no time")
                    break
                found, why = self._try(f"{name}-{attempt}" if attempt else name, offer, usd_per_hour, hours)
                if found:
                    return found
                refusals.append(f"{offer.gpu}: {why}")
                if why != _SILENCE:
                    break
        raise LibraryError(
            f"No pod could be rented ({'; '.join(dict.fromkeys(refusals))}).",
            "Name more cards in runpod.gpu, raise runpod.max_cost_usd, or try again later.",
        )

    def take(self, pod_id: str, name: str) -> Rented:
        """A pod that is there already starts our work; what it started before is kept, to be set back.

        Raises:
            LibraryError: it does not run, or the cap leaves no time.
        """
        before = self.client.order(pod_id)
        hours = (
            self.budget.hours(before.pod.usd_per_hour) if before.pod.usd_per_hour else self.budget.max_hours
        )
        if before.pod.status != "RUNNING" or hours < self.least_hours:
            why = "the cap leaves no time" if before.pod.status == "RUNNING" else f"it is {before.pod.status}"
            raise LibraryError(
                f"Pod {pod_id} cannot be used: {why}.",
                "Start it, or raise runpod.max_cost_usd; or leave pod out.",
            )
        began = time.time()
        spec = self.spec_of(name, before.pod.gpu, hours, began)
        self.client.restart(pod_id, spec.command, spec.env)
        lease = self.budget.lease(before.pod.usd_per_hour, hours, began)
        return Rented(
            pod_id, name, lease, before.pod.gpu, {"command": before.command, "env": dict(before.env)}
        )

    def _try(self, name: str, offer: Offer, usd_per_hour: float, hours: float) -> tuple[Rented | None, str]:
        began = time.time()
        spec = self.spec_of(name, offer.gpu, hours, began)
        self.expects(time.time() + ANSWER_S + self.late_s)
        try:
            pod = self.client.create(spec)
        except Unreachable:
            return self._look_for(name, offer, usd_per_hour, hours, began)
        except RunpodError as error:
            self.expects(self._unsure_until)
            if isinstance(error, NoCapacity):
                return None, "none is free"
            raise
        lease = self.budget.lease(usd_per_hour, hours, began)
        self.expects(self._unsure_until)
        return Rented(pod, name, lease, offer.gpu), ""

    def _look_for(
        self, name: str, offer: Offer, usd_per_hour: float, hours: float, began: float
    ) -> tuple[Rented | None, str]:
        """A request without an answer: the pod of that name may be there, and costs from then on.

        Where it is not found, its money stays set aside and the watchdog goes on looking for it at the end.
        """
        lease = self.budget.lease(usd_per_hour, hours, began)
        for pause in self.looks:
            time.sleep(pause)
            there = [pod for pod in self.client.pods(name) if pod.name == name]
            if there:
                self.expects(self._unsure_until)
                return Rented(there[0].id, name, lease, offer.gpu), ""
        self._unsure_until = time.time() + self.late_s
        self.expects(self._unsure_until)
        return None, _SILENCE


_SILENCE = "RunPod did not say whether it was rented"
