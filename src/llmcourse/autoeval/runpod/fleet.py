"""The pods of a run: rented within the cap, watched over, ended and looked for at the end."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.runpod import dealing
from llmcourse.autoeval.runpod.budget import Budget, Lease, latest
from llmcourse.autoeval.runpod.client import (
    Offer,
    PodSpec,
    RunpodClient,
    RunpodError,
    Unreachable,
    WrongKey,
    key_from_environment,
)
from llmcourse.autoeval.runpod.commands import secret_name
from llmcourse.autoeval.runpod.dealing import PodJob
from llmcourse.autoeval.runpod.following import Followed
from llmcourse.autoeval.runpod.ledger import Ledger, Record, new_ledger
from llmcourse.autoeval.runpod.offers import usd_per_hour
from llmcourse.autoeval.runpod.renting import LATE_S, Rented, Renter
from llmcourse.autoeval.runpod.watchdog import Watchdog, new_record
from llmcourse.autoeval.units import Unit
from llmcourse.core.errors import LibraryError, LlmcourseError, PlanError
from llmcourse.core.hub.mailbox import Mailbox, hub_token
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress


@dataclass(frozen=True)
class Pace:
    """Seconds: between looks, until a client counts as gone, between its signs of life and between reports.

    `patience_s` is how long a request without an answer is repeated, `looks` the pauses between looks for a
    pod whose request had none, `late_s` how long that may still appear; `command` is what a pod runs for each
    of its jobs.
    """

    poll_s: float = 15
    lease_s: float = 1200
    renew_s: float = 300
    report_s: float = 300
    looks: tuple[float, ...] = (1, 2, 4, 8, 15)
    least_hours: float = 1 / 60
    late_s: float = LATE_S
    patience_s: float = 30
    command: tuple[str, ...] = ("python3", "-P", "-m", "llmcourse", "autoeval", "-")


USUAL = Pace()


@dataclass
class Fleet:
    """Everything at RunPod and on the Hub whose name begins with that of the run."""

    job: Job
    progress: Progress
    pace: Pace = USUAL
    _watchdog: Watchdog | None = None
    _told: dict[str, Any] = field(init=False)
    _renewed: float | None = None

    def __post_init__(self) -> None:
        key = key_from_environment()
        if key is None:
            raise PlanError("There is no key for RunPod in RUNPOD_API_KEY.", "Set RUNPOD_API_KEY.")
        self.client = RunpodClient(key, self.pace.patience_s)
        self.config = Config.model_validate(self.job.config)
        self.wish = self.config.runpod
        self._told = {"record": str(new_record(self.job.scratch))}
        self.budget = Budget(self.wish.max_cost_usd, self.wish.max_hours)
        self.ledger = new_ledger()
        self.mailbox = Mailbox(self.wish.results, self.job.scratch / "runpod")

    @property
    def most_pods(self) -> int:
        return 1 if self.wish.pod else self.wish.pods

    def prepare(self, earlier: Ledger | None) -> None:
        """Repository, watchdog and secret, before anything costs; pods of a run that was killed are ended."""
        self.client.pods(self.ledger.run)  # proves the key
        if earlier:
            for pod in self.client.pods(earlier.run):
                self.client.terminate(pod.id)
            for record in earlier.pods:
                self._give_back(record)
        token = hub_token()
        self.mailbox.open()
        self.ledger.repository = self.mailbox.repository
        self.mailbox.add_branch(self.ledger.run)
        self.ledger.save(self.job.scratch)  # before the first request: a kill may come before its answer
        self.tell(
            prefix=self.ledger.run,
            secrets=[secret_name(self.ledger.run)],
            deadline=time.time() + self.wish.max_hours * 3600,
        )
        self._keep_secret(token)
        self.renew()

    def tell(self, **message: Any) -> None:
        """Tell the watchdog; one that is not there is started and told all that is known."""
        self._told |= message
        try:
            if self._watchdog:
                self._watchdog.tell(**message)
                return
        except BrokenPipeError:
            self.progress.note("! The process that ends pods has ended; another one is started.")
        self._watchdog = Watchdog(**self._told)

    def see_to_the_watchdog(self) -> None:
        """Start another one where it has ended."""
        if self._watchdog and not self._watchdog.is_there:
            self.progress.note("! The process that ends pods has ended; another one is started.")
            self._watchdog = Watchdog(**self._told)

    def _keep_secret(self, token: str) -> None:
        name = secret_name(self.ledger.run)
        try:
            self.client.create_secret(name, token)
        except Unreachable:
            if name not in self.client.secrets():
                self.client.create_secret(name, token)

    @cached_property
    def cards(self) -> list[tuple[Offer, float]]:
        """Those of the config that exist, cheapest first; which are free, the request itself tells."""
        allowed = self.job.settings.get("gpu", self.wish.gpu)  # the plan leaves out what is too small
        found = [self.client.offer(gpu, self.wish.gpus) for gpu in self.wish.gpu if gpu in allowed]
        priced = [(offer, usd_per_hour(self.config, offer)) for offer in found if offer]
        known = [(offer, price) for offer, price in priced if price is not None]
        return sorted(known, key=lambda item: item[1])

    def rent(self, name: str, units: Sequence[Unit], shares: int) -> Followed:
        """A pod that works on these units.

        Raises:
            LibraryError: none can be had.
        """
        jobs = dealing.pod_jobs(units, self.job.config, self.job.settings["suite"])

        def spec_of(name: str, gpu: str, hours: float, began: float) -> PodSpec:
            return self._spec(name, gpu, jobs, began, hours)

        def expects(until: float) -> None:
            self.tell(appears_until=until)

        pace = self.pace
        renter = Renter(self.client, self.budget, spec_of, expects, pace.looks, pace.least_hours, pace.late_s)
        pod = self.wish.pod
        rented = renter.take(pod, name) if pod else renter.rent(name, self.cards, shares)
        followed = self._recorded(rented, jobs)
        self.tell(deadline=latest(self.budget.leases))
        return followed

    def _recorded(self, rented: Rented, jobs: Sequence[PodJob]) -> Followed:
        lease = rented.lease
        by_key = [{(unit.name, unit.task.name): unit for unit in job.units} for job in jobs]
        record = Record(
            rented.id, rented.name, lease.usd_per_hour, lease.began, lease.hours, rented.card,
            [list(job) for job in by_key], rented.original,
        )  # fmt: skip
        self.ledger.pods.append(record)
        self.ledger.save(self.job.scratch)
        self.progress.note(
            f"Pod {rented.id} ({rented.card}, {lease.usd_per_hour:.2f} $/h) ends after {lease.hours:.2f} h "
            f"at the latest: {lease.usd_per_hour * lease.hours:.2f} $."
        )
        return Followed(record, lease, by_key)

    def _spec(self, name: str, gpu: str, jobs: Sequence[PodJob], began: float, hours: float) -> PodSpec:
        self.mailbox.add_branch(name)
        task = {
            "name": name,
            "repository": self.mailbox.repository,
            "jobs": [
                job.as_json(self.mailbox.repository, f"{name}-job-{number}")
                for number, job in enumerate(jobs)
            ],
            "command": list(self.pace.command),
            "package": dealing.usual_package(os.environ.get("LLMCOURSE_PACKAGE")),
            "deadline": began + hours * 3600,
            "seconds": hours * 3600,
            "lease": self.ledger.run if self.wish.wait else "",
            "lease_s": self.pace.lease_s,
            "report_s": self.pace.report_s,
            "ends": self.wish.pod is None,
        }
        env = {
            "LLMCOURSE_SUPERVISOR": dealing.supervisor_variable(),
            "LLMCOURSE_POD": dealing.task_variable(task),
            "HF_TOKEN": f"{{{{ RUNPOD_SECRET_{secret_name(self.ledger.run)} }}}}",
        }
        for variable in ("HF_ENDPOINT", "RUNPOD_API_BASE_URL"):
            if os.environ.get(variable):
                env[variable] = os.environ[variable]
        return PodSpec(
            name, self.wish.image, gpu, self.wish.gpus, self.wish.cloud,
            self.wish.container_disk_gb, dealing.start_command(), env,
        )  # fmt: skip

    def there(self) -> set[str]:
        """Ids of the pods that exist."""
        return {pod.id for pod in self.client.pods("" if self.wish.pod else self.ledger.run)}

    def end(self, pod_id: str) -> None:
        """End a pod that was rented.

        A refusal is no end of the run: the pod ends itself, and the watchdog sees to it after all.
        """
        if self.wish.pod:
            return
        try:
            self.client.terminate(pod_id)
        except WrongKey:
            raise
        except RunpodError as error:
            self.progress.note(f"! Pod {pod_id} is not ended yet: {error}")

    def renew(self) -> None:
        """Show the pods, from time to time, that the client is there."""
        if self._renewed is not None and time.monotonic() - self._renewed < self.pace.renew_s:
            return
        try:
            self.mailbox.renew_lease(self.ledger.run)
            self._renewed = time.monotonic()
        except LibraryError as error:
            self.progress.note(f"! {error.what} It is tried again.")

    def hand_over(self) -> None:
        """From now on the pods work by themselves."""
        self.ledger.handed_over = True
        self.ledger.save(self.job.scratch)
        self.tell(handed_over=True)
        with suppress(LibraryError):  # then the secret is left to whoever collects
            self.mailbox.hand_over(self.ledger.run)

    def take_up(self, earlier: Ledger) -> Iterator[tuple[Record, Lease]]:
        """The pods that an earlier client handed over; an end of this client is none of theirs either."""
        self.ledger = earlier
        self.tell(
            prefix=earlier.run,
            secrets=[secret_name(earlier.run)],
            deadline=max((pod.began + pod.hours * 3600 for pod in earlier.pods), default=time.time()),
            appears_until=time.time(),
            handed_over=True,
        )
        for record in earlier.pods:
            yield record, self.budget.lease(record.usd_per_hour, record.hours, record.began)

    def close(self, has_ended_well: bool, has_failed: bool) -> None:
        """End what is left and see that it is gone.

        Raises:
            LibraryError: a pod, or a secret, may still be there.
        """
        if self._watchdog is None:
            return
        if has_ended_well:
            self.tell(handed_over=False)
        if has_ended_well or not self._told.get("handed_over"):
            for record in self.ledger.pods:
                self._give_back(record)
        report = self._watchdog.release()
        self._watchdog = None
        if report["left"] or report["problem"]:
            named = report["problem"] or ", ".join(report["left"])
            raise LibraryError(
                f"It is not certain that all pods have ended ({named}).",
                f"Look in RunPod's console for pods whose names begin with {self.ledger.run}, and end them.",
            )
        if has_ended_well and not has_failed:
            self._forget()

    def _give_back(self, record: Record) -> None:
        """Have a pod of the user's start what it started before."""
        if record.original is None:
            return
        try:
            self.client.restart(record.id, record.original["command"], record.original["env"])
        except WrongKey:
            raise
        except RunpodError as error:
            self.progress.note(f"! Pod {record.id} was not set back to what it started before: {error}")
        record.original = None

    def _forget(self) -> None:
        """What is home need not stay on the Hub; what failed stays, with its logs."""
        try:
            self.mailbox.forget(self.mailbox.branches(self.ledger.run))
        except LlmcourseError as error:
            self.progress.note(f"! Branches of {self.ledger.repository} were not removed: {error.what}")
