"""What a shell is told to export: one word too many leads a client past its backend."""

from __future__ import annotations

import subprocess

import pytest

from sandbox_service.app.local_exports import (
    Backend,
    KeyMissingError,
    NoBackendError,
    ask,
    shell_lines,
)

BACKEND = Backend(
    url="http://127.0.0.1:50080",
    domain="sbx.localhost:50080",
    api_key_required=False,
    ca="/state/a b/ca.pem",
    ca_bundle="/state/a b/ca-bundle.pem",
)
LOCKED = Backend(
    url=BACKEND.url,
    domain=BACKEND.domain,
    api_key_required=True,
    ca=BACKEND.ca,
    ca_bundle=BACKEND.ca_bundle,
)


def evaluated(lines, environment):
    """What a shell's environment is after it has evaluated the lines."""
    script = "\n".join([*lines, "env -0"])
    told = subprocess.run(
        ["/bin/sh", "-c", script], env=environment, capture_output=True, check=True
    ).stdout
    pairs = (pair.split("=", 1) for pair in told.decode().split("\0") if pair)
    shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    return {name: value for name, value in pairs if name not in shell}


def exported(environment, *, tls, backend=BACKEND):
    return evaluated(shell_lines(backend, environment, tls=tls), environment)


def test_plain_needs_two_urls_and_room_for_connections():
    """The SDK's own limit of 200 makes the 201st stream wait unseen."""
    assert exported({}, tls=False) == {
        "E2B_API_KEY": "e2b_" + "0" * 40,
        "E2B_API_URL": "http://127.0.0.1:50080",
        "E2B_SANDBOX_URL": "http://127.0.0.1:50080",
        "E2B_MAX_CONNECTIONS": "4000",
        "E2B_MAX_KEEPALIVE_CONNECTIONS": "1000",
    }


def test_tls_needs_a_domain_a_proxy_and_a_certificate():
    """As for E2B's cloud: the program itself is told of no URL."""
    assert exported({}, tls=True) == {
        "E2B_API_KEY": "e2b_" + "0" * 40,
        "E2B_DOMAIN": "sbx.localhost:50080",
        "HTTPS_PROXY": "http://127.0.0.1:50080",
        "SSL_CERT_FILE": "/state/a b/ca-bundle.pem",
        "NODE_EXTRA_CA_CERTS": "/state/a b/ca.pem",
        "E2B_MAX_CONNECTIONS": "4000",
        "E2B_MAX_KEEPALIVE_CONNECTIONS": "1000",
    }


def test_one_way_undoes_the_other():
    """Who tries both in one shell must not get a mixture."""
    both = exported(exported({}, tls=False), tls=True)
    back = exported({**both, "E2B_DEBUG": "true"}, tls=False)

    assert "E2B_API_URL" not in both
    assert "E2B_SANDBOX_URL" not in both
    assert back["E2B_API_URL"] == BACKEND.url
    assert "E2B_DOMAIN" not in back
    assert "E2B_DEBUG" not in back


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("localhost,10.0.0.0/8", "10.0.0.0/8"),
        ("*", ""),
        (".localhost, internal", "internal"),
        ("*.sbx.localhost:50080,a", "a"),
        ("api.sbx.localhost", ""),
        ("SBX.LOCALHOST,b", "b"),
        ("127.0.0.1,host,notlocalhost", "127.0.0.1,host,notlocalhost"),
    ],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_no_proxy_must_not_keep_our_hosts_from_the_proxy(variable, given, wanted):
    """`localhost` is in nearly everybody's, and every host of ours ends in it."""
    assert exported({variable: given}, tls=True)[variable] == wanted


def test_a_proxy_of_the_shells_own_must_not_get_plain_loopback_traffic():
    """It would look for the backend on its own machine."""
    proxied = exported({"http_proxy": "http://proxy:3128", "NO_PROXY": "a"}, tls=False)
    excepted = exported({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "127.0.0.1"}, tls=False)

    assert proxied["NO_PROXY"] == "a,127.0.0.1"
    assert excepted["NO_PROXY"] == "127.0.0.1"


def test_what_is_set_already_and_would_win_is_set_anew():
    """Some programs read other names before SSL_CERT_FILE and HTTPS_PROXY."""
    environment = {"https_proxy": "http://old:1", "REQUESTS_CA_BUNDLE": "/old.pem"}
    told = exported(environment, tls=True)

    assert told["https_proxy"] == BACKEND.url
    assert told["REQUESTS_CA_BUNDLE"] == BACKEND.ca_bundle


@pytest.mark.parametrize("tls", [False, True])
def test_a_key_is_passed_on_and_never_guessed(tls):
    """A client with a made-up key would be told of its key, not of what is missing."""
    told = exported({"SANDBOX_LOCAL_API_KEY": "e2b_it's $ecret"}, tls=tls, backend=LOCKED)

    assert told["E2B_API_KEY"] == "e2b_it's $ecret"
    with pytest.raises(KeyMissingError):
        shell_lines(LOCKED, {}, tls=tls)


def test_what_a_backend_says_cannot_run_in_the_shell():
    """Whatever answers on that port, its words are evaluated."""
    hostile = "x'; touch /tmp/owned; `id` $(id) \n export PATH=/evil"
    backend = Backend(
        url=hostile, domain=hostile, api_key_required=False, ca=hostile, ca_bundle=hostile
    )
    told = exported({"PATH": "/usr/bin:/bin"}, tls=True, backend=backend)

    assert told["E2B_DOMAIN"] == told["SSL_CERT_FILE"] == hostile
    assert told["PATH"] == "/usr/bin:/bin"


def test_where_nothing_answers_is_said():
    """Exports that lead nowhere would be an error message an hour later."""
    with pytest.raises(NoBackendError, match="No backend answers"):
        ask("http://127.0.0.1:1")
