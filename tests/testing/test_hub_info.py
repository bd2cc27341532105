"""What the loopback Hub says of models: ETags, rate limits, old names, counts; asked by plain HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils._http import parse_ratelimit_headers

from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.hub.client import run_client


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def get(hub: LoopbackHub, path: str, user: str | None = None, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if user:
        sent["Authorization"] = f"Bearer {hub.tokens[user]}"
    try:
        with urllib.request.urlopen(urllib.request.Request(hub.endpoint + path, headers=sent)) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read(), answer.url)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read(), error.url or "")


@pytest.fixture
def seeded(hub: LoopbackHub) -> LoopbackHub:
    for number in range(3):
        card = f"---\nlicense: mit\nbase_model: acme/base{number}\n---\n".encode()
        hub.repo(f"acme/m{number}").add_files({"README.md": card})
    return hub


@pytest.mark.parametrize("path", ["/api/models/acme/m0?expand=cardData", "/api/models?filter=license:mit"])
def test_an_answer_that_did_not_change_is_not_sent_again(seeded: LoopbackHub, path: str) -> None:
    first = get(seeded, path)
    again = get(seeded, path, If_None_Match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"") and again.headers["ETag"] == first.headers["ETag"]
    seeded.repo("acme/m0").add_files({"README.md": b"---\nlicense: gemma\n---\n"})
    changed = get(seeded, path, If_None_Match=first.headers["ETag"])
    assert changed.status == 200 and changed.headers["ETag"] != first.headers["ETag"]


def test_errors_and_files_keep_their_own_etags(seeded: LoopbackHub) -> None:
    assert "ETag" not in get(seeded, "/api/models/acme/none").headers
    assert not get(seeded, "/acme/m0/resolve/main/README.md").headers["ETag"].startswith("W/")


def test_a_rate_limit_counts_a_users_requests_and_says_what_is_left(seeded: LoopbackHub) -> None:
    seeded.settings.rate_limits.api = 2
    seeded.settings.rate_limits.window_s = 60
    answers = [get(seeded, "/api/models/acme/m0") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    said = [parse_ratelimit_headers(dict(answer.headers)) for answer in answers]
    assert [
        info and (info.resource_type, info.remaining, info.limit, info.window_seconds) for info in said
    ] == [
        ("api", 1, 2, 60),
        ("api", 0, 2, 60),
        ("api", 0, 2, 60),
    ]
    assert said[2] is not None and 58 <= said[2].reset_in_seconds <= 60
    assert get(seeded, "/api/models/acme/m0", user="bob").status == 200
    files = get(seeded, "/acme/m0/resolve/main/README.md")
    assert files.status == 200 and "RateLimit" not in files.headers


def test_a_rate_limits_window_ends(seeded: LoopbackHub) -> None:
    seeded.settings.rate_limits.resolvers = 1
    seeded.settings.rate_limits.window_s = 0.3
    statuses = {get(seeded, "/acme/m0/resolve/main/README.md").status for _ in range(5)}
    assert statuses == {200, 429}
    seeded.settings.rate_limits.window_s = 0
    assert get(seeded, "/acme/m0/resolve/main/README.md").status == 200


def test_an_old_name_leads_to_the_new_one(seeded: LoopbackHub, tmp_path: Path) -> None:
    seeded.repo("acme/m0").rename("beta/n0")
    answer = get(seeded, "/api/models/acme/m0?expand=sha")
    assert answer.json["id"] == "beta/n0" and answer.url.endswith("/api/models/beta/n0?expand=sha")
    assert get(seeded, "/acme/m0/resolve/main/README.md").status == 200
    assert get(seeded, "/api/models?author=acme").json[0]["id"] == "acme/m1"
    seeded.stop()
    with LoopbackHub(tmp_path / "hub") as restarted:
        assert get(restarted, "/api/models/acme/M0").json["id"] == "beta/n0"
        restarted.repo("beta/n0").delete()
        assert get(restarted, "/api/models/acme/m0").status == 401


def test_a_name_without_owner_is_an_old_name(seeded: LoopbackHub) -> None:
    handle = seeded.repo("acme/m0")
    handle.rename("m0")
    handle.rename("acme-community/m0")
    assert get(seeded, "/api/models/m0").json["id"] == "acme-community/m0"
    assert get(seeded, "/api/models/m9").status == 401


def test_counts_and_dates_are_as_described(seeded: LoopbackHub) -> None:
    for number in range(3):
        seeded.repo(f"acme/m{number}").describe(downloads=10 * number, likes=3 - number)
    seeded.repo("acme/m1").describe(downloads=99, created_at="2025-02-03T04:05:06.000Z", gguf={"total": 7})
    by_downloads = get(
        seeded, "/api/models?sort=downloads&expand=downloads&expand=createdAt&expand=gguf"
    ).json
    assert [model["id"] for model in by_downloads] == ["acme/m1", "acme/m2", "acme/m0"]
    assert by_downloads[0]["createdAt"] == "2025-02-03T04:05:06.000Z"
    assert [model["gguf"] for model in by_downloads] == [{"total": 7}, None, None]
    assert get(seeded, "/api/models?sort=likes").json[0]["id"] == "acme/m0"


def test_a_disabled_repository_is_closed_to_all(seeded: LoopbackHub) -> None:
    seeded.repo("acme/m0").describe(is_disabled=True)
    assert get(seeded, "/api/models/acme/m0").status == 401
    answer = get(seeded, "/api/models/acme/m0", user="bob")
    assert (answer.status, answer.headers["X-Error-Message"]) == (403, "Access to this resource is disabled.")
    assert get(seeded, "/acme/m0/resolve/main/README.md", user="alice").status == 403


def do_disabled(repo: str) -> str:
    from huggingface_hub.errors import DisabledRepoError

    try:
        return str(HfApi().model_info(repo).id)
    except DisabledRepoError:
        return "disabled"


def test_the_client_knows_a_disabled_repository(seeded: LoopbackHub) -> None:
    seeded.repo("acme/m0").describe(is_disabled=True)
    assert run_client(seeded, do_disabled, "acme/m0") == "disabled"
