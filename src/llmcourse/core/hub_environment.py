"""What the environment says of the Hub, looked at before the client reads it: a fault names its variable.

The client takes an address without a scheme, or a token with a byte order mark, as they are, and fails later
with an error of the network that says nothing of why.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from llmcourse.core.errors import ConfigError, LlmcourseError, MissingError, PlanError, Problems

_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_PROXIES = ("http", "https", "all")
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")  # that httpx2 2.16 knows
_TOKEN_PAGE = "https://huggingface.co/settings/tokens"
_USUAL = "Unset it, or write it as https://huggingface.co."


def check_environment() -> None:
    """Raise what is wrong with the variables that the Hub's client reads.

    Raises:
        ConfigError: an address, a proxy or a token that cannot be one.
        MissingError: a proxy that needs a library.
        PlanError: there is no folder for the client's cache.
        Problems: several of these.
    """
    found = [*_endpoint(), *_proxy(), *_token(), *_home()]
    if found:
        raise found[0] if len(found) == 1 else Problems(found)


def _endpoint() -> Iterator[LlmcourseError]:
    said = os.environ.get("HF_ENDPOINT")
    if said is None:
        return
    what = f"HF_ENDPOINT is {said!r}"
    if not said.strip():
        yield ConfigError(f"{what}, which is no address.", _USUAL, "HF_ENDPOINT")
    elif said != "".join(said.split()) or not said.isprintable():
        fix = f"Set it to {''.join(said.split())!r}, or unset it."
        yield ConfigError(f"{what}, with a blank or a line's end in it.", fix, "HF_ENDPOINT")
    elif _scheme(said) not in ("http", "https"):
        yield ConfigError(f"{what}, which does not begin with https:// or http://.", _USUAL, "HF_ENDPOINT")
    elif not _has_host(said):
        yield ConfigError(f"{what}, which names no machine.", _USUAL, "HF_ENDPOINT")


def _proxy() -> Iterator[LlmcourseError]:
    proxies = getproxies()
    for kind in _PROXIES:
        said = proxies.get(kind, "")
        if not said:
            continue
        name, shown = variable_of(kind), without_password(said)
        url = said if "://" in said else f"http://{said}"
        if _scheme(url) not in _PROXY_SCHEMES or not _has_host(url) or said != "".join(said.split()):
            yield ConfigError(
                f"{name} is {shown!r}, which is no proxy that can be used.",
                f"Unset it, or write it as http://host:port (or {', '.join(_PROXY_SCHEMES[1:])}).",
                name,
            )
        elif _scheme(url).startswith("socks") and find_spec("socksio") is None:
            yield MissingError(
                f"{name} is {shown!r}, and the library socksio, which SOCKS needs, is not installed.",
                f"Run: pip install 'httpx2[socks]' (or unset {name}).",
                name,
            )


def _token() -> Iterator[LlmcourseError]:
    name = next((name for name in _TOKENS if os.environ.get(name)), None)
    if name is not None:
        yield from _odd_token(os.environ[name], name, f"Copy it again from {_TOKEN_PAGE}, or unset {name}.")
        return
    path = token_file()
    named = "HF_TOKEN_PATH" if os.environ.get("HF_TOKEN_PATH") else str(path)
    if not path.exists():
        return
    fix = "Unset HF_TOKEN_PATH, or name the file." if named == "HF_TOKEN_PATH" else "Move it elsewhere."
    if path.is_dir():
        yield ConfigError(f"{path} is a folder, and is to be the file with your Hub token.", fix, named)
        return
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        yield ConfigError(
            f"The file with your Hub token, {path}, cannot be read ({error.strerror}).",
            "Correct its rights, or set HF_TOKEN.",
            named,
        )
        return
    yield from _odd_token(text, str(path), "Run `hf auth login` again, or delete the file.")


def _odd_token(text: str, name: str, fix: str) -> Iterator[LlmcourseError]:
    """A token is sent in a header, which takes printable ASCII; it is never shown."""
    token = text.replace("\r", "").replace("\n", "").strip()  # as the client does
    if token.startswith("\ufeff"):
        yield ConfigError(f"The token in {name} begins with a byte order mark.", fix, name)
        return
    odd = next((at for at, character in enumerate(token) if not "!" <= character <= "~"), None)
    if odd is not None:
        kind = "a blank" if token[odd].isspace() else "a character that is not ASCII"
        yield ConfigError(f"The token in {name} has {kind} at place {odd + 1}; no token has that.", fix, name)


def token_file() -> Path:
    """Where the client looks for a token that no variable holds."""
    return Path(os.path.expanduser(os.environ.get("HF_TOKEN_PATH") or _hub_home() / "token"))  # noqa: PTH111


def _home() -> Iterator[LlmcourseError]:
    if str(_hub_home()).startswith("~"):
        yield PlanError(
            "There is no home folder for the cache of the Hub: HOME is not set, and this user has none.",
            "Set HOME, or HF_HOME and LLMCOURSE_CACHE, to a folder of yours.",
            "HOME",
        )


def _hub_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(os.environ.get("HF_HOME") or f"{cache}/huggingface"))  # noqa: PTH111


def sends_no_token() -> bool:
    """Whether the user wants the client to send a token only where one is given by name."""
    return os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in ("1", "ON", "YES", "TRUE")


def proxy_for(address: str) -> tuple[str, str] | None:
    """The variable and the value of the proxy through which an address is asked, None where it is not."""
    parts = urlsplit(address)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    kind = next((kind for kind in (parts.scheme, "all") if proxies.get(kind)), None)
    return (variable_of(kind), without_password(proxies[kind])) if kind else None


def variable_of(kind: str) -> str:
    """HTTPS_PROXY of `https`, as it is spelled in this environment; small letters win, as for the client."""
    name = f"{kind}_proxy"
    return next((each for each in (name, name.upper()) if os.environ.get(each)), name.upper())


def without_password(address: str) -> str:
    head, at, host = address.rpartition("@")
    return f"{head.partition('://')[0]}://***@{host}" if at else address


def _scheme(address: str) -> str:
    try:
        return urlsplit(address).scheme.lower()
    except ValueError:
        return ""


def _has_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
