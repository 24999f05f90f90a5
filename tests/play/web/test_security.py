"""Who may open the page: Host, then Origin, then token; and how much a viewer may send."""

import pytest

from arvdm_cli.errors import UsageError
from arvdm_cli.play.web import security
from arvdm_cli.play.web.security import Allowance, Guard

GUARD = Guard.of("127.0.0.1", allowed=("Lab.example.org",))
HOST = "127.0.0.1:8000"


@pytest.mark.parametrize(
    "host", [HOST, "localhost:8000", "LOCALHOST", "[::1]:8000", "lab.example.org", "lab.example.org:443"]
)
def test_a_host_of_this_machine_or_an_allowed_one_is_served(host):
    assert GUARD.refusal([host], [], GUARD.token) is None


@pytest.mark.parametrize(
    "hosts",
    [[], ["evil.example"], ["127.0.0.1.evil.example"], ["evil.example:8000"], ["127.0.0.1@evil.example"], ["", HOST],
     [HOST, HOST], ["127.0.0.2"], ["[::1"], ["localhost/x"], ["lab.example.org.evil.example"], [" localhost"]],
)  # fmt: skip
def test_another_host_is_refused(hosts):
    assert "--allow-host" in GUARD.refusal(hosts, [], GUARD.token)


@pytest.mark.parametrize(
    ("host", "origin"),
    [(HOST, f"http://{HOST}"), ("lab.example.org", "https://lab.example.org"), ("localhost", "http://LOCALHOST:80"),
     ("lab.example.org:443", "https://lab.example.org"), ("[::1]:8000", "http://[::1]:8000")],
)  # fmt: skip
def test_a_request_of_the_page_itself_is_served(host, origin):
    assert GUARD.refusal([host], [origin], GUARD.token) is None


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://127.0.0.1:9000", "http://localhost:8000", f"https://user@{HOST}",
     f"http://{HOST}/path", "file://", f"ftp://{HOST}", f"http://{HOST}.evil.example", "http://[", f"http://{HOST}?x"],
)  # fmt: skip
def test_a_request_of_another_page_is_refused(origin):
    assert "Another page" in GUARD.refusal([HOST], [origin], GUARD.token)
    assert "Another page" in GUARD.refusal([HOST], [f"http://{HOST}", origin], GUARD.token)


@pytest.mark.parametrize(
    "token",
    [None, "", "wrong", GUARD.token[:-1], GUARD.token + "x", "é"],
    ids=["none", "empty", "wrong", "shorter", "longer", "foreign"],
)
def test_a_request_without_the_token_is_refused(token):
    assert "token" in GUARD.refusal([HOST], [], token)


def test_host_is_asked_before_origin_and_origin_before_token():
    assert "host" in GUARD.refusal(["evil.example"], ["http://evil.example"], None)
    assert "page" in GUARD.refusal([HOST], ["http://evil.example"], None)


def test_every_start_has_a_token_of_its_own_that_cannot_be_guessed():
    tokens = {Guard.of("127.0.0.1").token for _ in range(50)}
    assert len(tokens) == 50 and all(len(token) >= 32 for token in tokens)


def test_a_server_for_all_addresses_serves_no_name_that_was_not_allowed():
    guard = Guard.of("0.0.0.0", allowed=("10.0.0.5",))
    assert guard.refusal(["10.0.0.5:80"], [], guard.token) is None
    assert guard.refusal(["0.0.0.0:80"], [], guard.token) is not None
    assert Guard.of("10.0.0.7").refusal(["10.0.0.7"], [], None).startswith("Open the address")


def test_names_are_allowed_as_a_user_may_write_them():
    guard = Guard.of("::", allowed=("LAB.example.org:443", "fe80::1", "[fe80::2]:80"))
    assert {"lab.example.org", "fe80::1", "fe80::2"} <= guard.hosts


@pytest.mark.parametrize("name", ["*", "*.example.org", "", "https://lab.example.org", "a b", "a/b", "user@host", "["])
def test_a_name_that_no_host_has_is_refused(name):
    with pytest.raises(UsageError, match="not a valid host"):
        Guard.of("127.0.0.1", allowed=(name,))


def test_loopback_is_recognised():
    assert all(map(security.is_loopback, ("127.0.0.1", "127.3.2.1", "localhost", "::1", "[::1]")))
    assert not any(map(security.is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))


def test_the_cookie_is_for_this_port_this_site_and_no_script():
    cookie = security.cookie_of("secret", 8000)
    assert cookie.startswith("arvdm-play-8000=secret; ")
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert "path" not in cookie.lower() and "domain" not in cookie.lower()  # the browser takes the page's own folder


def test_the_token_is_read_from_the_address_or_its_cookie_beside_strange_ones():
    cookies = 'a={"b": 1}; arvdm-play-8001=other; arvdm-play-8000=secret'
    assert security.token_of(cookies, {}, 8000) == "secret"
    assert security.token_of(cookies, {"token": "given"}, 8000) == "given"
    assert security.token_of("", {}, 8000) is None


def test_scripts_styles_and_connections_are_the_pages_own():
    policy = dict(rule.split(" ", 1) for rule in security.HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert not any("unsafe" in sources or "http" in sources or "*" in sources for sources in policy.values())


def test_messages_are_counted_against_a_rate():
    now = [0.0]
    allowance = Allowance(clock=lambda: now[0])
    assert all(allowance.take() for _ in range(security.BURST)) and not allowance.take()
    now[0] += 1
    assert all(allowance.take() for _ in range(security.RATE)) and not allowance.take()
    now[0] += 1e6
    assert sum(allowance.take() for _ in range(2 * security.BURST)) == security.BURST
