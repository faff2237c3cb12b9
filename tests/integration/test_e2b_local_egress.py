"""Sandboxes with a way out: what they reach, what they do not, and who is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from ipaddress import ip_network

import httpx
import pytest
from e2b import AsyncSandbox

from sandbox_service.e2b_local.edge import prepare_tls
from sandbox_service.e2b_local.egress import (
    ENVIRONMENT,
    PACKAGE_REGISTRIES,
    PROXY_PORT,
    ConnectionQuota,
    DeniedError,
    Destinations,
    EgressProxy,
    EgressRules,
    EgressSettings,
)
from sandbox_service.e2b_local.egress.lookup import look_up
from sandbox_service.e2b_local.egress.policy import pick_address
from sandbox_service.e2b_local.fleet import Fleet
from tests.integration.egress_world import ASK, HOST, NAME, PackageRegistry
from tests.integration.local_backend import API_KEY, LocalBackend
from tests.integration.machine_bench import run, until
from tests.unit.e2b_local.fleet_double import make

SETTINGS = EgressSettings(allow=Destinations.parse([HOST]))
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


# What a registry is to programs inside


@contextlib.asynccontextmanager
async def way_out(guest, tmp_path):
    """Let a guest reach a registry, and nothing else; yields both."""
    identity = prepare_tls(tmp_path / "tls", "example.org")
    async with PackageRegistry.running(identity.context) as registry:
        proxy = EgressProxy(
            SETTINGS,
            EgressRules(),
            ConnectionQuota(100),
            look_up=registry.look_up,
            dial=registry.dial,
        )
        proxy.listen(await guest.listen(PROXY_PORT))
        await run(
            guest, "/bin/sh", "-c", f"cat > ca.pem <<'END'\n{identity.authority.read_text()}\nEND"
        )
        try:
            yield proxy, registry
        finally:
            proxy.close()
            await until(lambda: not proxy._tasks)


@pytest.mark.needs("pip")
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_pip_installs_through_it(guest, tmp_path, scheme):
    """By plain requests and by tunnels."""
    async with way_out(guest, tmp_path) as (proxy, registry):
        installed = await run(
            guest,
            *("python3", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"),
            *("--index-url", f"{scheme}://{HOST}/simple", NAME),
            *(("--trusted-host", HOST) if scheme == "http" else ("--cert", "/home/user/ca.pem")),
            env=ENVIRONMENT,
        )
        assert installed.code == 0, (installed, registry.asked)
    told = await run(guest, "python3", "-c", "import sandbox_probe; print(sandbox_probe.ORIGIN)")
    assert told.out == b"the wheel\n"
    assert {host for _, host in registry.asked} == {HOST}
    assert proxy.counts.connections >= 2
    assert min(proxy.counts.received_bytes, proxy.counts.sent_bytes) > 0


@pytest.mark.needs("npm")
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_npm_installs_through_it(guest, tmp_path, scheme):
    """By plain requests and by tunnels."""
    async with way_out(guest, tmp_path) as (_, registry):
        installed = await run(
            guest,
            *("npm", "install", "--no-audit", "--no-fund", "--registry", f"{scheme}://{HOST}/"),
            *("--cafile", "/home/user/ca.pem", NAME),
            env=ENVIRONMENT,
            cwd="/workspace",
        )
        assert installed.code == 0, (installed, registry.asked)
    told = await run(guest, "node", "-p", f"require('{NAME}')", cwd="/workspace")
    assert told.out == b"the tarball\n"
    assert {host for _, host in registry.asked} == {HOST}


async def test_programs_that_use_no_proxy_reach_nothing(guest, tmp_path):
    """The way out is a door, not a network."""
    async with way_out(guest, tmp_path):
        tried = await run(
            guest,
            *("python3", "-c", "import socket; socket.create_connection(('93.184.215.14', 80), 5)"),
        )
        assert b"Network is unreachable" in tried.err
        named = await run(guest, "python3", "-c", f"import socket; socket.gethostbyname('{HOST}')")
        assert b"gaierror" in named.err


# A sandbox's life


async def ask(sandbox, place):
    """What the proxy inside says to a request for a tunnel."""
    told = await run(sandbox.guest, "python3", "-c", ASK, place)
    return told.out.decode() + told.err.decode()


async def test_the_way_out_lasts_over_pauses_and_boots(machine):
    """Held still it leads nowhere; started anew, with or without its programs, it leads out."""
    fleet = Fleet(machine, time.time, egress=SETTINGS)
    sandbox = await make(fleet)
    answer = await ask(sandbox, "evil.example:443")
    assert "403 Forbidden" in answer
    await fleet.pause("ia")
    await fleet.resume("ia", 60)
    assert "not on the list" in await ask(sandbox, "evil.example:443")
    await fleet.pause("ia", memory=False)
    await fleet.resume("ia", 60)
    assert "not on the list" in await ask(sandbox, "other.example:443")
    messages = [entry.message for entry in fleet.activities.get("ia").select()]
    assert fleet.traffic()["ia"].refused == 3
    assert [line for line in messages if "example" in line or "Network" in line] == [
        "Not connected to evil.example:443: evil.example is not on the list of hosts that"
        " sandboxes may reach",
        "Network: 0 connections, 1 refused, 0 bytes out, 0 bytes in",
        "Network: 0 connections, 2 refused, 0 bytes out, 0 bytes in",
        "Not connected to other.example:443: other.example is not on the list of hosts that"
        " sandboxes may reach",
    ]
    await fleet.kill("ia")
    assert fleet.traffic() == {}
    last = [entry.message for entry in fleet.activities.get("ia").select()][-2:]
    assert last[0] == "Network: 0 connections, 3 refused, 0 bytes out, 0 bytes in"
    assert last[1].startswith("Sandbox ended")
    await fleet.close()


async def test_a_pause_ends_what_is_open(machine, tmp_path):
    """A paused sandbox holds nobody's connections."""
    fleet = Fleet(machine, time.time, egress=SETTINGS)
    sandbox = await make(fleet)
    identity = prepare_tls(tmp_path / "tls", "example.org")
    async with PackageRegistry.running(identity.context) as registry:
        sandbox.egress._look_up, sandbox.egress._dial = registry.look_up, registry.dial
        asking = asyncio.create_task(ask(sandbox, f"{HOST}:443"))
        await until(lambda: sandbox.egress._open)
        await fleet.pause("ia")
        await until(lambda: not sandbox.egress._open)
        await fleet.resume("ia", 60)
        assert "200 Connection established" in await asking
        await fleet.close()


async def test_a_fork_keeps_the_rules_and_has_a_way_out_of_its_own(machine):
    fleet = Fleet(machine, time.time, egress=SETTINGS)
    await make(fleet, allow_internet_access=False)
    [fork] = await fleet.fork("ia", 1, 60)
    other = fleet.get(fork.sandbox_id)
    assert "denied" in await ask(other, f"{HOST}:443")
    assert fleet.traffic()["ia"].refused == 0
    assert fleet.traffic()[fork.sandbox_id].refused == 1
    await fleet.close()


# As the SDK's users see it


@pytest.fixture(scope="module")
def backend():
    """A backend whose sandboxes may reach hosts that do not exist."""
    backend = LocalBackend.start(
        "--egress=proxy",
        "--egress-allow=*.sandbox.invalid,203.0.113.0/24",
        "--egress-ports=443,8443",
    )
    assert backend.status["ready"], backend.status
    yield backend
    assert backend.stop() == 0


@contextlib.asynccontextmanager
async def sandbox_of(backend, **settings):
    sandbox = await AsyncSandbox.create("base", timeout=120, **settings, **backend.sdk)
    try:
        yield sandbox
    finally:
        await sandbox.kill()


async def tunnel(sandbox, place):
    told = await sandbox.commands.run(f"python3 -c '{ASK}' {place}")
    return told.stdout


async def local(backend, path):
    async with httpx.AsyncClient(base_url=backend.url, headers={"x-api-key": API_KEY}) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    return answer.json()


async def test_programs_find_the_proxy_in_their_environment(backend):
    async with sandbox_of(backend, envs={"NO_PROXY": "mine"}) as sandbox:
        told = (await sandbox.commands.run("env")).stdout.splitlines()
    assert {line for line in told if "proxy" in line.lower()} == {
        f"{name}={value}" for name, value in {**ENVIRONMENT, "NO_PROXY": "mine"}.items()
    }


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("pypi.org:443", "not on the list"),
        ("a.sandbox.invalid:80", "port 80"),
        ("a.sandbox.invalid:8443", "cannot be reached"),
        ("169.254.169.254:443", "not public"),
        ("127.0.0.1:443", "not public"),
        ("[::1]:443", "not public"),
        ("203.0.113.5:443", "not public"),
        ("93.184.215.14:443", "not on the list"),
    ],
)
async def test_what_is_not_allowed_is_refused_and_told(backend, place, words):
    """To the program, in the sandbox's log and in its sums."""
    async with sandbox_of(backend) as sandbox:
        assert words in await tunnel(sandbox, place)
        sums = (await local(backend, "/local/egress"))["sandboxes"][sandbox.sandbox_id]
        entries = (await local(backend, f"/v2/sandboxes/{sandbox.sandbox_id}/logs"))["logs"]
    refused = words != "cannot be reached"
    assert sums == {"connections": 0, "refused": refused, "sent_bytes": 0, "received_bytes": 0}
    told = [entry for entry in entries if entry["message"].startswith("Not connected")]
    assert len(told) == refused
    assert all(words in entry["message"] and entry["level"] == "warn" for entry in told)


async def test_the_owner_sees_what_is_allowed(backend):
    shown = await local(backend, "/local/egress")
    assert (shown["egress"], shown["ports"]) == ("proxy", [443, 8443])
    assert shown["allow"] == ["*.sandbox.invalid", "203.0.113.0/24"]
    assert (await local(backend, "/local/info"))["egress"] == "proxy"


async def test_a_creator_narrows_the_way_out_at_any_time(backend):
    """At creation, and by `update_network`, which replaces what was said."""
    place = "a.sandbox.invalid:443"
    async with sandbox_of(backend, allow_internet_access=False) as sandbox:
        assert "denied by this sandbox" in await tunnel(sandbox, place)
        await sandbox.update_network(
            {"allow_out": ["*.sandbox.invalid"], "deny_out": ["0.0.0.0/0"]}
        )
        assert "cannot be reached" in await tunnel(sandbox, place)
        await sandbox.update_network({"deny_out": ["0.0.0.0/0"]})
        assert "denied by this sandbox" in await tunnel(sandbox, place)
        await sandbox.update_network({"allow_out": ["pypi.org"], "deny_out": ["0.0.0.0/0"]})
        assert "not on the list" in await tunnel(sandbox, "pypi.org:443")
        await sandbox.update_network({})
        assert "cannot be reached" in await tunnel(sandbox, place)


@pytest.mark.parametrize(
    "network",
    [
        {"dnsServers": ["1.1.1.1"]},
        {"egressProxy": {"address": "proxy.example.com:1080"}},
        {"rules": {"a.example.com": [{"transform": {"headers": {"X-Key": "value"}}}]}},
    ],
)
async def test_what_would_shape_traffic_is_refused(backend, network):
    """It was harmless without traffic; ignored, it would be a lie."""
    headers = {"x-api-key": API_KEY}
    async with (
        sandbox_of(backend) as sandbox,
        httpx.AsyncClient(base_url=backend.url, headers=headers) as client,
    ):
        document = {"templateID": "base", "network": network}
        made = await client.post("/v2/sandboxes", json=document)
        put = await client.put(f"/sandboxes/{sandbox.sandbox_id}/network", json=network)
    assert (made.status_code, put.status_code) == (501, 501)
    assert next(iter(network)) in made.json()["message"]


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--egress=everything", "none or proxy"),
        ("--egress-allow=http://pypi.org/", "no host, address or network"),
        ("--egress-ports=https", "no port"),
        ("--egress-private=10.0.0.0/40", "no network"),
        ("--egress-private=127.0.0.0/8", "never leads"),
        ("--egress-private=169.254.169.254", "never leads"),
    ],
)
def test_wrong_settings_refuse_the_start(flag, words):
    backend = LocalBackend.start(flag)
    try:
        assert backend.status["ready"] is False
        assert words in backend.status["cause"] + backend.status["fix"]
    finally:
        assert backend.stop() == 2


# The real world


async def private_addresses():
    """What the registries' names lead to here that is not public, as settings take it."""
    settings = EgressSettings(allow=Destinations.parse(["*"]))
    found = set()
    for name in ("pypi.org", "files.pythonhosted.org", "registry.npmjs.org"):
        assert name in PACKAGE_REGISTRIES
        for address in await look_up(name):
            try:
                pick_address(settings, EgressRules(), name, [address])
            except DeniedError:
                found.add(str(ip_network(address)))
    return ",".join(sorted(found))


@pytest.mark.needs("registry", "pip", "npm")
async def test_packages_of_the_public_registries_can_be_installed():
    """With the defaults, but for what this machine's names are made to lead to."""
    backend = LocalBackend.start("--egress=proxy", f"--egress-private={await private_addresses()}")
    assert backend.status["ready"], backend.status
    # Sandboxes see the system's certificates; not every program looks for them by itself.
    envs = {"NODE_EXTRA_CA_CERTS": CERTIFICATES, "PIP_CERT": CERTIFICATES}
    try:
        async with sandbox_of(backend, envs=envs) as sandbox:
            await sandbox.commands.run(
                "python3 -m pip install --target lib --no-input idna==3.10", timeout=100
            )
            told = await sandbox.commands.run(
                "PYTHONPATH=lib python3 -c 'import idna; print(idna.__version__)'"
            )
            assert told.stdout == "3.10\n"
            await sandbox.commands.run(
                "npm install --no-audit --no-fund is-number@7.0.0", timeout=100
            )
            assert (
                await sandbox.commands.run("node -p 'require(\"is-number\")(7)'")
            ).stdout == "true\n"
            sums = (await local(backend, "/local/egress"))["sandboxes"][sandbox.sandbox_id]
            assert sums["connections"] >= 2
            assert sums["received_bytes"] > sums["sent_bytes"] > 0
            refused = await sandbox.commands.run(
                "curl -sS --proxy $HTTPS_PROXY https://example.com/ 2>&1 || true"
            )
            assert "403" in refused.stdout
    finally:
        assert backend.stop() == 0
