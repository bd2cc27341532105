"""Gathers the route modules; importing this one registers every route, in the order they are tried."""

from llmcourse.testing.hub import (
    discussions,
    routes_commit,
    routes_info,
    routes_lfs,
    routes_read,
    routes_repo,
    routes_xet,
)
from llmcourse.testing.hub.routes_xet import xet_token

__all__ = [
    "discussions",
    "routes_commit",
    "routes_info",
    "routes_lfs",
    "routes_read",
    "routes_repo",
    "routes_xet",
    "xet_token",
]
