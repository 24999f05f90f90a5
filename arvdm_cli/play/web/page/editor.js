// The window in which keys are given to actions.

import { mayStandForAction, nameOf, signOf } from "./keys.js";
import { download } from "./screens.js";

export class Editor {
  constructor(find, changed) {
    this.find = find;
    this.changed = changed;
    this.dialog = find("editor");
    this.waiting = null; // { action, value } that the next key is for
    find("editor-close").addEventListener("click", () => this.dialog.close());
    find("editor-save").addEventListener("click", () => this.save());
    find("editor-defaults").addEventListener("click", () => {
      this.map.restore();
      this.build();
      this.say("The keys are as they were at the start.");
    });
    this.dialog.addEventListener("keydown", (event) => this.press(event));
    this.dialog.addEventListener("close", () => this.wait(null));
  }

  open(map, actions, axes) {
    this.map = map;
    this.wanted = actions.flatMap((action) => (axes.includes(action) ? [[action, -1], [action, 1]] : [[action, 1]]));
    this.build();
    this.say("");
    this.dialog.showModal();
  }

  build() {
    this.wait(null);
    this.find("editor-rows").replaceChildren(...this.wanted.map(([action, sign]) => this.row(action, sign)));
    this.changed();
  }

  row(action, value) {
    const [row, name, add] = [document.createElement("div"), document.createElement("span"), document.createElement("button")];
    const title = this.wanted.some(([other, opposite]) => other === action && opposite === -value) ? `${action} ${value < 0 ? "−" : "+"}` : action;
    name.textContent = title;
    name.className = "name";
    row.append(name);
    for (const key of this.map.of(action, value)) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "chip";
      button.textContent = `${signOf(key)} ×`;
      button.setAttribute("aria-label", `Remove ${signOf(key)} from ${title}`);
      button.addEventListener("click", () => {
        this.map.remove(key);
        this.build();
        this.say(`${signOf(key)} stands for nothing now.`);
      });
      row.append(button);
    }
    add.type = "button";
    add.className = "add";
    this.name(add, "Add key", `Add key to ${title}`);
    add.addEventListener("click", () => this.wait({ action, value, title, add }));
    row.append(add);
    return row;
  }

  name(button, text, spoken) {
    button.textContent = text;
    button.setAttribute("aria-label", spoken);
  }

  wait(wanted) {
    if (this.waiting) this.name(this.waiting.add, "Add key", `Add key to ${this.waiting.title}`);
    this.waiting = wanted;
    if (!wanted) return;
    this.name(wanted.add, "Press a key", `Press a key for ${wanted.title}`);
    this.say(`Press the key for ${wanted.title}; Escape for none.`);
  }

  press(event) {
    if (!this.waiting || event.repeat) return;
    if (event.code === "Tab") return; // on to the next button
    event.preventDefault();
    event.stopPropagation();
    const key = nameOf(event);
    const { action, value, title } = this.waiting;
    if (key === "escape") {
      this.wait(null);
      this.say("");
      return;
    }
    if (!mayStandForAction(key)) {
      this.say("That key is the browser's. Press another.");
      return;
    }
    const before = this.map.assign(key, action, value);
    this.build();
    this.say(before ? `${signOf(key)} stood for ${Object.keys(before).join(", ")}; now for ${title}.` : `${signOf(key)} stands for ${title}.`);
    [...this.find("editor-rows").children][this.wanted.findIndex(([each, sign]) => each === action && sign === value)]
      .querySelector(".add").focus();
  }

  say(text) {
    this.find("editor-note").textContent = text;
  }

  save() {
    download("keys.toml", new Blob([this.map.toml()], { type: "text/plain" }));
    this.say("Saved as keys.toml: arvdm play --keys keys.toml");
  }
}
