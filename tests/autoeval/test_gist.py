"""Gists: private unless public is asked for, one for a model and suite, never lost and never doubled."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from llmcourse.autoeval.config import Config, Publish
from llmcourse.autoeval.publishing import look_up, publish_checks
from llmcourse.autoeval.publishing.gist import Gist, put
from llmcourse.autoeval.publishing.github import GitHub
from llmcourse.core.errors import PublishError
from llmcourse.core.machine import Machine
from llmcourse.core.plan import Check, Facts
from llmcourse.testing.github import LoopbackGitHub
from llmcourse.testing.hub import Fault

SUMMARY = Gist("mlabonne/AlphaMonarch-7B", "nous", False, "|Model|\n")


@pytest.fixture
def github() -> Iterator[LoopbackGitHub]:
    with LoopbackGitHub(page_size=3) as github:
        yield github


def client(github: LoopbackGitHub, token: str = "alice") -> GitHub:
    return GitHub(github.tokens[token], github.api_url)


@pytest.mark.parametrize(
    ("model", "suite", "name"),
    [
        ("mlabonne/AlphaMonarch-7B", "nous", "AlphaMonarch-7B-Nous.md"),
        ("me/x", "openllm", "x-Openllm.md"),
        ("me/x", "eq-bench", "x-Eq-bench.md"),
        ("folder", "leaderboard", "folder-Leaderboard.md"),
    ],
)
def test_a_gist_has_the_name_that_llm_autoeval_gives_it(model: str, suite: str, name: str) -> None:
    assert Gist(model, suite, False).file_name == name


@pytest.mark.parametrize("is_public", [False, True])
def test_a_gist_is_as_private_as_asked(github: LoopbackGitHub, is_public: bool) -> None:
    url = put(replace(SUMMARY, is_public=is_public), client(github))
    (made,) = github.gists.values()
    assert made.public is is_public and made.files == {SUMMARY.file_name: SUMMARY.text}
    assert url == f"https://gist.github.com/alice/{made.id}"


def test_a_second_run_updates_the_gist_it_made(github: LoopbackGitHub) -> None:
    first = put(SUMMARY, client(github))
    for number in range(5):  # it is on the second page by then
        github.add_gist("alice", True, {f"{number}.md": "text"})
    assert put(replace(SUMMARY, text="better"), client(github)) == first
    ours = [gist.files for gist in github.gists.values() if SUMMARY.file_name in gist.files]
    assert ours == [{SUMMARY.file_name: "better"}]


def test_the_same_text_is_no_revision(github: LoopbackGitHub) -> None:
    put(SUMMARY, client(github))
    put(SUMMARY, client(github))
    (made,) = github.gists.values()
    assert made.revisions == 1
    assert [method for method, _ in github.requests].count("POST") == 1


def test_a_public_gist_is_never_made_of_a_private_one_nor_the_other_way(github: LoopbackGitHub) -> None:
    private = put(SUMMARY, client(github))
    public = put(replace(SUMMARY, is_public=True, text="for all"), client(github))
    assert private != public
    assert {gist.public: gist.files[SUMMARY.file_name] for gist in github.gists.values()} == {
        False: SUMMARY.text,
        True: "for all",
    }


def test_what_others_made_is_left_alone(github: LoopbackGitHub) -> None:
    """A gist of LLM AutoEval, and one of another model whose name ends alike."""
    old = github.add_gist("alice", False, {SUMMARY.file_name: "of 2024"})
    other = replace(SUMMARY, model="somebody/AlphaMonarch-7B", text="theirs")
    put(other, client(github))
    put(SUMMARY, client(github))
    assert old.files == {SUMMARY.file_name: "of 2024"}
    assert sorted(gist.files[SUMMARY.file_name] for gist in github.gists.values()) == [
        "of 2024",
        "theirs",
        SUMMARY.text,
    ]


def test_files_that_were_added_to_the_gist_stay(github: LoopbackGitHub) -> None:
    put(SUMMARY, client(github))
    (made,) = github.gists.values()
    made.files["notes.md"] = "mine"
    put(replace(SUMMARY, text="better"), client(github))
    assert made.files == {SUMMARY.file_name: "better", "notes.md": "mine"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", "/gists", apply_then_drop=True),
        Fault("POST", "/gists", status=502),
        Fault("GET", "/gists", status=503, times=2),
        Fault("POST", "/gists", status=403, headers={"Retry-After": "0"}),
        Fault("GET", "/gists", times=1),
    ],
    ids=["answer lost", "bad gateway", "unavailable twice", "secondary rate limit", "reset"],
)
def test_what_passes_is_tried_again_and_makes_one_gist(github: LoopbackGitHub, fault: Fault) -> None:
    github.faults.append(fault)
    put(SUMMARY, client(github))
    assert len(github.gists) == 1 and fault.matches


@pytest.mark.parametrize(
    ("token", "fault", "sentences"),
    [
        ("expired", None, "GitHub refused your token (Bad credentials). Set GITHUB_TOKEN"),
        ("scopeless", None, "lacks the scope gist. Give the token in GITHUB_TOKEN the scope gist."),
        ("fine-readonly", None, "may not write gists (Resource not accessible by personal access token)"),
        ("action", None, "the token of a GitHub action cannot"),
        ("alice", Fault("POST", status=422, body="Validation Failed"), "invalid (Validation Failed)"),
        ("alice", Fault("GET", status=403, headers={"X-RateLimit-Remaining": "0"}), "rate limit is reached"),
        ("alice", Fault("GET", status=301, headers={"Location": "http://127.0.0.1:9/"}), "HTTP 301"),
    ],
)
def test_a_refusal_is_two_sentences_and_shows_no_token(
    github: LoopbackGitHub, token: str, fault: Fault | None, sentences: str
) -> None:
    github.faults += [fault] if fault else []
    with pytest.raises(PublishError) as caught:
        put(SUMMARY, client(github, token))
    said = f"{caught.value.what} {caught.value.fix}"
    assert sentences in said and caught.value.exit_code == 6
    assert github.tokens[token] not in repr(caught.value.__cause__) + said + repr(client(github, token))
    assert github.gists == {}


def test_a_network_that_is_away_is_said() -> None:
    with pytest.raises(PublishError, match="could not be reached"):
        put(SUMMARY, GitHub("ghp_x", "http://127.0.0.1:9"))


def config(gist: str) -> Config:
    return Config(model=["me/x"], suite="nous", publish=Publish(gist=gist))


def checks(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], gist: str = "private") -> list[Check]:
    """What the plan says of a gist, with these variables of the environment."""
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    wish = config(gist)
    facts = Facts(Machine(1, 1, 1, ()), {}, present=look_up(wish))
    return list(publish_checks(wish, facts))


@pytest.mark.parametrize(
    ("token", "status", "sentence"),
    [
        ("alice", "ok", "private, as alice"),
        ("fine", "ok", "private, as alice"),
        (None, "fail", "There is no GitHub token"),
        ("scopeless", "fail", "lacks the scope gist"),
        ("expired", "fail", "refused your token"),
        ("action", "fail", "the token of a GitHub action"),
    ],
)
def test_the_plan_knows_whether_the_token_will_do(
    github: LoopbackGitHub, monkeypatch: pytest.MonkeyPatch, token: str | None, status: str, sentence: str
) -> None:
    (check,) = checks(monkeypatch, github.env(token))
    assert check.status == status and sentence in f"{check.what} {check.fix}"
    assert check.exit_code == (4 if status == "fail" else 0)
    assert "ghp_" not in f"{check}"


def test_the_plan_says_that_a_private_gist_cannot_become_public(
    github: LoopbackGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = put(replace(SUMMARY, model="me/x"), client(github))
    accepted, told = checks(monkeypatch, github.env(), "public")
    assert accepted.status == "ok" and told.status == "warn"
    assert "private gist" in told.what and "cannot change" in told.what and url in told.fix


def test_nothing_is_asked_where_nothing_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    assert look_up(Config(model=["me/x"], suite="nous")) == {}
