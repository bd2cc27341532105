"""An extra brings what its command needs, where nothing else is; without it, a plan names it."""

import pytest

from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli
from tests.package.installing import Alone, done
from tests.package.jobs import JOBS, LEADERBOARD, carry_out, program

# As the sentence of a plan names it; ray's workers evaluate.
NAMED = {"ray": "eval,ray"}


@pytest.mark.parametrize("extra", [extra for extra in JOBS if extra != "tree"])
def test_without_its_extra_a_plan_names_it(core: Cli, family: Family, extra: str) -> None:
    cli = program(core, core.python, family)
    arguments = [part for part in JOBS[extra].arguments if part != "--dry-run"]
    result = cli(*arguments, "--dry-run", "--json")
    sentences = [check["fix"] for check in result.json["checks"] if check["exit_code"] == 3]
    assert f"Run: pip install 'llmcourse[{NAMED.get(extra, extra)}]'" in sentences
    # What else cannot work says more than a library that is not installed.
    others = {check["exit_code"] for check in result.json["checks"]} - {0, 3}
    assert result.exit_code == (max(others) if others else 3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("extra", JOBS)
def test_an_extra_alone_is_enough_for_its_job(
    llmcourse: Cli, family: Family, alone: Alone, extra: str
) -> None:
    carry_out(program(llmcourse, alone(extra), family), extra)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_extra_all_is_enough_for_every_plan(llmcourse: Cli, family: Family, alone: Alone) -> None:
    cli = program(llmcourse, alone("all"), family)
    for job in (job for extra, job in JOBS.items() if extra != "tree"):
        arguments = [part for part in job.arguments if part != "--dry-run"]
        result = cli(*arguments, "--dry-run", "--json")
        refused = {check["name"] for check in result.json["checks"] if check["status"] == "fail"}
        assert refused <= job.refused, (arguments, result.stdout)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_leaderboards_tasks_find_their_libraries(alone: Alone) -> None:
    done(alone("leaderboard"), "-c", LEADERBOARD)
