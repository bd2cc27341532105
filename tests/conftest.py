"""Fixtures come from the package, so that other projects can use them too."""

pytest_plugins = ["llmcourse.testing.plugin"]
