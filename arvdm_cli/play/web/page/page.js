// The page of `arvdm play`: it joins the socket, the pictures, the measurements and all that steers.

import { Editor } from "./editor.js";
import { Gamepads } from "./gamepad.js";
import { Hud, trim } from "./hud.js";
import { Input } from "./input.js";
import { KeyMap, nameOf, signOf } from "./keys.js";
import { Link } from "./link.js";
import { Pad, cap } from "./pad.js";
import { Screens, download } from "./screens.js";

const SPEEDS = [0.25, 0.5, 1, 2, 4];
const STATES = { live: "Live", paused: "Paused", slow: "Slow motion", lost: "No connection", old: "Old page", ended: "Ended" };
const COMMANDS = { pause: "Pause", step: "One step", rewind: "Back one second", reset: "Start again", seed: "Another seed",
  policy: "Who acts", screenshot: "Screenshot" };
const BUTTONS = { comma: ["back-frame", "Back one frame"], f: ["full", "Fullscreen"] }; // the page's own shortcuts

const find = (id) => document.getElementById(id);
const play = { header: null, facts: null, map: null, drives: false, seeking: false, wanted: null };

const link = new Link({ hello, status, frame, state });
const input = new Input(link);
const screens = new Screens(find("stage"));
const hud = new Hud(find);
const pad = new Pad(input, { cross: find("cross"), pads: find("pads"), sliders: find("sliders") });
const gamepads = new Gamepads(input, find("gamepad"));
const editor = new Editor(find, showKeys);
const pressed = new Set(); // names of keys that are down

history.replaceState(null, "", location.pathname); // the token is in a cookie now; the address may be shown to others
link.open();

// --- what the session says

function hello(facts) {
  play.facts = facts;
  play.map = new KeyMap(facts);
  screens.restart();
  hud.restart();
  document.title = `${facts.model} · arvdm play`;
  find("model").textContent = facts.model;
  fill(find("speed"), SPEEDS.map((speed) => [String(speed), `${speed}×`]));
  fill(find("policy"), facts.policies.map((name) => [name, name]));
  fill(find("start"), facts.starts.map((name) => [name, name]));
  find("policy-field").hidden = facts.policies.length < 2;
  find("start-field").hidden = facts.starts.length < 2;
  find("watch-only").hidden = facts.actions.length > 0;
  find("edit").hidden = !facts.actions.length;
  const mouse = [...new Set(Object.values(facts.mouse))];
  find("mouse").hidden = !mouse.length;
  find("mouse").textContent = `Click the picture to steer ${mouse.join(" and ")} with the mouse; Esc lets go.`;
  find("obeyed").hidden = !facts.obeyed_after;
  find("obeyed").textContent = `This schedule obeys a key in full after ${facts.obeyed_after} frames.`;
  gamepads.fit(facts);
  showKeys();
  find("notice").hidden = true;
}

function status({ drives, viewers }) {
  if (drives !== play.drives) letGo();
  play.drives = drives;
  find("seat").textContent = `${drives ? "You drive" : "You watch"} · ${viewers} ${viewers === 1 ? "viewer" : "viewers"}`;
  find("take").hidden = drives;
  find("hand").hidden = !drives || viewers < 2;
  for (const place of ["transport", "controls", "start-form"]) find(place).classList.toggle("watching", !drives);
  for (const each of document.querySelectorAll("#transport button:not(#shot, #full), #transport select, #start-form :is(button, select, input), #cross button, #pads button, #sliders input, #seek")) {
    each.disabled = !drives;
  }
}

async function frame(header, pictures) {
  try {
    if ((await screens.draw(header, pictures)) && link.connected) show(header);
  } finally {
    link.send({ ack: header.id });
  }
}

function show(header) {
  play.header = header;
  const obeyed = input.obeyed(header.stamp);
  if (obeyed !== null) hud.pressed(obeyed);
  hud.show(header);
  pad.mark(header.held, "obeyed");
  screens.note("truth", header.psnr === null ? "" : `PSNR ${header.psnr.toFixed(1)} dB`);
  screens.note("other", header.other_psnr === null ? "" : `PSNR ${header.other_psnr.toFixed(1)} dB`);
  const slow = header.factor < 0.9 * header.speed;
  mark(header.error ? "ended" : header.paused ? "paused" : slow ? "slow" : "live", slow ? ` ${trim(header.factor)}×` : "");
  if (header.recorded !== null) find("state").dataset.recorded = `${header.recorded} recorded`;
  if (header.error) notice(header.error);
  else if (header.note !== play.note) notice(header.note, 6000);
  play.note = header.note;
  if (header.speed === play.wanted) play.wanted = null;
  document.body.classList.toggle("is-paused", header.paused);
  const name = header.paused ? "Play" : "Pause";
  if (find("pause").title !== name) {
    find("pause").title = name;
    find("pause").setAttribute("aria-label", name);
  }
  for (const [id, value] of [["speed", String(header.speed)], ["policy", header.policy]]) choose(find(id), value);
  if (play.shown !== header.branch) { // what the play began with may have changed
    play.shown = header.branch;
    choose(find("start"), header.start);
    find("seed").value = header.seed;
  }
  showTime(header);
}

function showTime({ frame: number, back, paused, branch }) {
  const seek = find("seek");
  if (!play.seeking) {
    [seek.min, seek.max, seek.value] = [hud.first(), number, number];
    seek.disabled = !play.drives || !back;
    seek.setAttribute("aria-valuetext", `Frame ${number}`);
    const text = paused && branch ? "Play branches here" : "";
    if (find("at").textContent !== text) find("at").textContent = text;
  }
}

function state(name, text) {
  mark(name, "");
  notice(text);
  find("seat").textContent = "";
  letGo();
}

function mark(name, more) {
  const pill = find("state");
  const text = STATES[name] + more;
  if (pill.textContent !== text) pill.textContent = text;
  pill.dataset.state = name;
}

function notice(text, milliseconds) {
  const place = find("notice");
  clearTimeout(play.fading);
  place.hidden = !text;
  place.textContent = text;
  if (text && milliseconds) play.fading = setTimeout(() => (place.hidden = true), milliseconds);
}

function fill(select, choices) {
  select.replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
}

function choose(select, value) {
  if (document.activeElement === select || select.value === value) return;
  if (![...select.options].some((option) => option.value === value)) select.add(new Option(`${value}×`, value));
  select.value = value;
}

// --- commands

const command = (name, value) => link.send(value === undefined ? { command: name } : { command: name, value });

function rewind(frames) {
  const most = play.header?.back ?? 0;
  if (Math.min(frames, most) >= 1) command("rewind", Math.min(Math.round(frames), most));
}

function setSpeed(speed) {
  play.wanted = Math.min(4, Math.max(0.25, speed)); // until a frame has it: keys may be faster than frames
  command("speed", play.wanted);
}

const ACTS = {
  pause: () => command("pause"),
  step: () => command("step"),
  reset: () => command("reset"),
  "back-second": () => rewind(Math.max(1, Math.round(play.facts.fps))),
  "back-frame": () => {
    command("pause", true);
    rewind(1);
  },
  "draw-seed": () => command("seed"),
  take: () => link.send({ seat: "take" }),
  hand: () => link.send({ seat: "hand" }),
  shot: screenshot,
  full: fullscreen,
  edit: () => editor.open(play.map, play.facts.actions, play.facts.axes),
};

for (const [id, act] of Object.entries(ACTS)) {
  find(id).addEventListener("click", (event) => {
    act();
    if (event.detail) find("stage").focus({ preventScroll: true }); // after a mouse; a keyboard's focus stays
  });
}
find("speed").addEventListener("change", ({ target }) => setSpeed(Number(target.value)));
find("policy").addEventListener("change", ({ target }) => command("policy", target.value));
find("start-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (find("start").value && find("start").value !== play.header?.start) command("start", find("start").value);
  command("seed", Number(find("seed").value));
});
find("seek").addEventListener("input", ({ target }) => {
  play.seeking = true;
  target.setAttribute("aria-valuetext", `Frame ${target.value}`);
  find("at").textContent = `Back to frame ${target.value}`;
});
find("seek").addEventListener("change", ({ target }) => {
  play.seeking = false;
  const frames = play.header.frame - Number(target.value);
  if (frames < 1) return;
  command("pause", true); // to look at it first: the next step branches from here
  rewind(frames);
});

function fullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else (matchMedia("(max-width: 960px)").matches ? document.documentElement : find("play")).requestFullscreen(); // a phone needs the pad
}

async function screenshot() {
  const answer = await fetch("shot.png");
  if (answer.ok) download(`${play.facts.model}-${play.header.frame}.png`.replace(/[^\w.-]+/g, "-"), await answer.blob());
}

// --- keys and mouse

function showKeys() {
  const { actions, axes, shortcuts } = play.facts;
  pad.build(actions, axes, play.map);
  if (play.drives) pad.mark({}, "held");
  const title = ([name, value]) => (name === "speed" ? (value < 1 ? "Slower" : "Faster") : COMMANDS[name] ?? name);
  const rows = Object.entries(shortcuts).map(([key, shortcut]) => [key, title(shortcut)]);
  rows.push(...Object.entries(BUTTONS).map(([key, [, words]]) => [key, words]));
  find("shortcuts").replaceChildren(...rows.filter(([key]) => !play.map.held(key)).map(([key, title]) => {
    const [row, term, text] = ["div", "dt", "dd"].map((kind) => document.createElement(kind));
    term.append(cap(key));
    text.textContent = title;
    row.append(term, text);
    return row;
  }));
}

function shortcut(key) {
  const [name, value] = play.facts.shortcuts[key] ?? [];
  const [button] = name === "screenshot" ? ["shot"] : BUTTONS[key] ?? [];
  if (button) {
    if (!find(button).disabled) ACTS[button]();
    return true;
  }
  if (!name) return false;
  if (!play.drives) return true;
  if (name === "rewind") rewind(Math.max(1, Math.round(value * play.facts.fps)));
  else if (name === "speed") setSpeed(value * (play.wanted ?? play.header.speed));
  else command(name);
  return true;
}

// Whether a key belongs to what has the focus: text to a field, arrows to a slider, Space to a button.
function isTakenBy(target, key) {
  if (find("editor").open || target.matches("select, textarea, input:not([type=range])")) return true;
  if (["tab", "escape", "control", "alt"].includes(key)) return !play.locked; // the browser's, unless it lends them
  if (target.matches("input[type=range]")) return ["up", "down", "left", "right"].includes(key);
  return target.matches("button, a") && ["space", "enter"].includes(key);
}

function holdKeys() {
  input.hold("keys", play.map.values(pressed));
}

window.addEventListener("keydown", (event) => {
  const key = nameOf(event);
  if (!play.facts || key === null || isTakenBy(event.target, key)) return;
  const acts = play.map.held(key);
  if ((event.ctrlKey || event.altKey || event.metaKey) && !play.locked) return;
  if (acts && play.drives) {
    event.preventDefault();
    if (event.repeat) return;
    pressed.add(key);
    holdKeys();
  } else if (!acts && !event.repeat && shortcut(key)) event.preventDefault();
});

window.addEventListener("keyup", (event) => {
  if (event.key === "Meta") letGo(); // while it is down, other keys come up unheard
  else if (pressed.delete(nameOf(event))) holdKeys();
});

function letGo() {
  play.wanted = null;
  pressed.clear();
  pad.release();
  input.release();
}

window.addEventListener("blur", letGo);
window.addEventListener("pagehide", letGo);
document.addEventListener("visibilitychange", () => document.hidden && letGo());
document.addEventListener("fullscreenchange", async () => {
  screens.fit();
  play.locked = false;
  if (!document.fullscreenElement) return;
  try { // in fullscreen some browsers lend a page Ctrl, Alt and Tab too
    await navigator.keyboard.lock();
    play.locked = true;
  } catch { /* not this one */ }
});
window.addEventListener("resize", () => screens.fit());

find("stage").addEventListener("click", async () => {
  find("stage").focus({ preventScroll: true });
  if (!play.drives || !Object.keys(play.facts.mouse).length || document.pointerLockElement) return;
  try {
    await find("stage").requestPointerLock();
  } catch { /* refused right after it was left: the next click has it */ }
});
find("stage").addEventListener("contextmenu", (event) => event.preventDefault());
find("stage").addEventListener("mousedown", ({ button }) => {
  const key = `mouse${button + 1}`;
  const steers = document.pointerLockElement || !Object.keys(play.facts?.mouse ?? {}).length; // else a click begins that
  if (!play.drives || !steers || !play.map.held(key)) return;
  pressed.add(key);
  holdKeys();
});
window.addEventListener("mouseup", ({ button }) => pressed.delete(`mouse${button + 1}`) && holdKeys());
document.addEventListener("mousemove", ({ movementX, movementY }) => {
  if (!document.pointerLockElement) return;
  for (const [way, amount] of [["x", movementX], ["y", movementY]]) {
    const action = play.facts.mouse[way];
    if (action && amount) input.move(action, amount * play.map.sensitivity);
  }
});
document.addEventListener("pointerlockchange", () => find("stage").classList.toggle("locked", Boolean(document.pointerLockElement)));
