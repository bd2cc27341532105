"""Fifty-odd ways in which renting a pod goes wrong, and how the client must end in each."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmcourse.testing.hub.faults import Fault
from llmcourse.testing.runpod import PodFault
from tests.autoeval.runpod_rig import REPOSITORY, Client, Rig

CREATE, LIST, END, SECRET, CARDS = (
    "podFindAndDeployOnDemand", "myself", "podTerminate", "secretCreate", "gpuTypes",
)  # fmt: skip
FIRST, OTHER = "NVIDIA GeForce RTX 4090", "NVIDIA RTX A6000"
KILLED, INTERRUPTED = (-9,), (130, -2, 1)

# What is done while the client runs; it may wait for a moment first.
Act = Callable[[Rig, Client], None]


@dataclass(frozen=True)
class Scenario:
    """`exits` are the exit codes that are right; `tasks` are of one group, named as the stand-in knows."""

    name: str
    exits: tuple[int, ...]
    tasks: tuple[str, ...] = ("a", "b")
    faults: tuple[PodFault, ...] = ()
    hub_faults: tuple[Fault, ...] = ()
    wish: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str | None] = field(default_factory=dict)
    before: Callable[[Rig], None] = lambda rig: None
    act: Act = lambda rig, client: None
    says: str = ""
    ended_by: str = ""  # by whom every pod was ended, where that is what counts
    gone_s: float = 20  # how long after the client's end pods may still be there


def _card(name: str, free: int) -> Callable[[Rig], None]:
    def before(rig: Rig) -> None:
        rig.runpod.cards[name].free = free

    return before


def _public(rig: Rig) -> None:
    rig.hub.repo(REPOSITORY, "dataset").set_private(False)


def _created(rig: Rig, client: Client) -> None:
    rig.wait_for(lambda: rig.runpod.pods)


def _first_result(rig: Rig, client: Client) -> None:
    rig.wait_for(lambda: '"result"' in client.said())


def _requested(rig: Rig, client: Client) -> None:
    rig.wait_for(lambda: any(call.field == CREATE for call in rig.runpod.calls))


def _secret(rig: Rig, client: Client) -> None:
    rig.wait_for(lambda: rig.runpod.secrets)


def _then(moment: Act, number: signal.Signals) -> Act:
    def act(rig: Rig, client: Client) -> None:
        moment(rig, client)
        os.kill(client.process.pid, number)

    return act


def _pod_dies(moment: Act, times: int = 1) -> Act:
    def act(rig: Rig, client: Client) -> None:
        for _ in range(times):
            moment(rig, client)
            rig.wait_for(lambda: rig.runpod.pods)
            rig.runpod.account.end(rig.runpod.pods[0].id, "fault")

    return act


def _pod_dies_and_its_card_is_taken(rig: Rig, client: Client) -> None:
    _created(rig, client)
    _card(FIRST, -1)(rig)
    _pod_dies(_created)(rig, client)


def _container_crashes(rig: Rig, client: Client) -> None:
    _created(rig, client)
    time.sleep(0.5)
    rig.runpod.pods[0].container.crash()


def _watchdog_dies(moment: Act, and_client: bool) -> Act:
    def act(rig: Rig, client: Client) -> None:
        moment(rig, client)
        for process in [*client.watchdogs(), *([client.process.pid] if and_client else [])]:
            os.kill(process, signal.SIGKILL)

    return act


def _key_is_withdrawn(rig: Rig, client: Client) -> None:
    _created(rig, client)
    rig.runpod.account.key = "rpa_ANOTHER0KEY"


def _client_stands_still(rig: Rig, client: Client) -> None:
    """As a laptop that is closed: neither the client nor what it started does anything for a while."""
    _created(rig, client)
    processes = [*client.watchdogs(), client.process.pid]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    rig.wait_for(lambda: not rig.runpod.pods)
    for process in processes:
        os.kill(process, signal.SIGCONT)


_POD_COMMITS = r"/api/datasets/.*/commit/.*-0"
SLOW = ("a", "b_slow")
SECOND_USD = 0.3511 / 3600  # of the usual card with its disk
_BUSY = "Something went wrong. Please try again later or contact support."
_FULL = "There are no longer any instances available with the requested specifications."

SCENARIOS = (
    # No capacity
    Scenario("no card is free", (5,), before=_card(FIRST, 0), says="none is free"),
    Scenario("the cheaper card is taken", (0,), wish={"gpu": [FIRST, OTHER]}, before=_card(OTHER, 0)),
    Scenario("both cards are taken", (5,), wish={"gpu": [FIRST, OTHER]},
             faults=(PodFault(CREATE, "error", None, message=_FULL),), says="none is free"),
    Scenario("a card is taken between look and request", (0,), wish={"gpu": [FIRST, OTHER]},
             faults=(PodFault(CREATE, "error", 1, message=_FULL),)),
    Scenario("one of two pods finds no card and its tasks wait", (0,), tasks=("a", "b"), wish={"pods": 2},
             before=_card(FIRST, 1)),
    # The request to create has no answer
    *(Scenario(f"create is answered {status}, nothing is there", (0,),
               faults=(PodFault(CREATE, "status", 1, status=status),)) for status in (500, 502, 504, 429)),
    *(Scenario(f"create is answered {status}, the pod is there", (0,),
               faults=(PodFault(CREATE, "apply_then_status", 1, status=status),)) for status in (500, 504)),
    Scenario("create is cut off before", (0,), faults=(PodFault(CREATE, "drop"),)),
    Scenario("create is cut off after", (0,), faults=(PodFault(CREATE, "apply_then_drop"),)),
    Scenario("create times out, the pod is there", (0,), faults=(PodFault(CREATE, "slow", seconds=32),)),
    Scenario("create says that something went wrong", (0,),
             faults=(PodFault(CREATE, "error", message=_BUSY),)),
    Scenario("create never answers and nothing is there", (5,), faults=(PodFault(CREATE, "drop", None),),
             says="did not say", gone_s=90),
    Scenario("create times out and the list fails too", (0, 5), gone_s=90,
             faults=(PodFault(CREATE, "apply_then_drop"), PodFault(LIST, "status", 6, skip=1))),
    Scenario("create is refused", (5,), faults=(PodFault(CREATE, "error", message="Image not allowed"),),
             says="Image not allowed"),
    # RunPod fails elsewhere
    Scenario("prices fail once", (0,), faults=(PodFault(CARDS, "status"),)),
    Scenario("prices fail for good", (5,), faults=(PodFault(CARDS, "status", None),)),
    Scenario("the secret fails once", (0,), faults=(PodFault(SECRET, "status"),)),
    Scenario("the secret is made and the answer lost", (0,), faults=(PodFault(SECRET, "apply_then_drop"),)),
    Scenario("the secret is refused", (5,), faults=(PodFault(SECRET, "error", None, message="Not allowed"),)),
    Scenario("the list fails now and then", (0,), faults=(PodFault(LIST, "status", 3, skip=1),)),
    Scenario("the list fails for ten seconds", (0,), faults=(PodFault(LIST, "status", 12, skip=1),)),
    Scenario("ending fails three times", (0,), faults=(PodFault(END, "status", 3),)),
    Scenario("ending is refused five times", (0, 5), faults=(PodFault(END, "error", 5, message="Busy"),)),
    Scenario("ending is done and the answer lost", (0,), faults=(PodFault(END, "apply_then_drop", 2),)),
    # The pod
    Scenario("the pod dies before a result and is replaced", (0,), tasks=("a", "b"), act=_pod_dies(_created)),
    Scenario("the pod dies after a result and is replaced", (5,), tasks=("a", "b_kills_pod"), says=""),
    Scenario("the pod and its replacement die", (5,), tasks=SLOW, act=_pod_dies(_created, 2)),
    Scenario("the pod dies and no card is free for another", (5,), tasks=SLOW, before=_card(FIRST, 1),
             act=_pod_dies_and_its_card_is_taken),
    Scenario("the pod's memory runs out", (5,), tasks=SLOW, wish={"max_hours": 12 / 3600},
             act=_container_crashes),
    Scenario("the evaluation crashes", (5,), tasks=("a", "b_crash")),
    Scenario("a task fails", (5,), tasks=("a_fails", "b")),
    Scenario("the pod's disk is full", (5,), tasks=("a", "b_full")),
    Scenario("llmcourse cannot be installed", (5,), env={"LLMCOURSE_PACKAGE": "/nowhere/llmcourse.whl"}),
    Scenario("the pod's time is over", (5,), tasks=SLOW, wish={"max_hours": 6 / 3600}),
    Scenario("the cap is reached before the time", (5,), tasks=SLOW, wish={"max_cost_usd": 12 * SECOND_USD}),
    Scenario("the cap leaves no time at all", (5,), wish={"max_cost_usd": 0.0000001}, says="no time"),
    # The client
    *(Scenario(f"the client is killed {when}", KILLED, ended_by="account", tasks=SLOW,
               act=_then(moment, signal.SIGKILL),
               gone_s=gone)
      for when, moment, gone in (("before the pod", _secret, 90), ("when the pod is there", _created, 90),
                                 ("after a result", _first_result, 20))),
    Scenario("the client is killed during create", KILLED, ended_by="account", tasks=SLOW, gone_s=80,
             faults=(PodFault(CREATE, "slow", seconds=3),), act=_then(_requested, signal.SIGKILL)),
    Scenario("the client is killed while RunPod fails", KILLED, tasks=SLOW, gone_s=40,
             faults=(PodFault(LIST, "status", 20, skip=2),), act=_then(_first_result, signal.SIGKILL)),
    *(Scenario(f"Ctrl-C {when}", INTERRUPTED, ended_by="account", tasks=SLOW,
               act=_then(moment, signal.SIGINT), gone_s=60)
      for when, moment in (("before the pod", _secret), ("when the pod is there", _created),
                           ("after a result", _first_result))),
    Scenario("SIGTERM after a result", (-15,), ended_by="account", tasks=SLOW,
             act=_then(_first_result, signal.SIGTERM)),
    Scenario("client and watchdog are killed", KILLED, tasks=SLOW, act=_watchdog_dies(_first_result, True)),
    Scenario("the watchdog is killed", (0,), tasks=("a", "b", "c"), act=_watchdog_dies(_created, False)),
    Scenario("client and watchdog stand still", (5,), tasks=SLOW, act=_client_stands_still),
    # Keys and the Hub
    Scenario("no key", (4,), env={"RUNPOD_API_KEY": None}, says="RUNPOD_API_KEY"),
    Scenario("a wrong key", (4, 5), env={"RUNPOD_API_KEY": "rpa_WRONG"}),
    Scenario("the key is withdrawn meanwhile", (4, 5), tasks=SLOW, act=_key_is_withdrawn,
             wish={"max_hours": 8 / 3600}),
    Scenario("no Hub token", (4,), env={"HF_TOKEN": None}),
    Scenario("a wrong Hub token", (4, 5), env={"HF_TOKEN": "hf_wrong"}),
    Scenario("the repository of the results is public", (4,), before=_public, says="public"),
    Scenario("the Hub fails twice for the pod", (0, 5),
             hub_faults=(Fault("POST", _POD_COMMITS, status=500, times=2),)),
    Scenario("the pod may not write to the Hub", (5,), wish={"max_hours": 15 / 3600},
             hub_faults=(Fault("POST", _POD_COMMITS, status=403, times=None),)),
    Scenario("the Hub fails for the client for a while", (0,),
             hub_faults=(Fault(method="GET", path=r"/api/datasets/.*/tree/", status=503, times=4),)),
)  # fmt: skip
