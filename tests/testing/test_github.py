"""The loopback GitHub: what a client depends on, checked over HTTP as any client would."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from llmcourse.testing.github import LoopbackGitHub

FILE = {"a.md": {"content": "text"}}


@pytest.fixture
def github() -> Iterator[LoopbackGitHub]:
    with LoopbackGitHub(page_size=2) as github:
        yield github


def ask(github: LoopbackGitHub, method: str, path: str, data: Any = None, token: str = "alice") -> Any:
    headers = {"Authorization": f"Bearer {github.tokens.get(token, 'nobody')}"}
    body = None if data is None else json.dumps(data).encode()
    try:
        with urlopen(Request(github.api_url + path, body, headers, method=method)) as response:
            return response.status, json.loads(response.read() or b"null"), dict(response.headers)
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["message"], {}


@pytest.mark.parametrize(
    ("asked", "public"), [({}, False), ({"public": False}, False), ({"public": "false"}, False),
                          ({"public": True}, True), ({"public": "true"}, True)],
)  # fmt: skip
def test_a_gist_is_secret_unless_it_is_said(
    github: LoopbackGitHub, asked: dict[str, Any], public: bool
) -> None:
    status, made, _ = ask(github, "POST", "/gists", {"files": FILE, **asked})
    assert (status, made["public"]) == (201, public)


def test_a_change_never_changes_who_sees_it(github: LoopbackGitHub) -> None:
    gist = github.add_gist("alice", False, {"a.md": "old", "b.md": "kept"})
    _, changed, _ = ask(github, "PATCH", f"/gists/{gist.id}", {"files": FILE, "public": True})
    assert changed["public"] is False
    assert gist.files == {"a.md": "text", "b.md": "kept"} and gist.revisions == 2


def test_a_listing_is_in_pages_and_holds_only_ones_own(github: LoopbackGitHub) -> None:
    for number in range(3):
        github.add_gist("alice", number == 0, {f"{number}.md": "text"})
    github.add_gist("bob", True, {"bob.md": "text"})
    _, first, headers = ask(github, "GET", "/gists?per_page=100")
    assert len(first) == 2 and 'page=2>; rel="next"' in headers["Link"]
    _, second, headers = ask(github, "GET", "/gists?per_page=2&page=2")
    assert len(second) == 1 and "Link" not in headers
    assert "content" not in second[0]["files"]["0.md"]


@pytest.mark.parametrize(
    ("token", "status", "message"),
    [
        ("nobody", 401, "Bad credentials"),
        ("expired", 401, "Bad credentials"),
        ("scopeless", 404, "Not Found"),
        ("fine-readonly", 403, "Resource not accessible by personal access token"),
        ("action", 403, "Resource not accessible by integration"),
    ],
)
def test_a_token_that_may_not_is_refused_as_the_real_one_refuses_it(
    github: LoopbackGitHub, token: str, status: int, message: str
) -> None:
    assert ask(github, "POST", "/gists", {"files": FILE}, token)[:2] == (status, message)
    assert github.gists == {}


@pytest.mark.parametrize("data", [{}, {"files": {"a.md": {"content": ""}}}, {"files": FILE, "public": "x"}])
def test_what_is_no_gist_is_invalid(github: LoopbackGitHub, data: dict[str, Any]) -> None:
    assert ask(github, "POST", "/gists", data)[0] == 422


def test_scopes_are_shown_for_classic_tokens_alone(github: LoopbackGitHub) -> None:
    assert ask(github, "GET", "/user")[2]["X-OAuth-Scopes"] == "gist"
    assert "X-OAuth-Scopes" not in ask(github, "GET", "/user", token="fine")[2]


def test_somebody_elses_gist_can_be_read_and_not_changed(github: LoopbackGitHub) -> None:
    gist = github.add_gist("bob", False, {"a.md": "text"})
    assert ask(github, "GET", f"/gists/{gist.id}")[0] == 200
    assert ask(github, "PATCH", f"/gists/{gist.id}", {"files": FILE})[0] == 404
