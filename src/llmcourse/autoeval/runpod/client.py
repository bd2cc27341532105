"""The one file that speaks to RunPod: the SDK 1.12, which speaks GraphQL.

Its next version speaks REST and refuses some of these arguments, so nothing outside this file knows either.
`import runpod` takes 3.3 s for its serverless half (FastAPI, boto3, paramiko); of the version that was looked
at, the half that manages pods is imported alone.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeVar, cast

LEAN = "1.12."  # versions whose parts are known to be importable alone
_BUSY = re.compile(r"something went wrong|internal server error|timed? ?out|try again later", re.IGNORECASE)
_FULL = re.compile(
    r"no longer any instances|no instances|not enough (free )?gpus|does not have the resources|"
    r"insufficient capacity",
    re.IGNORECASE,
)
_GONE = re.compile(r"not found|does not exist", re.IGNORECASE)
_KEY_REFUSED = re.compile(r"unauthorized|invalid api key|forbidden", re.IGNORECASE)

Result = TypeVar("Result")


class RunpodError(Exception):
    """RunPod refused; the message is its own, without what was sent."""


class WrongKey(RunpodError):
    """RUNPOD_API_KEY is not accepted."""


class NoCapacity(RunpodError):
    """None of these GPUs is free; nothing was created."""


class Unreachable(RunpodError):
    """No answer, or none that says what happened: it may have been done."""


@dataclass(frozen=True)
class Offer:
    """A GPU type and what one of it costs in dollars an hour; a price is None where a cloud has none."""

    gpu: str
    memory_gb: int
    community_usd: float | None
    secure_usd: float | None
    is_free: bool  # as many as were asked for

    def usd_per_hour(self, cloud: str) -> float | None:
        """What one costs at most in this cloud (community, secure, all)."""
        prices = {"community": [self.community_usd], "secure": [self.secure_usd]}
        known = [price for price in prices.get(cloud, [self.community_usd, self.secure_usd]) if price]
        return max(known, default=None)


@dataclass(frozen=True)
class PodSpec:
    """What is rented. Values of `env` may name secrets as `{{ RUNPOD_SECRET_name }}`."""

    name: str
    image: str
    gpu: str
    gpus: int
    cloud: str
    disk_gb: int
    command: str
    env: Mapping[str, str]


@dataclass(frozen=True)
class Pod:
    """A pod that exists; `usd_per_hour` is RunPod's own figure, 0 where it does not say."""

    id: str
    name: str
    status: str
    usd_per_hour: float
    uptime_s: int
    gpu: str


@dataclass(frozen=True)
class Order:
    """What a pod was told to start."""

    command: str
    env: Mapping[str, str]
    pod: Pod


class RunpodClient:
    """RunPod's API with one key. Reading and ending are repeated when there is no answer, creating never is.

    Raises everywhere:
        WrongKey, Unreachable, RunpodError: see there.
    """

    def __init__(self, key: str, patience_s: float = 30) -> None:
        self._key = key
        self._patience_s = patience_s

    def offer(self, gpu: str, count: int) -> Offer | None:
        """Price and availability of `count` GPUs of a type, None where RunPod has no such type."""

        def ask() -> Offer | None:
            try:
                data = _sdk().get_gpu(_escaped(gpu), count)
            except ValueError as error:
                if "No GPU found" in str(error):
                    return None
                raise
            lowest = data.get("lowestPrice") or {}
            return Offer(
                data["id"],
                int(data["memoryInGb"]),
                data["communityPrice"] if data["communityCloud"] else None,
                data["securePrice"] if data["secureCloud"] else None,
                lowest.get("uninterruptablePrice") is not None,
            )

        return self._repeated(ask)

    def gpus(self) -> list[str]:
        """Ids of all types of GPU."""
        return self._repeated(lambda: [str(item["id"]) for item in _sdk().get_gpus()])

    def pods(self, prefix: str = "") -> list[Pod]:
        """The account's pods whose names begin so."""
        found = self._repeated(lambda: [_pod(item) for item in _sdk().get_pods()])
        return [pod for pod in found if pod.name.startswith(prefix) and pod.status != "TERMINATED"]

    def create(self, spec: PodSpec) -> str:
        """Rent a pod and return its id.

        Raises:
            NoCapacity: nothing was created.
            Unreachable: it may have been created; look for its name.
        """
        data = self._once(
            lambda: _sdk().create_pod(
                name=_escaped(spec.name),
                image_name=_escaped(spec.image),
                gpu_type_id=_escaped(spec.gpu),
                cloud_type=spec.cloud.upper(),
                support_public_ip=False,
                start_ssh=False,
                gpu_count=spec.gpus,
                container_disk_in_gb=spec.disk_gb,
                docker_args=_escaped(spec.command),
                env={_escaped(name): _escaped(value) for name, value in spec.env.items()},
            )
        )
        if not data:
            raise NoCapacity("RunPod gave no pod.")
        return str(data["id"])

    def order(self, pod_id: str) -> Order:
        """What a pod starts, and with which variables.

        Raises:
            RunpodError: there is no such pod.
        """
        data = self._repeated(lambda: _sdk().get_pod(_escaped(pod_id)))
        if not data:
            raise RunpodError(f"There is no pod {pod_id}.")
        pairs = [str(item).partition("=") for item in data.get("env") or ()]
        return Order(str(data.get("dockerArgs") or ""), {name: value for name, _, value in pairs}, _pod(data))

    def restart(self, pod_id: str, command: str, env: Mapping[str, str]) -> None:
        """Have a pod that is there start something else; its disk and its price stay."""
        # The SDK has no function for it; fields that are not named keep their values.
        items = ", ".join(f"{{ key: {json.dumps(key)}, value: {json.dumps(env[key])} }}" for key in env)
        fields = f"podId: {json.dumps(pod_id)}, dockerArgs: {json.dumps(command)}, env: [{items}]"
        self._repeated(lambda: self._query(f"mutation {{ podEditJob(input: {{ {fields} }}) {{ id }} }}"))

    def terminate(self, pod_id: str) -> None:
        """End a pod for good; one that is not there is no error."""
        try:
            self._repeated(lambda: _sdk().terminate_pod(_escaped(pod_id)))
        except (WrongKey, Unreachable):
            raise
        except RunpodError as error:
            if not _GONE.search(str(error)):
                raise

    def secrets(self) -> dict[str, str]:
        """Ids of the account's secrets, by name."""
        answer = self._repeated(lambda: self._query("query { myself { secrets { id name } } }"))
        return {item["name"]: item["id"] for item in answer["myself"]["secrets"]}

    def create_secret(self, name: str, value: str) -> None:
        """Keep a value that pods may name and nobody can read."""
        # The SDK sends no variables, so the values stand in the text, as JSON writes strings.
        fields = f"name: {json.dumps(name)}, value: {json.dumps(value)}"
        self._once(lambda: self._query(f"mutation {{ secretCreate(input: {{ {fields} }}) {{ id name }} }}"))

    def delete_secret(self, secret_id: str) -> None:
        self._repeated(lambda: self._query(f"mutation {{ secretDelete(id: {json.dumps(secret_id)}) }}"))

    def _query(self, text: str) -> dict[str, Any]:
        return cast(dict[str, Any], import_module("runpod.api.graphql").run_graphql_query(text)["data"])

    def _repeated(self, call: Callable[[], Result]) -> Result:
        begin, pause = time.monotonic(), 0.5
        while True:
            try:
                return self._once(call)
            except Unreachable:
                if time.monotonic() - begin + pause > self._patience_s:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 8)

    def _once(self, call: Callable[[], Result]) -> Result:
        """Call the SDK; what it raises is told in our words, without what was sent, which holds secrets."""
        _sdk()
        network = import_module("requests").exceptions.RequestException
        sys.modules["runpod"].__dict__["api_key"] = self._key
        errors = import_module("runpod.error")
        try:
            return call()
        except errors.AuthenticationError:
            raise WrongKey("RunPod does not accept RUNPOD_API_KEY.") from None
        except errors.QueryError as error:
            raise _refusal(str(error)) from None
        except (network, ValueError, KeyError, TypeError) as error:
            # A page instead of JSON, or JSON of another shape, comes from something in between.
            what = f"No answer from RunPod that says what happened ({type(error).__name__})."
            raise Unreachable(what) from None


def _refusal(message: str) -> RunpodError:
    if _FULL.search(message):
        return NoCapacity(message)
    if _KEY_REFUSED.search(message):
        return WrongKey(message)
    return Unreachable(message) if _BUSY.search(message) else RunpodError(message)


def _pod(item: Mapping[str, Any]) -> Pod:
    return Pod(
        str(item["id"]),
        str(item.get("name") or ""),
        str(item.get("desiredStatus") or ""),
        float(item.get("costPerHr") or 0),
        int(item.get("uptimeSeconds") or 0),
        str((item.get("machine") or {}).get("gpuDisplayName") or ""),
    )


def _escaped(text: str) -> str:
    """For a string of GraphQL, which the SDK writes without escaping."""
    return json.dumps(text)[1:-1]


@cache
def _sdk() -> Any:
    """The SDK's functions for pods, without what else `import runpod` loads."""
    if "runpod" not in sys.modules and version("runpod").startswith(LEAN):
        spec = find_spec("runpod")
        assert spec is not None and spec.submodule_search_locations is not None, "it has a version"
        parent = ModuleType("runpod")
        parent.__spec__, parent.__path__ = spec, list(spec.submodule_search_locations)
        parent.__dict__["api_key"] = None
        sys.modules["runpod"] = parent
    return import_module("runpod.api.ctl_commands")


def key_from_environment() -> str | None:
    """RUNPOD_API_KEY, None where there is none."""
    return os.environ.get("RUNPOD_API_KEY", "").strip() or None
