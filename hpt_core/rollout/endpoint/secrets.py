"""The secrets of an endpoint, which come from environment variables and go to the server only."""

from __future__ import annotations

import os

from hpt_core.config.endpoint import EndpointConfig
from hpt_core.errors import InputError
from hpt_core.redaction import MASK, protect, redacted


class Secrets:
    """The API key and the headers that hold secrets."""

    def __init__(self, config: EndpointConfig, section: str) -> None:
        """`section` is the place of `config` in the parameters. Raises InputError."""
        name = config.api_key_env
        self.api_key = _secret(name, f"{section}.api_key_env") if name else ""
        self.headers = {
            header: _secret(variable, f"{section}.headers_env")
            for header, variable in config.headers_env.items()
        }

    def redact(self, text: str) -> str:
        """The text without the secrets, which a server may repeat."""
        for secret in (self.api_key, *self.headers.values()):
            text = text.replace(secret, MASK) if secret else text
        return redacted(text)


def _secret(name: str, parameter: str) -> str:
    """The value of the environment variable `name`, which `parameter` names."""
    secret = os.environ.get(name, "").strip()
    if not secret:
        raise InputError(f"{name} is not set, and {parameter} names it; set it to the server's key")
    if not (secret.isascii() and secret.isprintable()):
        # The error of an HTTP library would contain the key.
        raise InputError(f"{name} holds characters that no key has; set it to the server's key alone")
    protect(secret)
    return secret
