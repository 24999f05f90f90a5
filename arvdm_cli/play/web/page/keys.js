// Which key stands for which action: names of keys as in keys.py, and the map that a user may change.

const NAMED = ["Space", "Enter", "Tab", "Backspace", "Escape", "Minus", "Equal", "Comma", "Period", "Slash", "Semicolon",
  "Quote", "Backquote", "BracketLeft", "BracketRight", "Backslash"];
const SIGNS = { up: "↑", down: "↓", left: "←", right: "→", space: "Space", minus: "-", equal: "=", comma: ",", period: ".",
  slash: "/", semicolon: ";", quote: "'", backquote: "`", bracketleft: "[", bracketright: "]", backslash: "\\",
  backspace: "⌫", escape: "Esc", control: "Ctrl", mouse1: "Left button", mouse2: "Middle button", mouse3: "Right button" };
const TAKEN = ["control", "alt", "escape", "tab"]; // not offered for actions: the browser needs them

// The name of a key by its place, so that W A S D lie together on any keyboard; null for one without a name.
export function nameOf({ code }) {
  const plain = /^(?:Key([A-Z])|Digit(\d)|Arrow(Up|Down|Left|Right)|(Shift|Control|Alt)(?:Left|Right))$/.exec(code);
  if (plain) return (plain[1] ?? plain[2] ?? plain[3] ?? plain[4]).toLowerCase();
  return NAMED.includes(code) ? code.toLowerCase() : null;
}

export const signOf = (key) => SIGNS[key] ?? (key.length === 1 ? key.toUpperCase() : key[0].toUpperCase() + key.slice(1));
export const mayStandForAction = (key) => key !== null && !TAKEN.includes(key);

export class KeyMap {
  constructor({ keys, mouse, sensitivity, actions }) {
    this.defaults = keys;
    this.mouse = mouse;
    this.sensitivity = sensitivity;
    this.place = `arvdm-play-keys ${actions.join(" ")}`;
    this.keys = this.stored() ?? structuredClone(keys);
  }

  stored() {
    try {
      const keys = JSON.parse(localStorage.getItem(this.place));
      return keys && typeof keys === "object" ? keys : null;
    } catch {
      return null; // storage may be forbidden
    }
  }

  store() {
    try {
      if (JSON.stringify(this.keys) === JSON.stringify(this.defaults)) localStorage.removeItem(this.place);
      else localStorage.setItem(this.place, JSON.stringify(this.keys));
    } catch { /* kept for this page only */ }
  }

  // What a key holds: action -> value; undefined for none.
  held(key) {
    return Object.hasOwn(this.keys, key) ? this.keys[key] : undefined;
  }

  // What keys hold together, in the order in which they were pressed; the last one decides about an action.
  values(keys) {
    const values = {};
    for (const key of keys) {
      for (const [action, value] of Object.entries(this.held(key) ?? {})) {
        delete values[action];
        values[action] = value;
      }
    }
    return values;
  }

  // The keys that hold an action, one way or the other (sign: 1 or -1), and no other action.
  of(action, sign) {
    return Object.keys(this.keys).filter((key) => {
      const held = Object.entries(this.keys[key]);
      return held.length === 1 && held[0][0] === action && Math.sign(held[0][1]) === sign;
    });
  }

  // Let a key hold an action and nothing else, as far as its other keys do; gives what it held before.
  assign(key, action, sign) {
    const before = this.held(key);
    const [other] = this.of(action, sign);
    this.keys[key] = { [action]: other ? this.keys[other][action] : sign };
    this.store();
    return before;
  }

  remove(key) {
    delete this.keys[key];
    this.store();
  }

  restore() {
    this.keys = structuredClone(this.defaults);
    this.store();
  }

  // As `--keys FILE` reads it.
  toml() {
    const table = (values) => `{ ${Object.entries(values).map(([name, value]) => `${quoted(name)} = ${number(value)}`).join(", ")} }`;
    const lines = ["[keys]"];
    for (const [key, held] of Object.entries(this.keys)) lines.push(`${quoted(key)} = ${table(held)}`);
    lines.push("", "[mouse]", `sensitivity = ${number(this.sensitivity)}`);
    for (const [way, action] of Object.entries(this.mouse)) lines.push(`${way} = ${quoted(action)}`);
    return lines.join("\n") + "\n";
  }
}

const quoted = (text) => JSON.stringify(text);
const number = (value) => (Number.isInteger(value) ? value.toFixed(1) : String(value));
