// A gamepad with the standard layout: sticks and buttons to actions, by the actions' names.

const DEAD = 0.15; // of a stick's way: what it shows at rest
const EVERY = 1000 / 60;

// name -> stick axis and direction, or button numbers
const WAYS = {
  forward: { axis: 1, sign: -1, buttons: [12] }, up: { axis: 1, sign: -1, buttons: [12] },
  backward: { axis: 1, sign: 1, buttons: [13] }, back: { axis: 1, sign: 1, buttons: [13] },
  down: { axis: 1, sign: 1, buttons: [13] },
  left: { axis: 0, sign: -1, buttons: [14] }, right: { axis: 0, sign: 1, buttons: [15] },
  jump: { buttons: [0] }, sneak: { buttons: [1] }, drop: { buttons: [2] }, inventory: { buttons: [3] },
  attack: { buttons: [7] }, fire: { buttons: [7] }, use: { buttons: [6] }, sprint: { buttons: [10] }, esc: { buttons: [9] },
};
const SPARE = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]; // for actions with other names, in order
const IDLE = ["stay", "noop", "idle", "none"];

export function waysOf(actions, mouse) {
  const ways = {};
  for (const [way, axis] of [["x", 2], ["y", 3]]) if (mouse[way]) ways[mouse[way]] = { axis, sign: 1 }; // the right stick
  for (const action of actions.filter((each) => !ways[each])) {
    const name = action.toLowerCase();
    if (Object.hasOwn(WAYS, name)) ways[action] = WAYS[name];
  }
  const free = SPARE.filter((button) => !Object.values(ways).some(({ buttons }) => buttons?.includes(button)));
  for (const action of actions) {
    if (!ways[action] && !IDLE.includes(action.toLowerCase()) && free.length) ways[action] = { buttons: [free.shift()] };
  }
  return ways;
}

// What a gamepad holds: an axis of the model's takes part of a stick's way, any other action all or nothing.
export function read(pad, ways, axes) {
  const held = {};
  for (const [action, { axis, sign, buttons }] of Object.entries(ways)) {
    const pressed = buttons?.some((button) => pad.buttons[button]?.pressed) ? 1 : 0;
    const stick = axis === undefined ? 0 : sign * (pad.axes[axis] ?? 0);
    if (axes.includes(action)) held[action] = Math.abs(stick) < DEAD ? pressed : stick;
    else held[action] = pressed || (stick > 0.5 ? 1 : 0);
  }
  return held;
}

export class Gamepads {
  constructor(input, note) {
    this.input = input;
    this.note = note;
    this.ways = {};
    this.axes = [];
    window.addEventListener("gamepadconnected", () => this.begin());
    window.addEventListener("gamepaddisconnected", () => this.poll());
  }

  fit({ actions, axes, mouse }) {
    [this.ways, this.axes] = [waysOf(actions, mouse), axes];
  }

  begin() {
    this.timer ??= setInterval(() => this.poll(), EVERY);
  }

  poll() {
    const pad = navigator.getGamepads().find((each) => each?.connected);
    this.note.hidden = !pad;
    if (!pad) {
      this.timer = clearInterval(this.timer);
      this.input.hold("gamepad", {});
      return;
    }
    this.note.textContent = `Gamepad: ${pad.id.replace(/ \(.*/, "")}`;
    if (document.hasFocus()) this.input.hold("gamepad", read(pad, this.ways, this.axes));
  }
}
