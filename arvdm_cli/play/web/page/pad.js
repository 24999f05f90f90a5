// Buttons made of the model's actions: for fingers and mouse, and to show which key stands for what and what is held.

import { signOf } from "./keys.js";

const CROSS = [ // where an action lies on the cross, by its name
  ["up", ["forward", "up", "north"]], ["left", ["left", "turn_left", "west"]], ["centre", ["stay", "noop", "idle", "none"]],
  ["right", ["right", "turn_right", "east"]], ["down", ["backward", "back", "down", "south"]],
];

export class Pad {
  constructor(input, places) {
    this.input = input;
    this.places = places; // cross, pads, sliders
    this.buttons = new Map(); // action -> button
    this.sliders = new Map(); // action -> input
    this.fingers = new Map(); // pointer, or "key" -> action
    for (const place of [places.cross, places.pads]) {
      place.addEventListener("pointerdown", (event) => this.down(event, place));
      place.addEventListener("pointermove", (event) => this.slide(event));
      for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
        place.addEventListener(end, (event) => this.lift(event.pointerId));
      }
      place.addEventListener("contextmenu", (event) => event.preventDefault()); // of a finger that stays
      place.addEventListener("keydown", (event) => this.key(event, true));
      place.addEventListener("keyup", (event) => this.key(event, false));
      place.addEventListener("focusout", () => this.lift("key"));
    }
    input.listeners.push((held) => this.mark(held, "held"));
  }

  build(actions, axes, keys) {
    for (const place of Object.values(this.places)) place.replaceChildren();
    this.buttons.clear();
    this.sliders.clear();
    this.fingers.clear();
    const crossed = new Map();
    for (const [spot, names] of CROSS) {
      const action = actions.find((each) => names.includes(each.toLowerCase()) && !axes.includes(each));
      if (action) crossed.set(action, spot);
    }
    if (![...crossed.values()].some((spot) => spot !== "centre")) crossed.clear();
    for (const action of actions) {
      if (axes.includes(action)) this.addSlider(action, keys);
      else this.addButton(action, crossed.get(action), keys);
    }
  }

  addButton(action, spot, keys) {
    const button = document.createElement("button");
    const [name, caps] = [document.createElement("span"), document.createElement("span")];
    button.type = "button";
    button.dataset.action = action;
    if (spot) button.dataset.spot = spot;
    button.setAttribute("aria-pressed", "false");
    name.textContent = action;
    caps.className = "caps";
    for (const key of keys.of(action, 1)) caps.append(cap(key));
    button.append(name, caps);
    (spot ? this.places.cross : this.places.pads).append(button);
    this.buttons.set(action, button);
  }

  addSlider(action, keys) {
    const label = document.createElement("label");
    const [name, caps, slider] = [document.createElement("span"), document.createElement("span"), document.createElement("input")];
    Object.assign(slider, { type: "range", min: -1, max: 1, step: 0.05, value: 0 });
    label.className = "slider";
    name.textContent = action;
    caps.className = "caps";
    for (const key of [...keys.of(action, -1), ...keys.of(action, 1)]) caps.append(cap(key));
    slider.addEventListener("input", () => this.slid());
    slider.addEventListener("dblclick", () => {
      slider.value = 0;
      this.slid();
    });
    slider.title = "Double click: back to 0";
    label.append(name, caps, slider);
    this.places.sliders.append(label);
    this.sliders.set(action, slider);
  }

  slid() {
    this.input.hold("sliders", Object.fromEntries([...this.sliders].map(([action, { value }]) => [action, Number(value)])));
  }

  down(event, place) {
    const action = event.target.closest("[data-action]")?.dataset.action;
    if (!action || event.button > 0) return;
    event.preventDefault(); // the focus stays where it is, and a finger does not scroll
    place.setPointerCapture(event.pointerId);
    this.touch(event.pointerId, action);
  }

  // A finger may slide from one button to the next.
  slide(event) {
    if (!this.fingers.has(event.pointerId)) return;
    const under = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-action]");
    this.touch(event.pointerId, under?.dataset.action ?? null);
  }

  key(event, down) {
    const action = event.target.closest("[data-action]")?.dataset.action;
    if (!action || !["Enter", "Space"].includes(event.code)) return;
    event.preventDefault();
    if (down) this.touch("key", action);
    else this.lift("key");
  }

  touch(finger, action) {
    this.fingers.set(finger, action);
    this.tell();
  }

  lift(finger) {
    if (this.fingers.delete(finger)) this.tell();
  }

  release() {
    this.fingers.clear();
  }

  tell() {
    this.input.hold("pad", Object.fromEntries([...this.fingers.values()].filter(Boolean).map((action) => [action, 1])));
  }

  // Show what is held here, or what the frame on the screen obeys.
  mark(held, way) {
    for (const [action, button] of this.buttons) {
      const on = Boolean(held[action]);
      if (way === "held" && (button.getAttribute("aria-pressed") === "true") !== on) button.setAttribute("aria-pressed", on);
      if (way === "obeyed") button.classList.toggle("obeyed", on);
    }
  }
}

export function cap(key) {
  const sign = document.createElement("kbd");
  sign.textContent = signOf(key);
  return sign;
}
