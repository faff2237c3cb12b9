"""A private certificate authority, and this server's certificate signed by it.

The authority is made once for a domain and kept, so that whoever trusts it need not be
told again; the certificate is made at each start and kept in memory. The authority can
speak for its domain and this machine alone: programs are asked to trust it beside the
world's own, and a stolen key must be worth nothing elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import re
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox_service.e2b_local.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_AUTHORITY_LIFE: Final = timedelta(days=3650)
_AUTHORITY_RENEWED_BEFORE: Final = timedelta(days=30)
# Some clients take no certificate that is valid for longer.
_CERTIFICATE_LIFE: Final = timedelta(days=397)
_CLOCKS_DIFFER_BY: Final = timedelta(days=1)
_LOOPBACK: Final = ("127.0.0.1", "::1")
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?=.{{1,200}}\Z){_LABEL}(\.{_LABEL})*", re.ASCII)
# Where systems keep the roots they trust, if Python was not built for this one.
_SYSTEM_ROOTS: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """Who this server is to clients that speak TLS.

    Attributes:
        context: Our side of a handshake.
        authority: PEM file with the authority's certificate.
        bundle: PEM file with it and every root that this system trusts.
    """

    context: ssl.SSLContext
    authority: Path
    bundle: Path


def prepare_tls(folder: Path, domain: str, now: datetime | None = None) -> TlsIdentity:
    """Load the domain's authority, or make it, and sign a certificate for this server.

    Safe beside other servers that do the same at the same time.

    Args:
        folder: Where authorities are kept, each in a folder of its domain's name.
        domain: Lower-case, without a port.
        now: The time; the clock's, unless given.

    Raises:
        ConfigError: The domain cannot stand in a certificate, or the folder cannot be used.
    """
    if _DOMAIN.fullmatch(domain) is None:
        raise ConfigError(
            f"{domain!r} is no domain name.", "Choose one such as sbx.localhost or sbx.test."
        )
    now = now or datetime.now(UTC)
    place = folder / domain
    try:
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _locked(place / "lock"):
            authority = _load(place, now) or _make(place, domain, now)
            bundle = place / "ca-bundle.pem"
            _write_if_new(bundle, _roots(bundle) + b"\n" + _pem(authority.certificate))
        context = _context(authority, domain, now)
    except OSError as error:
        raise ConfigError(
            f"The certificates in {place} cannot be used: {error.strerror or error}.",
            "Remove that folder, or choose another state folder.",
        ) from None
    return TlsIdentity(context, place / "ca.pem", bundle)


@dataclass(frozen=True, slots=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def _load(place: Path, now: datetime) -> _Authority | None:
    """Return the authority that is there, if it is whole and will last."""
    try:
        key = serialization.load_pem_private_key((place / "ca-key.pem").read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((place / "ca.pem").read_bytes())
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return None
    # A crash between the two files may have left halves of two authorities.
    if key.public_key() != certificate.public_key():
        return None
    if certificate.not_valid_after_utc - now < _AUTHORITY_RENEWED_BEFORE:
        return None
    (place / "ca-key.pem").chmod(0o600)
    return _Authority(key, certificate)


def _make(place: Path, domain: str, now: datetime) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"sandbox-service local {domain}")
    permitted = [x509.DNSName(domain), x509.DNSName("localhost")]
    networks = [x509.IPAddress(ipaddress.ip_network(address)) for address in _LOOPBACK]
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key.public_key(), now, now + _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.NameConstraints([*permitted, *networks], None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(place / "ca-key.pem", _private_pem(key), mode=0o600)
    _write(place / "ca.pem", _pem(certificate), mode=0o644)
    return _Authority(key, certificate)


def _context(authority: _Authority, domain: str, now: datetime) -> ssl.SSLContext:
    """Make a key and a certificate for this server, and our side of a handshake with them."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    names = [x509.DNSName(name) for name in (domain, f"*.{domain}", "localhost")]
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in _LOOPBACK]
    subject = _name("sandbox-service local")
    end = min(now + _CERTIFICATE_LIFE, issuer.not_valid_after_utc)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL takes a key from a file only; this one is on no disk.
    with os.fdopen(os.memfd_create("certificate"), "wb") as file:
        file.write(_private_pem(key) + _pem(certificate) + _pem(issuer))
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER_BY)
        .not_valid_after(end)
    )


def _roots(bundle: Path) -> bytes:
    """Return the roots that this system trusts, whatever trusts our bundle already."""
    default = ssl.get_default_verify_paths().cafile
    candidates = [*([Path(default)] if default else []), *_SYSTEM_ROOTS, Path(certifi.where())]
    for candidate in candidates:
        # Whoever starts the server may have its own bundle in SSL_CERT_FILE.
        if candidate.name == bundle.name and (candidate.parent / "ca-key.pem").exists():
            continue
        try:
            return candidate.read_bytes()
        except OSError:
            continue
    return b""


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_if_new(path: Path, data: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    _write(path, data, mode=0o644)


def _write(path: Path, data: bytes, *, mode: int) -> None:
    """Put a file in place in one step; whoever reads it meanwhile sees the old one."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
