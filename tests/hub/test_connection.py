"""What the environment says of proxies and certificates is checked, and what cannot be used is named."""

import ssl
import sys

import pytest

from arvdm_cli.errors import ConfigError
from arvdm_cli.hub import connection
from arvdm_cli.hub.connection import check_environment, proxy_of, without_login
from support.hub import fails


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """No proxy and no certificates of whoever runs the tests."""
    for name in (*connection.PROXIES, "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in connection.CERTIFICATES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["ALL_PROXY", "https_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize("address", ["ftp://user:secret@h:1", "http://", "http://h:port", "http://[h", "http://h:0"])
def test_a_proxy_that_is_not_an_address_is_named_without_its_login(monkeypatch, name, address):
    monkeypatch.setenv(name, address)
    with pytest.raises(ConfigError, match=name) as caught:
        check_environment()
    assert f"unset {name}" in caught.value.hint and "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://h:3128", "https://user:secret@h", "h:3128", "localhost"])
def test_the_address_of_a_proxy_is_taken_with_and_without_its_scheme(monkeypatch, address):
    monkeypatch.setenv("HTTPS_PROXY", address)
    check_environment()
    assert proxy_of("https://example.org/x") == "HTTPS_PROXY" and proxy_of("http://example.org") is None


def test_a_socks_proxy_says_which_package_it_needs(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"ALL_PROXY.*socksio") as caught:
        check_environment()
    assert caught.value.hint.startswith("pip install socksio")
    monkeypatch.setattr(connection, "find_spec", lambda name: sys)
    check_environment()


def test_a_host_that_no_proxy_names_is_reached_without_one(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://h:1")
    assert proxy_of("https://example.org") == "ALL_PROXY"
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert proxy_of("https://example.org") is None


def test_certificates_that_cannot_be_used_are_named(monkeypatch, tmp_path):
    (tmp_path / "text.pem").write_text("no certificate")
    for name, path in (
        ("SSL_CERT_FILE", tmp_path / "missing.pem"),
        ("SSL_CERT_FILE", tmp_path / "text.pem"),
        ("SSL_CERT_FILE", tmp_path),
        ("SSL_CERT_DIR", tmp_path / "missing"),
    ):
        monkeypatch.setenv(name, str(path))
        with pytest.raises(ConfigError, match=name) as caught:
            check_environment()
        monkeypatch.delenv(name)
        assert str(path) in str(caught.value) and f"unset {name}" in caught.value.hint
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    check_environment()


def test_certificates_of_the_system_are_taken(monkeypatch):
    if file := ssl.get_default_verify_paths().cafile:
        monkeypatch.setenv("SSL_CERT_FILE", file)
    check_environment()


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"ALL_PROXY": "ftp://127.0.0.1:9"}, 2, "ALL_PROXY"),
        ({"SSL_CERT_FILE": "/nonexistent.pem"}, 2, "SSL_CERT_FILE"),
        ({"SSL_CERT_FILE": __file__}, 2, "SSL_CERT_FILE"),
        ({"HTTP_PROXY": "http://127.0.0.1:1"}, 5, "HTTP_PROXY"),
    ],
)
def test_a_download_that_cannot_connect_names_the_variable(hub, run_apart, settings, code, says):
    result = run_apart("download", "some/body", "--timeout", "1", "--progress", "none", **settings)
    assert fails(result, code) and says in result.stderr
    assert hub.seen == []


@pytest.mark.parametrize(
    ("url", "shown"), [("http://u:p@h:1/x", "http://h:1/x"), ("http://h", "http://h"), ("http://u:p@[h", "[h")]
)
def test_an_address_is_shown_without_its_login(url, shown):
    assert without_login(url) == shown
