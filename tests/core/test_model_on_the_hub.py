"""What a model of the Hub is: its files by their hashes, wherever they were read."""

import pytest

from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.hub.client import run_client
from llmcourse.testing.models import Family

MODEL = "alice/tiny"


@pytest.fixture
def published(hub: LoopbackHub, family: Family) -> LoopbackHub:
    hub.repo(MODEL).add_files({path.name: path for path in family.base.iterdir()})
    return hub


def identity(model: str, is_offline: bool = False) -> object:
    """In a process of its own."""
    from huggingface_hub import constants

    from llmcourse.core.hub import read_hub_model
    from llmcourse.core.model import ModelRef

    constants.HF_HUB_OFFLINE = is_offline
    return read_hub_model(ModelRef.parse(model)).identity


def download(model: str) -> None:
    from llmcourse.core import hub
    from llmcourse.core.model import ModelRef
    from llmcourse.core.progress import Progress

    hub.download(hub.read_hub_model(ModelRef.parse(model)), Progress(lambda event: None))


def test_a_card_and_figures_make_no_other_model_but_a_configuration_does(published: LoopbackHub) -> None:
    before = run_client(published, identity, MODEL)
    published.repo(MODEL).add_files({"README.md": b"other", ".eval_results/a.yaml": b"- {}"})
    assert run_client(published, identity, MODEL) == before
    published.repo(MODEL).add_files({"generation_config.json": b"{}"})
    assert run_client(published, identity, MODEL) != before


def test_offline_it_is_the_same_model(published: LoopbackHub) -> None:
    online = run_client(published, identity, MODEL)
    run_client(published, download, MODEL)
    assert run_client(published, identity, MODEL, True) == online
