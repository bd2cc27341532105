"""The plot of scores: title, values, standard errors, names that are whole."""

from pathlib import Path

import pytest
from PIL import Image

from llmcourse.autoeval.plot import save_plot
from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.scores import scores
from llmcourse.autoeval.suite import Group, Suite, Task


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        assert image.text.get("Software") is None  # type: ignore[attr-defined]
        return image.size


def test_the_same_figures_give_the_same_file_and_more_bars_a_higher_one(tmp_path: Path) -> None:
    one = {"me/a": {"AGIEval": 31.2, "GPT4All": 60.1}}
    errors = {"me/a": {"AGIEval": 2.0, "GPT4All": 1.0}}
    for name in ("a", "b"):
        save_plot("nous: score by group", one, errors, tmp_path / f"{name}.png")
    save_plot("nous", one | {"me/b": {"AGIEval": 100.0}}, {}, tmp_path / "c.png")
    save_plot("nous: score by group", one, {}, tmp_path / "d.png")
    pictures = {path.stem: path.read_bytes() for path in tmp_path.iterdir()}
    assert pictures["a"] == pictures["b"] != pictures["d"]
    assert size_of(tmp_path / "c.png")[1] > size_of(tmp_path / "a.png")[1]


def test_a_group_s_error_is_that_of_the_mean_of_its_tasks() -> None:
    group = Group(name="G", tasks=[Task(name="a"), Task(name="b")], metric=["acc"])
    results = {
        name: TaskResult("m", name, metrics={"acc,none": 0.5}, stderr={"acc,none": error}, samples=10)
        for name, error in (("a", 0.03), ("b", 0.04))
    }
    [score] = scores(Suite(name="s", groups=[group]), {"m": results}, "m")
    assert score.value == 50 and score.error == pytest.approx(2.5)
    results["b"].stderr.clear()
    assert scores(Suite(name="s", groups=[group]), {"m": results}, "m")[0].error is None
