"""What a RunPod account holds: cards for rent, pods, secrets, and the bill."""

import re
import secrets as random
import shlex
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmcourse.testing.runpod.container import Container
from llmcourse.testing.runpod.graphql import Field, GraphqlError

# Of running pods, for each GB of their container disk; RunPod's price list of 2026.
DISK_USD_PER_GB_HOUR = 0.10 / 730
NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. "
    "Please refresh and try again."
)
_SECRET = re.compile(r"\{\{\s*RUNPOD_SECRET_([\w.\-/]+)\s*\}\}")


@dataclass
class Card:
    """A kind of GPU: prices in dollars an hour, and how many are free."""

    id: str
    memory_gb: int
    community_usd: float
    secure_usd: float
    free: int = 8

    def as_json(self, clouds: tuple[str, ...] = ("COMMUNITY", "SECURE")) -> dict[str, Any]:
        def lowest(asked: Field) -> dict[str, Any]:
            enough = self.free >= int(asked.input.get("gpuCount", 1))
            price = min(self.community_usd, self.secure_usd) if enough else None
            return {"uninterruptablePrice": price, "minimumBidPrice": price}

        return {
            "id": self.id, "displayName": self.id.removeprefix("NVIDIA "), "memoryInGb": self.memory_gb,
            "maxGpuCount": 8, "communityCloud": "COMMUNITY" in clouds, "secureCloud": "SECURE" in clouds,
            "communityPrice": self.community_usd, "securePrice": self.secure_usd, "lowestPrice": lowest,
        }  # fmt: skip

    def price(self, cloud: str) -> float:
        return {"COMMUNITY": self.community_usd, "SECURE": self.secure_usd}.get(
            cloud, max(self.community_usd, self.secure_usd)
        )


def usual_cards() -> dict[str, Card]:
    """Cards with prices as they were in November 2026."""
    cards = [
        Card("NVIDIA GeForce RTX 4090", 24, 0.34, 0.69),
        Card("NVIDIA RTX A6000", 48, 0.33, 0.49),
        Card("NVIDIA L40S", 48, 0.79, 0.86),
        Card("NVIDIA A100 80GB PCIe", 80, 1.19, 1.64),
        Card("NVIDIA H100 80GB HBM3", 80, 2.69, 2.99),
    ]
    return {card.id: card for card in cards}


@dataclass
class Pod:
    """A pod, also after its end: `usd_per_hour` with disk, times in seconds of this machine's clock."""

    id: str
    name: str
    request: Mapping[str, Any]
    env: Mapping[str, str]
    key: str
    card: Card
    gpus: int
    usd_per_hour: float
    began: float
    container: Container
    ended: float | None = None
    ended_by: str = ""  # "account", "itself" or "fault"

    @property
    def usd(self) -> float:
        return ((self.ended or time.time()) - self.began) / 3600 * self.usd_per_hour

    def as_json(self) -> dict[str, Any]:
        uptime = int(time.time() - self.began)
        return {
            "id": self.id, "name": self.name, "imageName": self.request["imageName"],
            # As it was written, so that whoever may list pods reads what a client put there in plain.
            "env": [f"{key}={value}" for key, value in self.env.items()],
            "desiredStatus": "RUNNING" if self.container.is_there else "EXITED",
            "costPerHr": round(self.usd_per_hour, 4), "gpuCount": self.gpus, "uptimeSeconds": uptime,
            "containerDiskInGb": self.request.get("containerDiskInGb"), "machineId": "loopback",
            "dockerArgs": self.request.get("dockerArgs"), "podType": "RESERVED",
            "machine": {"gpuDisplayName": self.card.id, "podHostId": f"{self.id}-loopback"},
            "runtime": {"uptimeInSeconds": uptime, "ports": []} if self.container.is_there else None,
        }  # fmt: skip


@dataclass
class Account:
    """All that is behind the API; `key` opens all of it, a pod's own key only that pod."""

    folder: Path
    key: str = "rpa_LOOPBACK0ACCOUNT0KEY"
    cards: dict[str, Card] = field(default_factory=usual_cards)
    pods: dict[str, Pod] = field(default_factory=dict)  # those that exist
    ended: list[Pod] = field(default_factory=list)
    secrets: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> id, value
    environment: dict[str, str] = field(default_factory=dict)  # what images set
    lock: threading.RLock = field(default_factory=threading.RLock)
    most_at_once: int = 0

    def deploy(self, request: Mapping[str, Any]) -> Pod:
        with self.lock:
            card = self.cards.get(str(request.get("gpuTypeId")))
            gpus = int(request.get("gpuCount", 1))
            if card is None:
                raise GraphqlError("GPU type not found.")
            if card.free < gpus:
                raise GraphqlError(NO_CAPACITY)
            card.free -= gpus
            pod = self._started(request, card, gpus)
            self.pods[pod.id] = pod
            self.most_at_once = max(self.most_at_once, len(self.pods))
            return pod

    def _started(self, request: Mapping[str, Any], card: Card, gpus: int) -> Pod:
        name, key = random.token_hex(7), f"rpa_POD{random.token_hex(12)}"
        written = {str(item["key"]): str(item["value"]) for item in request.get("env", [])}
        env = {variable: self._substituted(value) for variable, value in written.items()}
        env |= {"RUNPOD_POD_ID": name, "RUNPOD_API_KEY": key, "RUNPOD_GPU_COUNT": str(gpus)}
        disk = float(request.get("containerDiskInGb", 10)) * DISK_USD_PER_GB_HOUR
        price = card.price(str(request["cloudType"])) * gpus + disk
        command = shlex.split(str(request.get("dockerArgs", "")))
        container = Container(self.folder / "pods" / name, command, self.environment | env)
        container.start()
        return Pod(
            name, str(request["name"]), request, written, key, card, gpus, price, time.time(), container
        )

    def _substituted(self, value: str) -> str:
        def secret(match: "re.Match[str]") -> str:
            known = self.secrets.get(match[1])
            return known[1] if known else match[0]

        return _SECRET.sub(secret, value)

    def edit(self, request: Mapping[str, Any]) -> Pod:
        """Start a pod anew with another command and other variables."""
        with self.lock:
            pod = self.pods.get(str(request.get("podId")))
            if pod is None:
                raise GraphqlError("Pod not found.")
            pod.env = {str(item["key"]): str(item["value"]) for item in request.get("env", [])}
            pod.request = {**pod.request, "dockerArgs": str(request["dockerArgs"])}
            env = {variable: self._substituted(value) for variable, value in pod.env.items()}
            env |= {"RUNPOD_POD_ID": pod.id, "RUNPOD_API_KEY": pod.key, "RUNPOD_GPU_COUNT": str(pod.gpus)}
            pod.container.change(shlex.split(pod.request["dockerArgs"]), self.environment | env)
            return pod

    def end(self, pod_id: str, by: str) -> None:
        """Terminate: the container is killed, its disk is deleted, the bill ends.

        Raises:
            GraphqlError: there is no such pod.
        """
        with self.lock:
            pod = self.pods.pop(pod_id, None)
            if pod is None:
                raise GraphqlError("pod not found to terminate")
            pod.ended, pod.ended_by = time.time(), by
            pod.card.free += pod.gpus
            self.ended.append(pod)
        pod.container.end()

    def usd(self) -> float:
        """The bill of all pods so far."""
        with self.lock:
            return sum(pod.usd for pod in [*self.pods.values(), *self.ended])

    def add_secret(self, name: str, value: str) -> dict[str, str]:
        with self.lock:
            if name in self.secrets:
                raise GraphqlError(f"A secret with the name {name} already exists.")
            if name.upper().startswith("RUNPOD") or not re.fullmatch(r"[A-Za-z_][\w.\-/]{0,190}", name):
                raise GraphqlError("Invalid secret name.")
            self.secrets[name] = (random.token_hex(8), value)
            return {"id": self.secrets[name][0], "name": name}

    def remove_secret(self, secret_id: str) -> None:
        with self.lock:
            names = [name for name, (known, _) in self.secrets.items() if known == secret_id]
            if not names:
                raise GraphqlError("Secret not found.")
            del self.secrets[names[0]]
