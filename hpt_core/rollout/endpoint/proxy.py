"""The proxy variables of the environment, where one is in the way of a server."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass


@dataclass(frozen=True)
class Proxy:
    """A proxy that applies to an address."""

    variable: str
    """The environment variable that names it."""
    address: str
    """Its address without user and password."""
    host: str
    """The server's host, which is reached through it."""

    @property
    def local(self) -> bool:
        """The server is on this machine, which a proxy on another one cannot reach."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def named(self, reason: str) -> str:
        """The reason of a failure with the proxy that it came through."""
        return f"{reason} (through {self.variable}, {self.address})"

    @property
    def remedy(self) -> str:
        """What to do if the proxy is in the way."""
        return (
            f"{self.variable} ({self.address}) is used for {self.host}: add {self.host} to NO_PROXY, or "
            f"unset {self.variable}"
        )


def proxy_for(url: str) -> Proxy | None:
    """The proxy of the environment for `url`; None if it is reached directly."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies_environment()
    if proxy_bypass(host):
        return None
    for scheme in (parts.scheme, "all"):
        if address := proxies.get(scheme):
            return Proxy(_variable(scheme, address), _without_user(address), host)
    return None


def proxy_of_another_kind() -> Proxy | None:
    """The first proxy of the environment that is no HTTP proxy, for whatever address."""
    proxies = getproxies_environment()
    for scheme in ("http", "https", "all"):
        address = proxies.get(scheme, "")
        if "://" in address and not address.startswith(("http://", "https://")):
            return Proxy(_variable(scheme, address), _without_user(address), "")
    return None


def _variable(scheme: str, address: str) -> str:
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
    return next((name for name in names if os.environ.get(name) == address), names[1])


def _without_user(address: str) -> str:
    scheme, separator, rest = address.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
