"""What the YAML of a pipeline may say."""

from typing import Any

from pydantic import Field, field_validator

from llmcourse.core.config import ConfigFile, Strict

Value = str | int | float | bool


class Step(Strict):
    """One command, on a config of its own, a file, or both."""

    command: str | None = Field(None, description="The command; by default the step's own name.")
    config: str | None = Field(None, description="A config file of that command, beside the pipeline's.")
    with_: dict[str, Any] = Field(
        {}, alias="with", description="Keys of that command's config; they win over the file's."
    )
    push: str | None = Field(None, description="Publish the result to this Hub repository, as --push does.")
    private: bool = Field(False, description="Create that repository as private.")
    revision: str | None = Field(None, description="Branch to publish to.")


class Config(ConfigFile):
    """Steps that name each other's results as ${step}, and what they are repeated over."""

    output: str | None = Field(
        None, description="Folder with one folder for each step; by default named as the file."
    )
    matrix: dict[str, list[Value]] = Field(
        {}, description="Values for ${matrix.name}: a step that uses one is repeated for each of them."
    )
    steps: dict[str, Step] = Field(min_length=1, description="What is done, by its name.")

    @field_validator("matrix")
    @classmethod
    def _no_empty_axis(cls, matrix: dict[str, list[Value]]) -> dict[str, list[Value]]:
        for name, values in matrix.items():
            if not values or len({str(value) for value in values}) < len(values):
                raise ValueError(f"matrix.{name} has no value, or one twice | Give each value once.")
        return matrix


class Publication(ConfigFile):
    """What a step with the command `push` may say."""

    artifact: str = Field(description="The step whose result is published, as ${step}.")
    repo: str = Field(description="Repository id on the Hub, as user/name.")
    private: bool = Field(False, description="Create the repository as private.")
    revision: str | None = Field(None, description="Branch to publish to.")
