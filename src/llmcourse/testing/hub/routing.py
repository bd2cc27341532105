"""Which function answers which request, and who is asking."""

import re
from collections.abc import Callable
from urllib.parse import unquote

from llmcourse.testing.hub.accounts import Token
from llmcourse.testing.hub.protocol import HubError, Request, Response, repo_not_found
from llmcourse.testing.hub.repos import Kind
from llmcourse.testing.hub.state import HubState

Route = Callable[..., Response]

API_REPO = r"/api/(?P<kind>models|datasets|spaces)/(?P<repo_id>[^/]+/[^/]+)"
WEB_REPO = r"/(?:(?P<kind>datasets|spaces)/)?(?P<repo_id>[^/]+/[^/]+)"
REVISION = r"/(?P<revision>[^/]+)"

KINDS: dict[str | None, Kind] = {None: "model", "models": "model", "datasets": "dataset", "spaces": "space"}
_REPO_SHAPED = re.compile(r"/api/(models|datasets|spaces)/.+|/.+/resolve/.+")
# Storage URLs carry their own permission: none (as presigned URLs) or a Xet token.
_STORAGE_PREFIXES = ("/lfs/", "/cas/", "/internal-cas/", "/v1/")

_routes: list[tuple[frozenset[str], re.Pattern[str], Route]] = []


def route(methods: str, pattern: str) -> Callable[[Route], Route]:
    """Register a function for `methods` (separated by spaces) on a path; groups become its arguments."""

    def register(function: Route) -> Route:
        _routes.append((frozenset(methods.split()), re.compile(pattern), function))
        return function

    return register


def authenticate(state: HubState, request: Request) -> tuple[Token | None, str | None]:
    """The request's token and the name the log shows (a Xet token starts with the name it was given for).

    Raises:
        HubError: 401, the token is unknown or expired.
    """
    scheme, _, secret = (request.headers.get("Authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        return None, None
    if request.path.startswith(_STORAGE_PREFIXES):
        return None, f"xet:{secret.rsplit('.', 4)[0]}"
    token = state.accounts.find(secret)
    if token is None:
        raise HubError(401, "Invalid credentials in Authorization header")
    if token.is_expired:
        raise HubError(401, f'User Access Token "{token.name}" is expired')
    return token, token.name


def dispatch(state: HubState, request: Request) -> Response:
    """Call the route of a request.

    A path that names a repository but fits no route is a missing repository: the client tells that
    from other 404 answers by the error code only.
    """
    for methods, pattern, function in _routes:
        match = pattern.fullmatch(request.path)
        if match is not None and request.method in methods:
            groups = {name: value and unquote(value) for name, value in match.groupdict().items()}
            if "kind" in groups:
                groups["kind"] = KINDS[groups["kind"]]
            return function(state, request, **groups)
    if _REPO_SHAPED.fullmatch(request.path):
        raise repo_not_found(request.token)
    raise HubError(404, "Sorry, we can't find the page you are looking for.")
