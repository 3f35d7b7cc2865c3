"""TLS of the listener of packer over REST: a certificate from files, or one that is made at each start."""

import datetime
import ipaddress
import socket
import ssl
import tempfile
from pathlib import Path

from shuttle.errors import SettingsError
from shuttle.settings import Settings
from shuttle.settings.model import OWN_CERTIFICATE

_VALID_DAYS = 825  # some clients refuse longer ones
_EARLIER = datetime.timedelta(hours=1)  # for clocks that are slow


def packerd_tls(settings: Settings) -> ssl.SSLContext | None:
    """The listener's TLS; None = plain HTTP. Raises SettingsError if certificate and key cannot be used."""
    certificate = settings.shuttle_packerd_tls_cert
    if settings.packerd_address is None or not certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if certificate == OWN_CERTIFICATE:
        _load_own(context, settings.packerd_address[0])
        return context
    try:
        context.load_cert_chain(certificate, settings.shuttle_packerd_tls_key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SettingsError(
            "SHUTTLE_PACKERD_TLS_CERT, SHUTTLE_PACKERD_TLS_KEY: write the paths of a readable certificate in PEM,"
            f" with its chain, and of its key without a password ({type(error).__name__})"
        ) from None
    return context


def _no_password() -> str:
    """Instead of OpenSSL's question on the terminal."""
    raise ValueError


def _load_own(context: ssl.SSLContext, host: str) -> None:
    """Make a self-signed certificate, which clients trust only by its fingerprint; its key is deleted after loading."""
    pem = _self_signed(host)
    with tempfile.TemporaryDirectory() as folder:  # the ssl module reads files only
        path = Path(folder, "own.pem")
        path.touch(mode=0o600)
        path.write_bytes(pem)
        context.load_cert_chain(path)


def _self_signed(host: str) -> bytes:
    """Key and certificate in PEM, for the host, this machine's name and loopback."""
    from cryptography import x509  # noqa: PLC0415 - 60 ms that most starts need not pay
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "build shuttle")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.IPAddress(address) if (address := _address(each)) is not None else x509.DNSName(each)
        for each in dict.fromkeys((host, socket.gethostname(), "localhost", "127.0.0.1", "::1"))
        if each.isascii()
    ]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    no_password = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password)
    return pem + certificate.public_bytes(serialization.Encoding.PEM)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
