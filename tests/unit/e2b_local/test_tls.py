"""A private authority that programs are asked to trust beside the world's own."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sandbox_service.e2b_local.edge import prepare_tls
from sandbox_service.e2b_local.errors import ConfigError
from sandbox_service.e2b_local.http1 import Server

DOMAIN = "sbx.localhost"


def handshake(server, client, host):
    """Shake hands in memory and give the client's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    ours = client.wrap_bio(to_client, to_server, server_hostname=host)
    done = set()
    for _ in range(10):
        for side in (ours, theirs):
            if side not in done:
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    pass
    assert len(done) == 2
    return ours


@pytest.mark.parametrize(
    "host",
    [DOMAIN, f"api.{DOMAIN}", f"49983-iabc.{DOMAIN}", "localhost", "127.0.0.1"],
)
def test_a_client_that_trusts_the_bundle_trusts_every_host_of_ours(tmp_path, host):
    """One file in SSL_CERT_FILE is all a client needs."""
    identity = prepare_tls(tmp_path, DOMAIN)
    client = ssl.create_default_context(cafile=identity.bundle)
    client.set_alpn_protocols(["h2", "http/1.1"])
    ours = handshake(identity.context, client, host)

    assert ours.selected_alpn_protocol() == "http/1.1"
    assert ours.version() == "TLSv1.3"


def test_the_bundle_keeps_the_rest_of_the_world(tmp_path):
    """A client that trusts us alone could not reach anybody else."""
    identity = prepare_tls(tmp_path, DOMAIN)
    trusted = ssl.create_default_context(cafile=identity.bundle).get_ca_certs()

    assert len(trusted) > 50


def test_a_client_that_was_not_told_does_not_trust_us(tmp_path):
    """The authority is ours alone; no system knows it."""
    identity = prepare_tls(tmp_path, DOMAIN)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(identity.context, ssl.create_default_context(), DOMAIN)


def test_the_authority_outlives_the_server(tmp_path):
    """A browser that was told once need not be told again at each start."""
    first = prepare_tls(tmp_path, DOMAIN)
    before = first.authority.read_bytes(), first.bundle.stat().st_mtime_ns
    client = ssl.create_default_context(cafile=first.bundle)
    second = prepare_tls(tmp_path, DOMAIN)
    handshake(second.context, client, DOMAIN)

    assert (second.authority.read_bytes(), second.bundle.stat().st_mtime_ns) == before


def test_it_is_renewed_before_it_ends_and_for_another_domain(tmp_path):
    """A certificate that ends in the middle of a day's work is nobody's friend."""
    first = prepare_tls(tmp_path, DOMAIN).authority.read_bytes()
    end = x509.load_pem_x509_certificate(first).not_valid_after_utc
    kept = prepare_tls(tmp_path, DOMAIN, end - timedelta(days=31)).authority.read_bytes()
    renewed = prepare_tls(tmp_path, DOMAIN, end - timedelta(days=29)).authority.read_bytes()
    other = prepare_tls(tmp_path, "sbx.test").authority

    assert kept == first
    assert renewed != first
    assert other.read_bytes() != renewed
    assert prepare_tls(tmp_path, DOMAIN).authority.read_bytes() == renewed


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "ca-key.pem").write_bytes(b"no key"),
        lambda folder: (folder / "ca-key.pem").unlink(),
        lambda folder: (folder / "ca.pem").write_bytes(b""),
    ],
)
def test_half_an_authority_is_made_anew(tmp_path, spoil):
    """A crash in the middle must not keep every later start from serving."""
    prepare_tls(tmp_path, DOMAIN)
    spoil(tmp_path / DOMAIN)
    identity = prepare_tls(tmp_path, DOMAIN)

    handshake(identity.context, ssl.create_default_context(cafile=identity.bundle), DOMAIN)


def test_nobody_else_reads_a_key(tmp_path):
    """The folder may lie where others pass; whoever has the key is trusted as we are."""
    identity = prepare_tls(tmp_path, DOMAIN)
    folder = identity.authority.parent
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    (folder / "ca-key.pem").chmod(0o644)
    prepare_tls(tmp_path, DOMAIN)

    assert modes == {"ca-key.pem": 0o600, "ca.pem": 0o644, "ca-bundle.pem": 0o644, "lock": 0o600}
    assert (folder / "ca-key.pem").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir() if "PRIVATE" in path.read_text()] == [
        "ca-key.pem"
    ]


def test_a_stolen_key_is_worth_nothing_elsewhere(tmp_path):
    """The authority may speak for its own domain and this machine, and for nobody else."""
    identity = prepare_tls(tmp_path, DOMAIN)
    issuer = x509.load_pem_x509_certificate(identity.authority.read_bytes())
    stolen = load_pem_private_key((identity.authority.parent / "ca-key.pem").read_bytes(), None)
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bank.example")]), critical=True)
        .sign(stolen, hashes.SHA256())
    )
    pem, server = tmp_path / "forged.pem", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    from cryptography.hazmat.primitives import serialization as s

    pem.write_bytes(
        key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
        + forged.public_bytes(s.Encoding.PEM)
    )
    server.load_cert_chain(pem)
    client = ssl.create_default_context(cafile=identity.bundle)

    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        handshake(server, client, "bank.example")


def test_servers_that_start_together_share_one_authority(tmp_path):
    """Two halves of two authorities would be trusted by nobody."""
    made, start = [], threading.Barrier(8)

    def begin():
        start.wait()
        made.append(prepare_tls(tmp_path, DOMAIN))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = ssl.create_default_context(cafile=made[0].bundle)

    assert len(made) == 8
    for identity in made:
        handshake(identity.context, client, DOMAIN)


@pytest.mark.parametrize("domain", ["", "a..b", "../etc", "-a.b", "ä.test", "a b", "x" * 64])
def test_a_domain_that_is_none_is_refused_in_words(tmp_path, domain):
    """It becomes a folder's name and a certificate's."""
    with pytest.raises(ConfigError, match="is no domain name"):
        prepare_tls(tmp_path, domain)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_told(tmp_path):
    """The cause is on disk, so the words must say where."""
    (tmp_path / DOMAIN).write_text("a file")
    with pytest.raises(ConfigError, match=str(tmp_path / DOMAIN)):
        prepare_tls(tmp_path, DOMAIN)


async def test_a_handshake_that_fails_leaves_no_garbage(tmp_path):
    """A quarter of a megabyte each would wait for the collector."""

    async def unused(exchange):
        raise AssertionError

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    server, tls = Server(unused), prepare_tls(tmp_path, DOMAIN).context
    gc.collect()
    gc.disable()
    try:
        theirs.send(b"\x16\x03\x01")
        theirs.close()
        with pytest.raises(ConnectionResetError):
            await server.adopt(ours, tls=tls)
        # The transport lets go on the loop's next turn.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        left = [one for one in gc.get_objects() if type(one) is asyncio.sslproto.SSLProtocol]
    finally:
        gc.enable()

    assert left == []
