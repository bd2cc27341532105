"""Users, their organizations and their tokens, kept in `accounts.json` so that a restart knows them.

Roles are the real Hub's: `write`, `read`, and `fineGrained` with permissions per user, organization
or repository. What it does not do: paid plans, roles inside organizations, sign-in sessions.
"""

import json
import secrets
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Role = Literal["write", "read", "fineGrained"]


@dataclass(frozen=True)
class Scope:
    """Permissions of a fine-grained token on one entity; a user or organization covers its repos."""

    entity_type: str
    entity: str
    permissions: tuple[str, ...]


@dataclass(frozen=True)
class Token:
    """An access token. `name` is the key in `LoopbackHub.tokens`."""

    name: str
    user: str
    role: Role
    secret: str = field(repr=False)
    is_expired: bool = False
    scopes: tuple[Scope, ...] = ()
    can_read_gated: bool = True

    def allows(self, permission: str, repo_id: str, kind: str = "model") -> bool:
        """Whether the token's role lets it do `permission`; who owns the repo is not asked here."""
        if self.role == "write":
            return True
        if self.role == "read":
            return permission == "repo.content.read"
        owner = repo_id.split("/")[0]
        wanted = {("user", owner), ("org", owner), (kind, repo_id)}
        return any(
            (scope.entity_type, scope.entity) in wanted and permission in scope.permissions
            for scope in self.scopes
        )


class Accounts:
    """The register. Starts with alice (organization acme) and bob, and tokens that cover each role."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._orgs: dict[str, tuple[str, ...]] = {}
        self._tokens: dict[str, Token] = {}
        if path.exists():
            self._load()
        else:
            self._create_defaults()

    def _create_defaults(self) -> None:
        self.add_user("alice", orgs=("acme",))
        self.add_user("bob")
        self.add_token("reader", "alice", "read")
        reads, writes = ("repo.content.read",), ("repo.content.read", "repo.write")
        scopes = (Scope("user", "alice", reads), Scope("org", "acme", writes))
        self.add_token("fine", "alice", "fineGrained", scopes)
        token = self.add_token("expired", "alice", "write")
        self._tokens["expired"] = replace(token, is_expired=True)
        self._save()

    def _load(self) -> None:
        data = json.loads(self._path.read_text(encoding="utf-8"))
        self._orgs = {user: tuple(orgs) for user, orgs in data["orgs"].items()}
        for raw in data["tokens"]:
            scopes = tuple(
                Scope(s["entity_type"], s["entity"], tuple(s["permissions"])) for s in raw.pop("scopes")
            )
            self._tokens[raw["name"]] = Token(scopes=scopes, **raw)

    def _save(self) -> None:
        data = {"orgs": self._orgs, "tokens": [asdict(token) for token in self._tokens.values()]}
        self._path.write_text(json.dumps(data, indent=1), encoding="utf-8")

    def add_user(self, name: str, orgs: Iterable[str] = (), role: Role = "write") -> Token:
        """Register a user and give them a token of their own name."""
        self._orgs[name] = tuple(orgs)
        return self.add_token(name, name, role)

    def add_token(self, name: str, user: str, role: Role, scopes: tuple[Scope, ...] = ()) -> Token:
        """Give `user` one more token."""
        token = Token(name, user, role, f"hf_{name}{secrets.token_hex(14)}", scopes=scopes)
        with self._lock:
            self._tokens[name] = token
            self._save()
        return token

    def secrets(self) -> dict[str, str]:
        """Token values by token name."""
        return {name: token.secret for name, token in self._tokens.items()}

    def find(self, secret: str) -> Token | None:
        """The token with this value."""
        return next((token for token in list(self._tokens.values()) if token.secret == secret), None)

    def is_member(self, user: str, namespace: str) -> bool:
        """Whether `user` is, or belongs to, `namespace`."""
        return user == namespace or namespace in self._orgs.get(user, ())

    def whoami(self, token: Token) -> dict[str, Any]:
        """The body of `GET /api/whoami-v2`."""
        access: dict[str, Any] = {"displayName": token.name, "role": token.role}
        if token.role == "fineGrained":
            access["fineGrained"] = {
                "canReadGatedRepos": token.can_read_gated,
                "global": [],
                "scoped": [
                    {
                        "entity": {"_id": "0" * 24, "type": scope.entity_type, "name": scope.entity},
                        "permissions": list(scope.permissions),
                    }
                    for scope in token.scopes
                ],
            }
        return {
            "type": "user",
            "id": "0" * 24,
            "name": token.user,
            "fullname": token.user.title(),
            "isPro": False,
            "orgs": [
                {"type": "org", "id": "0" * 24, "name": org, "fullname": org, "roleInOrg": "write"}
                for org in self._orgs[token.user]
            ],
            "auth": {"type": "access_token", "accessToken": access},
        }
