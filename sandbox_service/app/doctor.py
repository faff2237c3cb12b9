"""Finds what is wrong with a machine and its settings before a user does."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from sandbox_service.app.settings import Settings, images_dir
from sandbox_service.e2b_local.egress import examine_egress
from sandbox_service.e2b_local.images import examine_images
from sandbox_service.e2b_local.machine import Finding, MachineConfig, diagnose
from sandbox_service.providers.catalogue import CatalogueError, YamlCatalogue

_TIMEOUT_S: Final = 5.0
_OLDEST_PYTHON: Final = (3, 11)


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything that these settings need.

    Args:
        settings: As the service would have them.

    Returns:
        A finding per thing looked at, good ones too.
    """
    findings = [
        _python(),
        _state_dir(settings.state_dir),
        _port("gRPC port", settings.grpc_address, "SANDBOX_GRPC_ADDRESS"),
        _port("HTTP port", settings.http_address, "SANDBOX_HTTP_ADDRESS"),
        _proxy(),
    ]
    if settings.embedded:
        config = MachineConfig(
            state_dir=settings.state_dir / "doctor",
            bwrap=settings.local_bwrap,
            isolation=settings.local_isolation,
            limits=settings.local_limits,
        )
        findings += await diagnose(config)
        findings += await _templates(settings, config)
        findings += await examine_egress(
            settings.local_egress,
            settings.local_egress_allow,
            settings.local_egress_ports,
            settings.local_egress_private,
        )
    else:
        findings.append(await asyncio.to_thread(_e2b, settings))
    return findings


async def _templates(settings: Settings, config: MachineConfig) -> list[Finding]:
    try:
        roots = YamlCatalogue.load(settings.catalogue).roots
    except CatalogueError as error:
        fix = "Correct the file that SANDBOX_CATALOGUE names."
        return [Finding("catalogue", ok=False, detail=str(error), fix=fix)]

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    return await examine_images(roots, images_dir(settings.state_dir), config, tell)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= _OLDEST_PYTHON
    return Finding("Python", good, version, "" if good else "Install Python 3.11 or newer.")


def _state_dir(folder: Path) -> Finding:
    try:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        return Finding(
            "state folder",
            ok=False,
            detail=f"{folder} cannot be made: {error.strerror}",
            fix="Set SANDBOX_STATE_DIR to a folder that you may write.",
        )
    good = os.access(folder, os.W_OK | os.X_OK)
    fix = "" if good else "Set SANDBOX_STATE_DIR to a folder that you may write."
    return Finding("state folder", good, str(folder), fix)


def _port(name: str, address: str, setting: str) -> Finding:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except (OSError, ValueError, OverflowError) as error:
            return Finding(
                name,
                ok=False,
                detail=f"{address}: {error}",
                fix=f"Stop what listens there, or set {setting} to another address.",
            )
    return Finding(name, ok=True, detail=f"{address} is free")


def _proxy() -> Finding:
    names = [n for n in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") if _variable(n)]
    bypass = _variable("NO_PROXY")
    good = not names or bypass == "*" or "127.0.0.1" in bypass
    return Finding(
        "proxy",
        good,
        f"{', '.join(names)} set" if names else "none set",
        "" if good else "Add 127.0.0.1 to NO_PROXY, or loopback traffic goes to the proxy.",
    )


def _variable(name: str) -> str:
    return os.environ.get(name) or os.environ.get(name.lower()) or ""


def _e2b(settings: Settings) -> Finding:
    """Ask E2B for one sandbox with the key that is set."""
    key = settings.e2b_api_key.get_secret_value()
    if not key:
        return Finding("E2B", ok=False, detail="there is no key", fix="Set E2B_API_KEY.")
    url = settings.e2b_api_url or f"https://api.{settings.e2b_domain or 'e2b.app'}"
    if not url.startswith(("http://", "https://")):
        return Finding("E2B", ok=False, detail=f"{url} is no URL", fix="Correct E2B_API_URL.")
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked.
        f"{url}/v2/sandboxes?limit=1", headers={"X-API-KEY": key}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - see above.
            return Finding("E2B", ok=True, detail=f"{url} accepts the key")
    except urllib.error.HTTPError as error:
        fix = "Correct E2B_API_KEY." if error.code in (401, 403) else "Ask E2B's status page."
        return Finding("E2B", ok=False, detail=f"{url} answers {error.code}", fix=fix)
    except OSError as error:
        return Finding(
            "E2B",
            ok=False,
            detail=f"{url} cannot be reached: {error}",
            fix="Check the network, E2B_DOMAIN and E2B_API_URL.",
        )
