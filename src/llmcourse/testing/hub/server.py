"""`LoopbackHub`: the Hub that tests and the demo talk to, on 127.0.0.1 with its state under one folder."""

import time
from collections.abc import Iterable
from pathlib import Path

from llmcourse.testing.hub.accounts import Role, Scope
from llmcourse.testing.hub.faults import Fault
from llmcourse.testing.hub.handle import RepoHandle
from llmcourse.testing.hub.log import RequestRecord, weight_bytes
from llmcourse.testing.hub.repos import Kind
from llmcourse.testing.hub.routes import xet_token
from llmcourse.testing.hub.state import HubState
from llmcourse.testing.hub.transport import HubServer
from llmcourse.testing.loopback import Loopback

_YEAR_S = 365 * 86400


class LoopbackHub(Loopback):
    """A Hugging Face Hub for the real client. A second one on the same root (one at a time) knows all.

    `xet=False` offers plain LFS only. Repositories, users and faults can be set before the start.
    """

    def __init__(self, root: Path, port: int = 0, xet: bool = True) -> None:
        self.root = root
        self._port = port
        self._state = HubState(root, xet)

    def _listen(self) -> HubServer:
        expires = int(time.time()) + _YEAR_S
        cas_token = xet_token(self._state, "read", expires, "hub", "own")
        server = HubServer(self._port, self._state)
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        self._state.endpoint = endpoint
        self._state.xet_store.cas_url = f"{endpoint}/internal-cas"
        self._state.xet_store.cas_token = cas_token
        return server

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:<port>`, known from the start on."""
        return self._state.endpoint

    @property
    def settings(self) -> HubState:
        """`latency_s`, `upload_pace.bytes_per_s`, `rate_limits`, `page_size`, `lfs_part_bytes` and
        `xet_token_ttl_s` may be set at any time."""
        return self._state

    @property
    def tokens(self) -> dict[str, str]:
        """Token values by name: alice, bob, reader, fine, expired, and users added since."""
        return self._state.accounts.secrets()

    def add_user(self, name: str, orgs: Iterable[str] = (), role: Role = "write") -> str:
        """Register a user and return their token."""
        return self._state.accounts.add_user(name, orgs, role).secret

    def add_token(self, name: str, user: str, role: Role, scopes: tuple[Scope, ...] = ()) -> str:
        """Give a user one more token, fine-grained for example, and return it."""
        return self._state.accounts.add_token(name, user, role, scopes).secret

    def env(self, user: str | None = "alice", *, home: Path, xet: bool = True) -> dict[str, str]:
        """Variables that point a client process at this hub. Read at import: set them before it starts.

        `user` is a name in `tokens`, or None to be anonymous; caches go under `home`.
        """
        variables = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_XET_TELEMETRY_ENABLED": "0",
            "HF_XET_CLIENT_RETRY_BASE_DELAY": "200ms",
            "NO_PROXY": "127.0.0.1",
        }
        if user is not None:
            variables["HF_TOKEN"] = self.tokens[user]
        if not (xet and self._state.xet):
            # A client that may use Xet never falls back to LFS for uploads (huggingface_hub 2.4.0).
            variables["HF_HUB_DISABLE_XET"] = "1"
        return variables

    @property
    def faults(self) -> list[Fault]:
        """The fault rules in force; append to it."""
        return self._state.faults.rules

    def clear_faults(self) -> None:
        self._state.faults.rules.clear()

    @property
    def requests(self) -> list[RequestRecord]:
        """Every request so far, oldest first."""
        return self._state.log.records()

    def clear_requests(self) -> None:
        self._state.log.clear()

    def weight_bytes_served(self) -> int:
        """Bytes of model weights sent: weight files beyond the safetensors header, and xorbs."""
        return weight_bytes(self.requests)

    def repo(self, repo_id: str, kind: Kind = "model") -> RepoHandle:
        """Look into, or seed, a repository without HTTP."""
        return RepoHandle(self._state, repo_id, kind)
