"""The page in a real browser: frames move, keys steer, and nothing but the server is asked for anything."""

import asyncio
import http.server
import io
import threading
import tomllib
from itertools import pairwise
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from arvdm_cli.play.keys import KeyMap
from support.browser import Tab, launched, shift
from support.pages import Proxy, serving
from support.paths import ROOT
from support.play import STRIDE, Landscape

pytestmark = pytest.mark.browser
pytest.importorskip("playwright")


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def open_tab(browser):
    """Open tabs; at the end, none of them has complained or asked another host for anything."""
    tabs = []

    def open_one(server, url=None, silent=True, **options):
        tab = Tab(browser, url or server.url, **options)
        tabs.append((tab, server, silent))
        return tab

    yield open_one
    for tab, server, silent in tabs:
        tab.close()
        assert not silent or tab.complaints == []
        hosts = {urlsplit(url).netloc for url in tab.requests if not url.startswith(("blob:", "data:"))}
        assert hosts <= {urlsplit(server.url).netloc}


def paused(tab):
    """Pause, and wait until what is shown stays."""
    tab.until(lambda: tab.text("#state") == "Live")  # a session sleeps, and shows it, until a page wakes it
    tab.page.keyboard.press("p")
    tab.until(lambda: tab.text("#state") == "Paused")
    return tab


def test_frames_move_and_the_token_leaves_the_address(server, open_tab):
    tab = open_tab(server).live()
    first = tab.frame()
    tab.page.keyboard.down("d")
    before = tab.picture()
    tab.until(lambda: tab.frame() > first + 5)
    assert np.abs(tab.picture() - before).mean() > 1
    assert tab.page.url == f"http://127.0.0.1:{server.port}/"
    tab.page.reload()
    tab.live().until(lambda: tab.text("#state") == "Live")  # by its cookie


@pytest.mark.parametrize(("key", "way"), [("d", -1), ("a", 1)])
def test_a_key_turns_the_view_the_right_way(server, open_tab, key, way):
    tab = paused(open_tab(server).live())
    for _ in range(3):
        before, number = tab.picture(), tab.frame()
        tab.page.keyboard.down(key)
        tab.page.keyboard.press(".")
        tab.until(lambda number=number: tab.frame() == number + 1)
        assert shift(before, tab.picture()) == way * STRIDE
        tab.page.keyboard.up(key)


def test_keys_are_combined_and_released_when_the_page_loses_the_focus(server, open_tab):
    tab = open_tab(server).live()
    session = server.session
    tab.page.keyboard.down("w")
    tab.page.keyboard.down("d")
    tab.until(lambda: session.held == {"forward": 1, "right": 1})
    assert tab.find('[aria-pressed="true"]').count() == 2
    tab.until(lambda: tab.find("[data-action].obeyed").count() == 2)
    tab.page.evaluate("window.dispatchEvent(new Event('blur'))")
    tab.until(lambda: session.held == {})
    assert tab.find('[aria-pressed="true"]').count() == 0


def test_a_page_that_is_closed_holds_nothing(server, open_tab):
    tab, other = open_tab(server).live(), open_tab(server).live()
    tab.page.keyboard.down("d")
    other.until(lambda: server.session.held == {"right": 1})
    tab.page.goto("about:blank")
    other.until(lambda: server.session.held == {} and server.session.controls.held == {})
    other.until(lambda: other.text("#seat") == "You drive · 1 viewer")


def test_a_finger_on_the_pad_steers_and_may_slide(server, open_tab):
    tab = open_tab(server, has_touch=True, is_mobile=True, viewport={"width": 400, "height": 860}).live()
    session = server.session

    def centre(name):
        box = tab.find(f'[data-action="{name}"]').bounding_box()
        return {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}

    tab.find("#pads").evaluate("pads => pads.scrollIntoView({ block: 'end' })")
    touch = tab.context.new_cdp_session(tab.page)
    places = {name: centre(name) for name in ("left", "forward", "jump")}
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [places["left"] | {"id": 1}]})
    tab.until(lambda: session.held == {"left": 1})
    both = [places["left"] | {"id": 1}, places["jump"] | {"id": 2}]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": both})
    tab.until(lambda: session.held == {"left": 1, "jump": 1})
    slid = [places["forward"] | {"id": 1}, places["jump"] | {"id": 2}]
    touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": slid})
    tab.until(lambda: session.held == {"forward": 1, "jump": 1})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    tab.until(lambda: session.held == {})


GAMEPAD = """
const pad = { id: "Fake (Vendor: 0)", connected: true, index: 0, mapping: "standard", axes: [0, 0, 0, 0],
  buttons: Array.from({ length: 17 }, () => ({ pressed: false, value: 0 })) };
window.pad = pad;
navigator.getGamepads = () => [pad];
"""


def test_a_gamepad_steers_beyond_its_dead_zone(server, open_tab):
    tab = open_tab(server, script=GAMEPAD).live()
    session = server.session
    tab.page.evaluate("window.dispatchEvent(new Event('gamepadconnected'))")
    tab.until(lambda: tab.text("#gamepad") == "Gamepad: Fake")
    tab.page.evaluate("pad.axes = [1, 0, -0.5, 0]; pad.buttons[0].pressed = true")
    tab.until(lambda: session.held == {"right": 1, "jump": 1, "cameraX": -0.5})
    tab.page.evaluate("pad.axes = [0.14, 0.1, 0.14, 0]; pad.buttons[0].pressed = false")
    tab.until(lambda: session.held == {})
    tab.page.evaluate("pad.axes = [0, -1, 0, 0]")
    tab.until(lambda: session.held == {"forward": 1})
    tab.page.evaluate("pad.connected = false")
    tab.until(lambda: session.held == {})


@pytest.mark.parametrize("pause", [0, 50])
def test_a_mouse_turns_the_view_after_a_click_on_the_picture(server, open_tab, pause):
    """As far when each of its movements has a frame of its own as when one frame has many."""
    tab = open_tab(server).live()
    before = server.session.states[-1][0]
    tab.find("#stage").click()
    tab.until(lambda: tab.page.evaluate("document.pointerLockElement !== null"))
    box = tab.find("#stage").bounding_box()
    for step in range(10):  # in all 0.9 of what a frame can turn: nothing is cut off
        tab.page.mouse.move(box["x"] + box["width"] / 2 + 10 * step, box["y"] + box["height"] / 2)
        tab.page.wait_for_timeout(pause)
    tab.until(lambda: server.session.states[-1][0] == pytest.approx(before + 0.9 * STRIDE))


def test_a_slider_sets_an_action_between_its_ends(server, open_tab):
    tab = open_tab(server).live()
    tab.find("#sliders input").fill("0.5")
    tab.until(lambda: server.session.held == {"cameraX": 0.5})
    tab.find("#sliders input").dblclick()
    tab.until(lambda: server.session.held == {})


def test_of_two_viewers_one_drives_and_the_other_can_take_over(server, open_tab):
    driver, watcher = open_tab(server).live(), open_tab(server).live()
    driver.until(lambda: driver.text("#seat") == "You drive · 2 viewers")
    assert watcher.text("#seat") == "You watch · 2 viewers"
    assert watcher.find("#pause").is_disabled() and not watcher.find("#shot").is_disabled()
    watcher.page.keyboard.down("a")
    driver.page.keyboard.down("d")
    driver.until(lambda: server.session.held == {"right": 1})
    watcher.page.keyboard.up("a")
    watcher.find("#take").click()
    watcher.until(lambda: watcher.text("#seat").startswith("You drive"))
    watcher.page.keyboard.down("a")
    watcher.until(lambda: server.session.held == {"left": 1})
    assert driver.until(lambda: not driver.find("#take").is_hidden())
    watcher.find("#hand").click()
    driver.until(lambda: driver.text("#seat").startswith("You drive"))
    driver.until(lambda: server.session.held == {})


def test_going_back_shows_the_pictures_of_then(server, open_tab):
    tab = paused(open_tab(server).live())
    tab.page.keyboard.down("d")
    seen = {tab.frame(): tab.picture()}
    for _ in range(6):
        number = tab.frame()
        tab.page.keyboard.press(".")
        tab.until(lambda number=number: tab.frame() == number + 1)
        seen[tab.frame()] = tab.picture()
    tab.page.keyboard.up("d")
    for _ in range(3):
        number = tab.frame()
        tab.find("#back-frame").click()
        tab.until(lambda number=number: tab.frame() == number - 1)
        assert (tab.picture() == seen[tab.frame()]).all()
    target = tab.frame() - 3
    tab.find("#seek").fill(str(target))
    tab.until(lambda: tab.frame() == target)
    assert (tab.picture() == seen[target]).all()
    assert tab.text("#hud-branch") == "4" and tab.text("#at") == "Play branches here"


def test_buttons_and_fields_are_commands(server, open_tab):
    tab = open_tab(server).live()
    session = server.session
    tab.find("#speed").select_option("0.5")
    tab.find("#policy").select_option("random")
    tab.until(lambda: session.speed == 0.5 and session.policy == "random")
    tab.page.keyboard.press("]")
    tab.until(lambda: session.speed == 1)
    tab.find("#start").select_option("nothing")
    tab.find("#seed").fill("77")
    tab.find("#start-form button[type=submit]").click()
    tab.until(lambda: (session.start_name, session.seed) == ("nothing", 77))
    tab.find("#draw-seed").click()
    tab.until(lambda: tab.find("#seed").input_value() == "78")
    tab.find("#pause").click()
    tab.until(lambda: session.paused and tab.find("#pause").get_attribute("aria-label") == "Play")
    number = tab.frame()
    tab.find("#step").click()
    tab.until(lambda: tab.frame() == number + 1)
    tab.find("#reset").click()
    tab.until(lambda: tab.frame() == 0)


def test_a_screenshot_is_saved_to_the_bit(open_tab):
    with serving(Landscape(truth=True)) as server:
        tab = paused(open_tab(server).live())
        with tab.page.expect_download() as download:
            tab.find("#shot").click()
        frame = server.newest
        assert download.value.suggested_filename == f"arvdm-{frame.number}.png"
        data = download.value.path().read_bytes()
        shown = np.asarray(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(shown, np.concatenate([frame.picture, frame.truth], axis=1))


def test_what_is_beside_the_model_is_shown_with_its_error(open_tab):
    with serving(Landscape(truth=True, other=True)) as server:
        tab = paused(open_tab(server).live())
        model, truth, other = (tab.picture(kind) for kind in ("model", "truth", "other"))
        assert np.abs(truth - model[::-1]).mean() < 4 and np.abs(other - model[:, ::-1]).mean() < 4
        assert tab.text("#hud-psnr") == "24.3 dB" and "24.3 dB" in tab.text('figure[data-kind="truth"]')
        assert tab.find("#memory").get_attribute("aria-label").startswith("Memory")


def test_a_model_without_actions_is_watched(open_tab):
    with serving(Landscape(names=()), KeyMap()) as server:
        tab = open_tab(server).live()
        first = tab.frame()
        assert not tab.find("#watch-only").is_hidden() and tab.find("#edit").is_hidden()
        assert tab.find("[data-action], .slider").count() == 0
        tab.page.keyboard.down("w")
        tab.until(lambda: tab.frame() > first + 3)
        assert server.session.commands == [("pause", True), ("pause", False)]  # until a page was open


def test_keys_can_be_changed_and_stay_changed(server, open_tab):
    tab = open_tab(server).live()
    tab.find("#edit").click()
    tab.find('[aria-label="Add key to left"]').click()
    tab.page.keyboard.press("q")
    tab.find('[aria-label="Add key to jump"]').click()
    tab.page.keyboard.press("w")
    assert "stood for forward; now for jump" in tab.text("#editor-note")
    tab.find('[aria-label="Remove A from left"]').click()
    with tab.page.expect_download() as download:
        tab.find("#editor-save").click()
    saved = tomllib.loads(download.value.path().read_text())
    assert saved["keys"]["q"] == {"left": 1} and "a" not in saved["keys"]
    assert saved["mouse"] == {"x": "cameraX", "sensitivity": 0.01}
    tab.find("#editor-close").click()
    tab.page.reload()
    tab.live()
    tab.page.keyboard.down("q")
    tab.until(lambda: server.session.held == {"left": 1})
    tab.page.keyboard.up("q")
    tab.find("#edit").click()
    tab.find("#editor-defaults").click()
    tab.find("#editor-close").click()
    tab.page.keyboard.down("a")
    tab.until(lambda: server.session.held == {"left": 1})


def test_a_lost_connection_is_shown_and_opened_again(server, open_tab):
    tab = open_tab(server).live()

    def cut():
        (guest,) = server.guests.values()
        asyncio.run_coroutine_threadsafe(guest.end(1001, "cut"), server._loop).result(60)

    tab.page.keyboard.down("d")
    tab.until(lambda: server.session.held)
    tab.page.evaluate("""() => {
        window.states = [];
        new MutationObserver(() => window.states.push(document.getElementById("state").textContent))
            .observe(document.getElementById("state"), { childList: true });
    }""")
    cut()
    tab.until(lambda: "No connection" in tab.page.evaluate("window.states") and tab.text("#state") == "Live")
    assert server.session.controls.held == {}
    assert tab.find("#notice").is_hidden()


def test_an_old_page_is_told_to_reload(server, open_tab):
    def older(route):
        reply = route.fetch()
        route.fulfill(response=reply, body=reply.text().replace("PROTOCOL = 1", "PROTOCOL = 0"))

    tab = open_tab(server, route=("**/link.js", older))
    tab.until(lambda: tab.text("#state") == "Old page")
    assert "Reload" in tab.text("#notice")


def test_without_the_token_a_browser_gets_nothing(server, open_tab):
    tab = open_tab(server, url=f"http://127.0.0.1:{server.port}/", silent=False)
    assert "?token=" in tab.text("body") and tab.find("canvas").count() == 0
    assert not server.seats.count


def test_a_page_of_another_origin_gets_no_socket(server, open_tab):
    """Also with the cookie, in the same browser, and with the right token in the address."""

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>stranger</title>")

        def log_message(self, *_):
            pass

    tab = open_tab(server, silent=False).live()
    stranger = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=stranger.serve_forever, daemon=True).start()
    try:
        page = tab.context.new_page()
        page.goto(f"http://127.0.0.1:{stranger.server_port}/")
        count = server.seats.count
        code = """address => new Promise(done => {
            const socket = new WebSocket(address);
            socket.onopen = () => done("open");
            socket.onerror = () => done("refused");
        })"""
        address = f"ws://127.0.0.1:{server.port}/ws?protocol=1"
        assert page.evaluate(code, address) == "refused"
        assert page.evaluate(code, f"{address}&token={server.guard.token}") == "refused"
        assert server.seats.count == count
    finally:
        stranger.shutdown()
        stranger.server_close()


def test_the_page_works_behind_a_proxy_under_a_prefix(server, open_tab):
    with Proxy(server) as proxy:
        tab = open_tab(proxy).live()
        tab.page.keyboard.down("d")
        tab.until(lambda: server.session.held == {"right": 1})
        (cookie,) = tab.context.cookies()
        assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == (Proxy.PREFIX, True, "Strict")
        assert tab.page.url == proxy.url.partition("?")[0]
        with tab.page.expect_download() as download:
            tab.find("#shot").click()
        assert download.value.path().read_bytes().startswith(b"\x89PNG")
        tab.page.reload()
        tab.live()
        tab.close()


def advance(tab, count, key=None):
    """Show frames one by one with a key held; returns all their pictures, that of before first."""
    pictures = [tab.picture()]
    if key:
        tab.page.keyboard.down(key)
    for _ in range(count):
        number = tab.frame()
        tab.page.keyboard.press(".")
        tab.until(lambda number=number: tab.frame() == number + 1)
        pictures.append(tab.picture())
    if key:
        tab.page.keyboard.up(key)
    return pictures


@pytest.mark.slow
def test_the_model_that_ships_is_driven_and_goes_back_to_the_bit(open_tab):
    from arvdm_cli.play import keys
    from arvdm_cli.play.opening import PlayRequest, open_session

    clip = str(ROOT / "examples" / "maze.mp4")
    session = open_session(PlayRequest("maze-fast", 1, prompts=(clip,), paused=True))
    with serving(session, keys.default(session.names), paused=True) as server:
        tab = open_tab(server).live()
        turns = {}
        for key in ("d", "a"):
            pictures = advance(tab, 10, key)
            turns[key] = [shift(*pair) for pair in pairwise(pictures[4:])]  # from the next chunk on
        assert sum(turns["d"]) < -12 and sum(turns["a"]) > 12, turns
        for at in range(2, 6):
            number = tab.frame()
            tab.find("#back-frame").click()
            tab.until(lambda number=number: tab.frame() == number - 1)
            assert (tab.picture() == pictures[-at]).all()
        assert tab.find("#memory").get_attribute("aria-label").startswith("Memory holds frames")


WIDTHS = [(1280, "dark"), (400, "light"), (320, "dark")]


@pytest.mark.parametrize(("width", "scheme"), WIDTHS)
def test_the_page_fits_its_window(open_tab, width, scheme):
    with serving(Landscape(truth=True)) as server:
        tab = open_tab(server, viewport={"width": width, "height": 860}, color_scheme=scheme).live()
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        sizes = tab.find("#stage canvas").evaluate_all(
            "all => all.map(c => [c.width, c.getBoundingClientRect().width])"
        )
        assert len(sizes) == 2 and all(shown % size == 0 for size, shown in sizes)  # pixels of one size: crisp


def test_everything_can_be_reached_and_done_with_a_keyboard_alone(server, open_tab):
    tab = paused(open_tab(server).live())
    reached = set()
    for _ in range(60):
        tab.page.keyboard.press("Tab")
        reached.add(tab.page.evaluate("document.activeElement.id || document.activeElement.dataset.action || ''"))
    wanted = tab.find(":is(button, select, input):enabled").evaluate_all(
        "all => all.filter(e => e.checkVisibility()).map(e => e.id || e.dataset.action)"
    )
    assert len(wanted) > 15 and {each for each in wanted if each} <= reached
    tab.find('[data-action="left"]').focus()
    tab.page.keyboard.down("Space")
    tab.until(lambda: server.session.controls.held == {"left": 1})
    tab.page.keyboard.up("Space")
    tab.until(lambda: server.session.controls.held == {})
    tab.find("#pause").focus()
    tab.page.keyboard.press("Enter")
    tab.until(lambda: not server.session.paused)


CONTRAST = """() => {
    const parse = text => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const ground = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const low = [];
    for (const element of document.body.querySelectorAll("*")) {
        const text = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!text || !element.checkVisibility() || element.closest(":disabled, noscript, option")) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) low.push([element.tagName, element.id, element.textContent.trim(), ratio].join(" "));
    }
    return low;
}"""
NAMELESS = """() => [...document.querySelectorAll(
    "button, select, input, canvas, dialog, img, [role]")].filter(each => {
    const labels = [...(each.labels ?? [])].map(label => label.textContent);
    const ids = (each.getAttribute("aria-labelledby") ?? "").split(" ");
    const others = ids.map(id => document.getElementById(id)?.textContent);
    const names = [each.getAttribute("aria-label"), ...labels, ...others];
    if (each.matches("button")) names.push(each.textContent);
    const spoken = each.matches("[role=status], [role=alert]") || each.getAttribute("alt") === "";
    return !names.some(name => name?.trim()) && !spoken;
}).map(each => each.outerHTML)"""
REPEATED = """() => {
    const ids = [...document.querySelectorAll("[id]")].map(each => each.id);
    return ids.filter((id, at) => ids.indexOf(id) !== at);
}"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_texts_have_contrast_and_controls_have_names(open_tab, scheme):
    with serving(Landscape(truth=True, other=True)) as server:
        tab = paused(open_tab(server, color_scheme=scheme).live())
        tab.page.keyboard.down("d")
        tab.until(lambda: tab.find('[aria-pressed="true"]').count() == 1)
        tab.until(lambda: tab.page.evaluate("document.getAnimations().length") == 0)  # colours have changed
        assert tab.page.evaluate(CONTRAST) == []
        assert tab.page.evaluate(NAMELESS) == []
        assert tab.page.evaluate(REPEATED) == []
        assert tab.page.evaluate("[document.documentElement.lang, document.title]") == ["en", "arvdm · arvdm play"]
        assert tab.find("h1").count() == tab.find("main").count() == 1
        tab.page.keyboard.up("d")
        tab.find("#edit").click()
        assert tab.page.evaluate(CONTRAST) == []
