"""What pods cost: counted from the moment they were asked for, and never promised more than the cap."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

# Hours by which the clock of the bill may run ahead: a pod takes some seconds to end.
_ENDING_HOURS = 5 / 3600


@dataclass
class Lease:
    """A pod that was asked for: dollars an hour, when that began (Unix time), its hours at most."""

    usd_per_hour: float
    began: float
    hours: float
    ended: float | None = None

    @property
    def deadline(self) -> float:
        return self.began + self.hours * 3600

    def usd(self, now: float) -> float:
        return self.usd_per_hour * ((self.ended or now) - self.began) / 3600

    @property
    def most_usd(self) -> float:
        """What it may still come to: all of its hours while it is there."""
        if self.ended is not None:
            return self.usd(self.ended)
        return self.usd_per_hour * (self.hours + _ENDING_HOURS)


@dataclass
class Budget:
    """The cap in dollars of all pods of a run, and `max_hours` of each."""

    cap_usd: float
    max_hours: float
    leases: list[Lease] = field(default_factory=list)

    def hours(self, usd_per_hour: float, pods: int = 1) -> float:
        """How long each of `pods` more may be there; may be negative."""
        free = self.cap_usd - sum(lease.most_usd for lease in self.leases)
        return min(self.max_hours, free / (usd_per_hour * pods) - _ENDING_HOURS)

    def lease(self, usd_per_hour: float, hours: float, began: float) -> Lease:
        lease = Lease(usd_per_hour, began, hours)
        self.leases.append(lease)
        return lease

    def usd(self) -> float:
        """What was spent until now."""
        now = time.time()
        return sum(lease.usd(now) for lease in self.leases)


def latest(leases: Iterable[Lease]) -> float:
    """When the last pod must be gone."""
    return max((lease.deadline for lease in leases if lease.ended is None), default=time.time())
