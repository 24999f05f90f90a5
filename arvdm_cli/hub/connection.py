"""The proxies and certificates that the environment sets for connections, checked before the first request.

The HTTP library reads them itself, and answers what it cannot use with errors that do not name the variable.
"""

from __future__ import annotations

import os
import ssl
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from ..errors import ConfigError

PROXIES = ("all_proxy", "https_proxy", "http_proxy")  # each in small letters or capitals
SCHEMES = ("http", "https", "socks5", "socks5h")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def check_environment() -> None:
    """Refuse proxies and certificates that cannot be used.

    Raises: ConfigError, which names the variable
    """
    for variable, address in proxies().items():
        check_proxy(variable, address)
    for variable in CERTIFICATES:
        if path := os.environ.get(variable):
            check_certificates(variable, Path(path))


def proxies() -> dict[str, str]:
    """Addresses of proxies by the variable that sets them; small letters take precedence over capitals."""
    names = {name: name if os.environ.get(name) else name.upper() for name in PROXIES}
    return {name: address for name in names.values() if (address := os.environ.get(name))}


def proxy_of(url: str) -> str | None:
    """Variable that sets the proxy for an address; None where there is none."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    variables = {name.lower(): name for name in proxies()}
    return variables.get(f"{parts.scheme}_proxy") or variables.get("all_proxy")


def check_proxy(variable: str, address: str) -> None:
    """Refuse a proxy whose address is not one, or that needs a package.

    Raises: ConfigError
    """
    try:
        url = urlsplit(address if "://" in address else f"http://{address}")
        valid = url.scheme in SCHEMES and url.hostname and url.port != 0
    except ValueError:  # of the port, or of brackets
        valid = False
    if not valid:
        raise ConfigError(
            f"{variable} is {without_login(address)!r}, not a valid proxy address.",
            hint=f"Set it to an address such as http://host:3128, or unset {variable}.",
        )
    if url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ConfigError(
            f"{variable} names a SOCKS proxy, which needs the package socksio.",
            hint=f"pip install socksio, or unset {variable}.",
        )


def check_certificates(variable: str, path: Path) -> None:
    """Refuse a file or folder of certificates that cannot be used.

    Raises: ConfigError
    """
    hint = (
        f"Set it to a {'PEM file' if variable == 'SSL_CERT_FILE' else 'folder'} of certificates, or unset {variable}."
    )
    if variable == "SSL_CERT_DIR":
        if not path.is_dir():
            raise ConfigError(f"{variable} is '{path}', which is not a folder.", hint=hint)
        return
    try:
        ssl.create_default_context(cafile=str(path))
    except ssl.SSLError as error:
        raise ConfigError(f"{variable} is '{path}', which contains no certificate in PEM format.", hint=hint) from error
    except OSError as error:
        raise ConfigError(f"{variable} is '{path}', which cannot be read: {error.strerror}.", hint=hint) from error


def without_login(url: str) -> str:
    """An address without the name and password that it may hold."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    return url if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
