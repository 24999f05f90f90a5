"""`arvdm play` as a user runs it, with a page."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from arvdm_cli.play.web.server import ENDED
from support.paths import ROOT

SIGNALS = [(number, 128 + number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to one process")
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_it_with_a_page_open(tiny, tmp_path, number, code):
    words = ["arvdm", "play", str(tiny), "--seed", "1"]
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were told to ignore
sys.argv = {words!r}
from arvdm_cli.cli import main
main()
"""
    command = [sys.executable, "-c", script]

    async def visitor(process):
        url = urlsplit(process.stdout.readline().strip())
        token = parse_qs(url.query)["token"][0]
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"http://{url.netloc}/ws?protocol=1&token={token}") as page,
        ):
            while (await page.receive(60)).type is not aiohttp.WSMsgType.BINARY:
                pass
            process.send_signal(number)
            while not page.closed:
                await page.receive(60)
            return page.close_code

    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert asyncio.run(visitor(run)) == ENDED
        assert run.wait(60) == code
        assert "Traceback" not in run.stderr.read()


def test_a_port_that_is_taken_is_an_error_of_one_line(arvdm, tiny):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = arvdm("play", tiny, "--port", taken.getsockname()[1])
    assert done.exit_code == 2 and "cannot be served at 127.0.0.1" in done.stderr and "--port" in done.stderr


def test_without_aiohttp_it_says_what_to_install(arvdm, tiny, monkeypatch):
    monkeypatch.delitem(sys.modules, "arvdm_cli.play.web.server", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    done = arvdm("play", tiny)
    assert done.exit_code == 2 and "pip install aiohttp simplejpeg" in done.stderr


def test_an_address_for_other_machines_is_served_with_a_warning(arvdm, tiny, monkeypatch):
    from arvdm_cli.play.web import server

    monkeypatch.setattr(server, "serve", lambda session, keys, settings, on_open: on_open("http://x/?token=y"))
    done = arvdm("play", tiny, "--host", "0.0.0.0", "--seed", 3)
    assert done.exit_code == 0, done.stderr
    assert "not encrypted" in done.stderr and done.stdout == "http://x/?token=y\n"
    assert "not encrypted" not in arvdm("play", tiny).stderr
