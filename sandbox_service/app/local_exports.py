"""What a shell must export so that a client of E2B's SDK talks to a local backend.

Two ways. Plain: the SDK is told one URL for everything. Through TLS: it is told a domain
and nothing else, as for E2B itself; a proxy and a certificate do the rest, so previews have
their `https://` hosts and programs need no change at all.
"""

from __future__ import annotations

import json
import shlex
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

KEY_VARIABLE: Final = "SANDBOX_LOCAL_API_KEY"
_TIMEOUT_S: Final = 5.0
_ANSWER_LIMIT_BYTES: Final = 64 * 1024
# A backend without a key takes any; the SDK wants one of this form.
_ANY_KEY: Final = "e2b_" + "0" * 40
# Read when the SDK is imported. Its own limit of 200 makes the 201st stream wait unseen.
_POOL: Final = {"E2B_MAX_CONNECTIONS": "4000", "E2B_MAX_KEEPALIVE_CONNECTIONS": "1000"}
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
# Other programs' names for SSL_CERT_FILE: where they are set, they win.
_OTHER_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class NoBackendError(Exception):
    """Nothing that we know answers; says so in a sentence."""


class KeyMissingError(Exception):
    """The backend asks for a key that this shell does not have."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What a backend that runs says of itself.

    Attributes:
        url: Where plain HTTP is served.
        domain: Of preview URLs, with a port.
        api_key_required: Whether it asks for the key it was started with.
        ca: PEM file with its authority's certificate.
        ca_bundle: PEM file with that and the roots that its system trusts.
    """

    url: str
    domain: str
    api_key_required: bool
    ca: str
    ca_bundle: str


def ask(url: str) -> Backend:
    """Ask a backend what a client must know.

    Raises:
        NoBackendError: None answers at that URL.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/local/info", timeout=_TIMEOUT_S) as answer:
            told: Any = json.loads(answer.read(_ANSWER_LIMIT_BYTES))
        return Backend(
            url=str(told["url"]),
            domain=str(told["domain"]),
            api_key_required=bool(told["api_key_required"]),
            ca=str(told["ca"]),
            ca_bundle=str(told["ca_bundle"]),
        )
    except (urllib.error.HTTPError, ValueError, LookupError, TypeError):
        raise NoBackendError(f"What answers at {url} is no local backend.") from None
    except OSError:
        raise NoBackendError(f"No backend answers at {url}.") from None


def shell_lines(backend: Backend, environment: Mapping[str, str], *, tls: bool) -> list[str]:
    """Return what a POSIX shell shall evaluate.

    Args:
        backend: The backend to use.
        environment: The shell's, for what is there already may lead elsewhere.
        tls: Whether the client is to see hosts and TLS as in E2B's cloud.

    Raises:
        KeyMissingError: The backend's key is not in the environment.
    """
    key = environment.get(KEY_VARIABLE) if backend.api_key_required else _ANY_KEY
    if not key:
        raise KeyMissingError
    told = _through_tls(backend, environment) if tls else _plain(backend, environment)
    exports = {"E2B_API_KEY": key, **told, **_POOL}
    # Each of them would lead the SDK past what the others say.
    misleading = ("E2B_DEBUG", "E2B_API_URL", "E2B_SANDBOX_URL", "E2B_DOMAIN")
    removed = [name for name in misleading if name in environment and name not in exports]
    return [
        *(f"unset {name}" for name in removed),
        *(f"export {name}={shlex.quote(value)}" for name, value in exports.items()),
    ]


def _plain(backend: Backend, environment: Mapping[str, str]) -> dict[str, str]:
    exports = {"E2B_API_URL": backend.url, "E2B_SANDBOX_URL": backend.url}
    if any(environment.get(name) or environment.get(name.lower()) for name in _PROXIES):
        for name in ("NO_PROXY", "no_proxy"):
            entries = _entries(environment.get(name, ""))
            if (name == "NO_PROXY" or name in environment) and not {"*", "127.0.0.1"} & {*entries}:
                exports[name] = ",".join([*entries, "127.0.0.1"])
    return exports


def _through_tls(backend: Backend, environment: Mapping[str, str]) -> dict[str, str]:
    exports = {
        "E2B_DOMAIN": backend.domain,
        "HTTPS_PROXY": backend.url,
        "SSL_CERT_FILE": backend.ca_bundle,
        "NODE_EXTRA_CA_CERTS": backend.ca,
    }
    if "https_proxy" in environment:
        exports["https_proxy"] = backend.url
    exports |= {name: backend.ca_bundle for name in _OTHER_BUNDLES if name in environment}
    name = backend.domain.partition(":")[0]
    for variable in ("NO_PROXY", "no_proxy"):
        entries = _entries(environment.get(variable, ""))
        kept = [entry for entry in entries if not _excludes(entry, name)]
        if kept != entries:
            exports[variable] = ",".join(kept)
    return exports


def _entries(no_proxy: str) -> list[str]:
    return [entry.strip() for entry in no_proxy.split(",") if entry.strip()]


def _excludes(entry: str, domain: str) -> bool:
    """Whether an entry of NO_PROXY keeps hosts of the domain, or some of them, from a proxy."""
    entry = entry.lower().partition(":")[0].removeprefix("*.").strip(".")
    return entry in ("*", domain) or domain.endswith(f".{entry}") or entry.endswith(f".{domain}")
