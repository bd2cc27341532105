"""The engine `runpod`: rent pods that run this same command, bring their results home, leave none behind."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.runpod import dealing
from llmcourse.autoeval.runpod.client import RunpodError, Unreachable, WrongKey
from llmcourse.autoeval.runpod.fleet import USUAL, Fleet, Pace
from llmcourse.autoeval.runpod.following import Followed, collect
from llmcourse.autoeval.runpod.ledger import Ledger, read_ledger
from llmcourse.autoeval.units import Unit
from llmcourse.core.errors import HandedOver, LibraryError, PlanError
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress


def evaluate(units: Sequence[Unit], job: Job, progress: Progress, pace: Pace = USUAL) -> Iterator[TaskResult]:
    """Each unit's outcome as soon as it is home; a unit that no pod could finish has an error.

    Raises:
        PlanError: RunPod does not accept the key, or there is no Hub token.
        LibraryError: nothing could be rented, or a pod could not be ended.
        HandedOver: with `wait: false`, when the pods work.
    """
    run = _Run(units, job, Fleet(job, progress, pace))
    try:
        yield from run.outcomes()
    except WrongKey as error:
        raise PlanError(str(error), "Make a new key in RunPod's settings and set RUNPOD_API_KEY.") from None
    except RunpodError as error:
        raise LibraryError(f"RunPod failed: {error}", "Run the same command again.") from None
    finally:
        run.fleet.close(run.has_ended_well, any(pod.has_failed for pod in run.followed))


@dataclass
class _Run:
    units: Sequence[Unit]
    job: Job
    fleet: Fleet
    followed: list[Followed] = field(default_factory=list)
    waiting: list[Sequence[Unit]] = field(default_factory=list)  # for whom no pod was free
    has_ended_well: bool = False

    def __post_init__(self) -> None:
        self.progress = self.fleet.progress

    def outcomes(self) -> Iterator[TaskResult]:
        earlier = read_ledger(self.job.scratch)
        if earlier and earlier.handed_over:
            self._take_up(earlier)
        else:
            self._begin(earlier)
        with self.progress.step("evaluate on RunPod", len(self.units), "tasks") as step:
            for outcome in self._followed():
                yield outcome
                step.advance()
        self.has_ended_well = True
        self.fleet.ledger.close(self.job.scratch)

    def _begin(self, earlier: Ledger | None) -> None:
        """Rent pods for all units."""
        self.fleet.prepare(earlier)
        hands = dealing.deal(self.units, self.fleet.most_pods)
        with self.progress.step("rent pods", len(hands), "pods") as step:
            for number, hand in enumerate(hands):
                self._rent_or_wait(number, hand, len(hands) - number)
                step.advance()
        if not self.fleet.wish.wait:
            self._hand_over()

    def _rent_or_wait(self, number: int, hand: Sequence[Unit], shares: int) -> None:
        """Where another pod works already, what finds none free waits for the end of one."""
        try:
            self.followed.append(self.fleet.rent(f"{self.fleet.ledger.run}-{number}", hand, shares))
        except LibraryError as error:
            if not self.followed:
                raise
            self.progress.note(f"! {error.what} These tasks wait.")
            self.waiting.append(hand)

    def _hand_over(self) -> None:
        self.fleet.hand_over()
        records = self.fleet.ledger.pods
        pods = ", ".join(pod.id for pod in records)
        until = time.localtime(max(pod.began + pod.hours * 3600 for pod in records))
        raise HandedOver(
            f"Pods work by themselves: {pods}; they end at {time.strftime('%H:%M', until)} at the latest.",
            "The same command collects the results; `llmcourse autoeval status ID` tells how far a pod is.",
            where=pods,
        )

    def _take_up(self, earlier: Ledger) -> None:
        """Wait for pods that work by themselves since an earlier run."""
        by_key = {(unit.name, unit.task.name): unit for unit in self.units}
        for record, lease in self.fleet.take_up(earlier):
            jobs = [{key: by_key[key] for key in job if key in by_key} for job in record.jobs]
            self.followed.append(Followed(record, lease, jobs, was_replaced=True))

    def _followed(self) -> Iterator[TaskResult]:
        """Outcomes as they come, until every pod has ended; a pod that died is replaced once."""
        while open_pods := [pod for pod in self.followed if not pod.is_closed]:
            self.fleet.renew()
            there = self._there()
            for pod in open_pods:
                yield from self._look_at(pod, there)
            if self.waiting and any(pod.is_closed for pod in open_pods):
                self._rent_or_wait(len(self.followed), self.waiting.pop(), 1)
            self.fleet.see_to_the_watchdog()
            if any(not pod.is_closed for pod in self.followed):
                time.sleep(self.fleet.pace.poll_s)
        for hand in self.waiting:
            for unit in hand:
                yield TaskResult(unit.name, unit.task.name, error="no pod was free for it")

    def _look_at(self, pod: Followed, there: set[str] | None) -> Iterator[TaskResult]:
        is_over = time.time() >= pod.lease.deadline
        is_gone = there is not None and pod.record.id not in there
        try:
            yield from collect(pod, self.fleet.mailbox, self.job.files)
        except LibraryError as error:
            # The pod goes on by itself, and what it has sent stays there.
            if not is_over and not is_gone:
                self.progress.note(f"! {error.what} It is tried again.")
                return
            if time.time() < pod.lease.deadline + self.fleet.pace.lease_s:
                return
        if not (is_over or is_gone or pod.report):
            return
        if not is_gone:
            self.fleet.end(pod.record.id)
        pod.lease.ended, pod.is_over = time.time(), is_over
        pod.is_closed = True
        can_be_replaced = pod.died and not pod.was_replaced and pod.missing and not is_over
        if not (can_be_replaced and self._replaced(pod)):
            yield from pod.failures()

    def _replaced(self, pod: Followed) -> bool:
        """Whether another pod does what this one did not; that one is not replaced in its turn."""
        self.progress.note(f"! Pod {pod.record.id} died; what it had not finished is given to another one.")
        try:
            another = self.fleet.rent(f"{pod.record.name}-again", pod.missing, 1)
        except LibraryError as error:
            self.progress.note(f"! {error.what}")
            return False
        another.was_replaced = True
        self.followed.append(another)
        return True

    def _there(self) -> set[str] | None:
        """Ids of the pods that exist, None while RunPod does not answer."""
        try:
            return self.fleet.there()
        except Unreachable as error:
            self.progress.note(f"! {error} It is tried again; pods end by themselves.")
            return None
