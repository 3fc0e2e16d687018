"""Secrets are taken out of what is printed, logged, or sent to a server that shows it.

A secret is the user and password of any URL, a parameter of a query or a header that authorises, the value of
an environment variable whose name says so, and whatever `protect` was told.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote, urlsplit

MASK: Final = "***"

_NAMES = re.compile(
    r"(?:^|_)(?:API)?(?:KEY|KEYS|SECRETS?|PASSWORD|PASSWD|PASS|PASSPHRASE|TOKEN|TOKENS|CREDENTIALS?|AUTH|"
    r"AUTHORIZATION|COOKIE|WEBHOOK)(?:$|_)|_PWD$|AUTH_STRING|ACCESSKEY|SECRETKEY",
    re.IGNORECASE,
)
"""Names of environment variables that hold secrets. TOKENIZERS_PARALLELISM is none: parts count as wholes.
PWD alone is the working folder."""
_PLACES = re.compile(
    r"_(?:FILE|PATH|DIR|FOLDER|SOCK|ENABLED|TYPE|EXPIRATION|TIMEOUT|SECONDS)$", re.IGNORECASE
)
"""Ends of names that say where a secret is, or how it is used, and not what it is."""

_URL_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#]*@")
_URL_PASSWORD = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/:@]*:(?!\d+(?:[/?#\s]|$))(?:(?!://)[^\s\"'<>])*@"
)
"""A password with a slash in it, which SQLAlchemy accepts; host:port/...@ is no password."""
_QUERY = re.compile(
    r"([?&;][\w.-]*(?:token|key|secret|password|passwd|signature|credential|auth)[\w.-]*=)[^&\s\"'<>]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"((?:authorization|x-api-key|api-key|cookie)['\"]?\s*[:=]\s*['\"]?(?:(?:bearer|basic|token)\s+)?)[^\s'\",}]+",
    re.IGNORECASE,
)

_SHORTEST = 4  # characters; anything shorter would be found everywhere
_WHOLE_WORD = 12
"""Secrets below this length are replaced as whole words only: `admin` must not change `administrator`."""
_WORDS = ("true", "false", "none", "null", "basic", "bearer")

_protected: set[str] = set()


def protect(secret: str) -> None:
    """Count `secret` as one from now on, in this process, whatever its variable is called."""
    if len(secret) >= _SHORTEST:
        _protected.add(secret)


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` with *** in the place of each secret."""
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1{MASK}@", _URL_USER.sub(rf"\1{MASK}@", text))
    if "=" in text:
        text = _QUERY.sub(rf"\1{MASK}", text)
    text = _HEADER.sub(rf"\1{MASK}", text)
    pattern = _pattern(frozenset(_secrets(os.environ if environment is None else environment)) | _protected)
    return pattern.sub(MASK, text) if pattern else text


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that needs no secret."""
    return {name: value for name, value in environment.items() if not any(_secrets({name: value}))}


def without_user(url: str) -> str:
    """The address without user and password, for messages that name a server."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    """The secrets in environment variables, in the forms in which libraries print them."""
    for name, value in environment.items():
        if "://" in value:
            yield from _of_url(value)
        if _NAMES.search(name) and not _PLACES.search(name):
            yield value
            if "://" in value:  # A webhook: libraries print its path without its host.
                parts = urlsplit(value)
                yield parts.path + (f"?{parts.query}" if parts.query else "")
            elif "AUTH" in name.upper() and ":" in value:
                yield value.partition(":")[2]
                yield base64.b64encode(value.encode()).decode()


def _of_url(url: str) -> Iterator[str]:
    """The password of a URL, as it stands there and decoded."""
    user, separator, _ = url.partition("://")[2].rpartition("@")
    password = user.partition(":")[2]
    if separator and password:
        yield password
        yield unquote(password)


@lru_cache(maxsize=8)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    """What finds any of the secrets, the longest first; None if there is none."""
    written = {form for secret in secrets for form in (secret, quote(secret, safe=""), repr(secret)[1:-1])}
    found = sorted((s for s in written if _is_telling(s)), key=lambda secret: (-len(secret), secret))
    return re.compile("|".join(map(_as_pattern, found))) if found else None


def _is_telling(secret: str) -> bool:
    """Whether the text would still be understood without `secret`."""
    return len(secret) >= _SHORTEST and secret.lower() not in (
        "true",
        "false",
        "none",
        "null",
        "basic",
        "bearer",
    )


def _as_pattern(secret: str) -> str:
    escaped = re.escape(secret)
    return escaped if len(secret) >= _WHOLE_WORD else rf"(?<!\w){escaped}(?!\w)"
