"""`LoopbackRunpod`: RunPod's GraphQL on 127.0.0.1, for the real SDK, with pods that are processes here."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from llmcourse.testing.loopback import Loopback, LoopbackServer
from llmcourse.testing.runpod.account import Account, Card, Pod
from llmcourse.testing.runpod.faults import PodFault, PodFaults
from llmcourse.testing.runpod.graphql import Field, GraphqlError, parse, select


@dataclass(frozen=True)
class Call:
    """A request as it came: what was asked for and under which name ("account", a pod's id, or "")."""

    field: str
    by: str
    body: str


class LoopbackRunpod(Loopback):
    """A RunPod account for the real SDK: point RUNPOD_API_BASE_URL at `endpoint`, RUNPOD_API_KEY is `key`."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.account = Account(folder)
        self._faults = PodFaults()
        self._calls: list[Call] = []
        self._port = port

    def _listen(self) -> LoopbackServer:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                loopback._answer(self, body.decode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = LoopbackServer(("127.0.0.1", self._port), Handler)
        server.daemon_threads = True
        return server

    def stop(self) -> None:
        """Stop answering and end every pod that is still there."""
        super().stop()
        for pod in list(self.account.pods):
            self.account.end(pod, "fault")

    @property
    def endpoint(self) -> str:
        return self.address

    @property
    def key(self) -> str:
        return self.account.key

    @property
    def env(self) -> dict[str, str]:
        """Variables that point a client process at this account."""
        return {"RUNPOD_API_BASE_URL": self.endpoint, "RUNPOD_API_KEY": self.key, "NO_PROXY": "127.0.0.1"}

    @property
    def cards(self) -> dict[str, Card]:
        """What is for rent; prices and `free` may be set at any time."""
        return self.account.cards

    @property
    def pods(self) -> list[Pod]:
        """The pods that exist, and cost."""
        return list(self.account.pods.values())

    @property
    def ended(self) -> list[Pod]:
        return list(self.account.ended)

    @property
    def secrets(self) -> list[str]:
        return list(self.account.secrets)

    @property
    def usd(self) -> float:
        return self.account.usd()

    @property
    def faults(self) -> list[PodFault]:
        """The faults in force; append to it."""
        return self._faults.rules

    @property
    def calls(self) -> list[Call]:
        """Every request so far, oldest first."""
        return list(self._calls)

    def _answer(self, handler: BaseHTTPRequestHandler, body: str) -> None:
        by = self._caller(handler.headers.get("Authorization", "").removeprefix("Bearer "))
        try:
            _, fields = parse(str(json.loads(body)["query"]))
        except (ValueError, KeyError):
            _send(handler, 400, b"no GraphQL")
            return
        except GraphqlError as error:
            _send_json(handler, 400, {"errors": [{"message": str(error)}]})
            return
        self._calls.append(Call(fields[0].name, by, body))
        if not by:
            _send_json(handler, 401, {"errors": [{"message": "Unauthorized"}]})
            return
        fault = self._faults.take(fields[0].name)
        if fault and fault.kind in ("status", "error", "drop"):
            _fail(handler, fault)
            return
        try:
            answer: dict[str, Any] = {"data": {item.name: self._resolved(item, by) for item in fields}}
        except GraphqlError as error:
            answer = {"errors": [{"message": str(error)}], "data": None}
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        elif fault:
            _fail(handler, fault)
            return
        _send_json(handler, 200, answer)

    def _caller(self, key: str) -> str:
        if key == self.account.key:
            return "account"
        return next((pod.id for pod in self.pods if pod.key == key), "")

    def _resolved(self, asked: Field, by: str) -> Any:
        resolvers: dict[str, Callable[[Field, str], Any]] = {
            "myself": self._myself,
            "pod": self._pod,
            "gpuTypes": self._gpu_types,
            "podFindAndDeployOnDemand": self._deploy,
            "podStop": self._refuse,
            "podEditJob": self._edit,
            "podTerminate": self._terminate,
            "secretCreate": self._create_secret,
            "secretDelete": self._delete_secret,
        }
        return select(resolvers[asked.name](asked, by), asked.selection)

    def _myself(self, asked: Field, by: str) -> dict[str, Any]:
        self._only_the_account(by)
        with self.account.lock:
            secrets = [{"id": known, "name": name} for name, (known, _) in self.account.secrets.items()]
            return {"id": "user_loopback", "pods": [pod.as_json() for pod in self.pods], "secrets": secrets}

    def _pod(self, asked: Field, by: str) -> dict[str, Any] | None:
        pod = self.account.pods.get(str(asked.input.get("podId")))
        return pod.as_json() if pod and by in ("account", pod.id) else None

    def _gpu_types(self, asked: Field, by: str) -> list[dict[str, Any]]:
        wanted = asked.input.get("id")
        return [card.as_json() for card in self.cards.values() if wanted in (None, card.id)]

    def _deploy(self, asked: Field, by: str) -> dict[str, Any]:
        self._only_the_account(by)
        return self.account.deploy(asked.input).as_json()

    def _edit(self, asked: Field, by: str) -> dict[str, Any]:
        self._only_the_account(by)
        return self.account.edit(asked.input).as_json()

    def _terminate(self, asked: Field, by: str) -> None:
        pod = str(asked.input.get("podId"))
        if by not in ("account", pod):
            raise GraphqlError("pod not found to terminate")
        if by == "account":
            self.account.end(pod, "account")
            return
        # It ends while it waits for this answer, so the answer goes out first.
        threading.Timer(0.2, self._end_itself, [pod]).start()

    def _end_itself(self, pod: str) -> None:
        if pod in self.account.pods:
            self.account.end(pod, "itself")

    def _refuse(self, asked: Field, by: str) -> None:
        raise GraphqlError("A stopped pod still costs; terminate it.")

    def _create_secret(self, asked: Field, by: str) -> dict[str, str]:
        self._only_the_account(by)
        return self.account.add_secret(str(asked.input["name"]), str(asked.input["value"]))

    def _delete_secret(self, asked: Field, by: str) -> None:
        self._only_the_account(by)
        self.account.remove_secret(str(asked.arguments.get("id")))

    def _only_the_account(self, by: str) -> None:
        if by != "account":
            raise GraphqlError("This key may not do that.")


def _fail(handler: BaseHTTPRequestHandler, fault: PodFault) -> None:
    if fault.kind == "error":
        _send_json(handler, 200, {"errors": [{"message": fault.message}], "data": None})
    elif fault.kind in ("status", "apply_then_status"):
        _send(handler, fault.status, b"<html>Bad gateway</html>")
    else:
        handler.close_connection = True


def _send_json(handler: BaseHTTPRequestHandler, status: int, data: dict[str, Any]) -> None:
    _send(handler, status, json.dumps(data).encode())


def _send(handler: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(content)))
    try:
        handler.end_headers()
        handler.wfile.write(content)
    except ConnectionError:
        handler.close_connection = True  # who asked has not waited
