"""Rate limits that are obeyed, answers that are kept, and walks without any network."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from llmcourse.core.hub.kept_answers import Answer, KeptAnswers
from llmcourse.family_tree.graph import State
from llmcourse.testing.hub import Fault, LoopbackHub
from tests.family_tree.conftest import Seed, Walker


@pytest.fixture
def wide(seed: Seed) -> str:
    """A model with twenty parents."""
    parents = [seed(f"acme/p{number}", license="mit") for number in range(20)]
    return seed("acme/m", license="mit", base_model=parents, base_model_relation="merge")


def statuses(walk: Walker) -> list[int]:
    return [record.status for record in walk.hub.requests]


def test_a_budget_is_kept_to(walk: Walker, wide: str) -> None:
    walk.hub.settings.rate_limits.api = 9
    walk.hub.settings.rate_limits.window_s = 3.0
    begin = time.monotonic()
    walked = walk(wide)
    assert len(walked.graph.nodes) == 21 and walked.findings("unreadable") == []
    # Twenty-one requests in windows of nine: nobody was refused, because all knew what was left.
    assert statuses(walk) == [200] * 21
    assert 6 < time.monotonic() - begin < 11
    assert len(walked.told) == 2
    assert all("for the Hub's rate limit of 9 requests in 3 s" in sentence for sentence in walked.told)
    assert walked.told[0].startswith(("waiting 3 s", "waiting 4 s")) and "hf auth login" in walked.told[0]


def test_a_refusal_is_waited_for(walk: Walker, wide: str) -> None:
    headers = {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    walk.hub.faults.append(Fault(path="/acme/p3", status=429, headers=headers, times=2))
    walked = walk(wide, user="alice")
    assert walked.graph.nodes["acme/p3"].state is State.READ
    assert statuses(walk).count(429) == 2
    assert len(walked.told) == 2
    assert all("for the Hub's rate limit of 500 requests in 300 s" in sentence for sentence in walked.told)


def test_a_refusal_by_retry_after(walk: Walker, wide: str) -> None:
    walk.hub.faults.append(Fault(path="/acme/p3", status=429, headers={"Retry-After": "1"}))
    begin = time.monotonic()
    assert walk(wide).graph.nodes["acme/p3"].state is State.READ
    assert 1 < time.monotonic() - begin < 5


def test_a_refusal_that_says_nothing_is_waited_for_and_told(walk: Walker, wide: str) -> None:
    walk.hub.faults.append(Fault(path="/acme/p3", status=429))
    walked = walk(wide)
    assert walked.graph.nodes["acme/p3"].state is State.READ
    assert len(walked.told) == 1 and "for the Hub's rate limit" in walked.told[0]


def test_a_refusal_until_a_date(walk: Walker, wide: str) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    walk.hub.faults.append(Fault(path="/acme/p3", status=429, headers={"Retry-After": until}))
    begin = time.monotonic()
    assert walk(wide).graph.nodes["acme/p3"].state is State.READ
    assert 1 < time.monotonic() - begin < 8


def test_files_have_a_limit_of_their_own(walk: Walker, seed: Seed) -> None:
    seed("acme/base", license="mit")
    recipe = {"mergekit_config.yml": "models: [{model: acme/base}]\nmerge_method: passthrough\n"}
    names = [seed(f"acme/m{number}", recipe, license="mit") for number in range(6)]
    walk.hub.settings.rate_limits.resolvers = 4
    walk.hub.settings.rate_limits.window_s = 2.0
    assert len(walk(*names).edges) == 6


def test_what_has_not_changed_is_not_sent_again(walk: Walker, wide: str) -> None:
    first = walk(wide)
    sent = sum(record.response_bytes for record in walk.hub.requests)
    walk.hub.clear_requests()
    second = walk(wide)
    assert second.graph == first.graph
    assert statuses(walk) == [304] * 21
    assert sum(record.response_bytes for record in walk.hub.requests) == 0 < sent


def test_what_has_changed_is_sent_again(walk: Walker, seed: Seed, wide: str) -> None:
    walk(wide)
    seed("acme/p7", license="gemma")
    walk.hub.clear_requests()
    assert walk(wide).graph.nodes["acme/p7"].licence == "gemma"
    assert statuses(walk).count(200) == 1


def test_lists_and_files_are_kept_too(walk: Walker, seed: Seed) -> None:
    seed("acme/base", license="mit")
    recipe = {"mergekit_config.yml": "models: [{model: acme/base}]\nmerge_method: passthrough\n"}
    seed("acme/m", recipe, license="mit")
    seed("acme/child", license="mit", base_model="acme/m")
    first = walk("acme/m", direction="both")
    walk.hub.clear_requests()
    assert walk("acme/m", direction="both").graph == first.graph
    assert set(statuses(walk)) == {304}
    assert not any(
        "/resolve/" in record.path for record in walk.hub.requests
    )  # a commit's files never change


def test_offline_the_kept_answers_are_all_there_is(walk: Walker, seed: Seed, wide: str) -> None:
    seed("acme/n", license="mit", base_model=["acme/m", "acme/gone"])
    first = walk("acme/n")
    walk.hub.clear_requests()
    walk.hub.stop()
    assert walk("acme/n", is_offline=True).graph == first.graph
    error = walk("acme/never", is_offline=True).error
    assert "not among the answers that earlier runs kept" in error["what"] and "Go online" in error["fix"]
    assert error["exit_code"] == 4


def test_offline_a_parent_that_was_not_kept(walk: Walker, seed: Seed, wide: str) -> None:
    walk(wide, depth=0)
    states = {node.state for node in walk(wide, is_offline=True).graph.nodes.values()}
    assert states == {State.READ, State.FAILED}


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\0" + bytes(200), None])
def test_a_damaged_cache_is_begun_anew(walk: Walker, wide: str, damage: bytes | None) -> None:
    first = walk(wide)
    (kept,) = (walk.folder / "cache").iterdir()
    kept.write_bytes(kept.read_bytes()[:5000] if damage is None else damage)
    assert walk(wide).graph == first.graph
    walk.hub.clear_requests()
    assert walk(wide).graph == first.graph
    assert statuses(walk) == [304] * 21


def test_answers_that_another_version_wrote_are_asked_for_again(walk: Walker, wide: str) -> None:
    first = walk(wide)
    (kept,) = (walk.folder / "cache").iterdir()
    with closing(sqlite3.connect(kept)) as file, file:
        file.execute("UPDATE answers_1 SET answer = '{\"other\": 1}'")
    assert walk(wide).graph == first.graph


def test_a_cache_that_cannot_be_written(walk: Walker, wide: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    walk.env["LLMCOURSE_CACHE"] = str(tmp_path / "file" / "cache")
    assert len(walk(wide).graph.nodes) == 21


def test_what_is_of_use_is_not_forgotten_and_what_is_not_is(walk: Walker, seed: Seed, wide: str) -> None:
    seed("acme/other", {"mergekit_config.yml": "models: [{model: acme/p1}]\nmerge_method: passthrough\n"})
    walk("acme/other")
    walk(wide)
    (kept,) = (walk.folder / "cache").iterdir()

    def days(sql: str = "SELECT kept_at FROM answers_1", *values: float) -> list[float]:
        with closing(sqlite3.connect(kept)) as file, file:
            return [(time.time() - row[0]) / 86_400 for row in file.execute(sql, values)]

    assert len(days()) == 21 + 2
    days("UPDATE answers_1 SET kept_at = ?", time.time() - 179 * 86_400)
    walk(wide)
    assert sorted(round(age) for age in days()) == [0] * 21 + [179] * 2
    days("UPDATE answers_1 SET kept_at = kept_at - ?", 2 * 86_400)
    walk(wide)
    assert len(days()) == 21


def test_answers_that_take_too_much_room_make_some(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCOURSE_CACHE", str(tmp_path))
    for number in range(5):
        answers = KeptAnswers(hub.endpoint, None)
        for each in range(20):
            answers.keep(f"{number} {each}", Answer(200, "x" * 1_500_000, "etag"))
        answers.close()
    answers = KeptAnswers(hub.endpoint, None)
    assert answers.find("0 0") is None and answers.find("4 19") == Answer(200, "x" * 1_500_000, "etag")
    answers.close()
    assert (tmp_path / "hub-answers.sqlite").stat().st_size < 150_000_000


def test_no_token_is_written_down(walk: Walker, wide: str) -> None:
    walk(wide, user="alice")
    kept = [path for path in (walk.folder / "cache").rglob("*") if path.is_file()]
    secret = walk.hub.tokens["alice"]
    assert kept and not any(secret.encode() in path.read_bytes() or secret in path.name for path in kept)
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}


def test_a_next_page_elsewhere_is_not_followed(walk: Walker, seed: Seed) -> None:
    seed("acme/base", license="mit")
    for number in range(3):
        seed(f"acme/c{number}", license="mit", base_model="acme/base")
    walk.hub.settings.page_size = 2
    headers = {"Link": '<http://127.0.0.1:9/api/models?cursor=2>; rel="next"'}
    body = '[{"id": "acme/c0", "tags": ["base_model:finetune:acme/base"]}]'
    walk.hub.faults.append(Fault(path="filter=base_model", status=200, headers=headers, body=body))
    walked = walk("acme/base", direction="down", depth=1)
    assert "acme/c0" in walked.graph.nodes
    assert "could not be reached" in walked.findings("unreadable")[0]


def test_no_network_at_all(walk: Walker, wide: str) -> None:
    walk.hub.stop()
    error = walk(wide).error
    assert error["exit_code"] == 4 and "could not be reached" in error["what"]
