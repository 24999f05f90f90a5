// What is held by keys, pad, gamepad and sliders together, told to the session whenever it changes.

export class Input {
  constructor(link) {
    this.link = link;
    this.sources = new Map(); // keys, pad, gamepad, sliders -> { action: value }
    this.last = {}; // what the session was told
    this.moved = {}; // movement not yet told
    this.stamp = 0;
    this.waiting = []; // presses that no frame has obeyed yet: { stamp, time }
    this.listeners = [];
  }

  // Say all that one source holds now.
  hold(source, held) {
    this.sources.set(source, held);
    const all = {};
    for (const values of this.sources.values()) {
      for (const [action, value] of Object.entries(values)) {
        if (value && Math.abs(value) > Math.abs(all[action] ?? 0)) all[action] = Math.max(-1, Math.min(1, value));
      }
    }
    const names = Object.keys(all);
    if (names.length === Object.keys(this.last).length && names.every((name) => all[name] === this.last[name])) return;
    if (names.some((name) => !this.last[name])) this.waiting.push({ stamp: this.stamp + 1, time: performance.now() });
    if (this.waiting.length > 50) this.waiting.shift();
    this.last = all;
    this.stamp += 1;
    this.link.send({ hold: all, stamp: this.stamp });
    for (const listener of this.listeners) listener(all);
  }

  // Add movement, as of a mouse; told once a screen frame.
  move(action, amount) {
    if (!Object.keys(this.moved).length) requestAnimationFrame(() => this.tellMoved());
    this.moved[action] = (this.moved[action] ?? 0) + amount;
  }

  tellMoved() {
    this.stamp += 1;
    this.link.send({ move: this.moved, stamp: this.stamp });
    this.moved = {};
  }

  // All up: the page has lost the focus, or another one drives.
  release() {
    for (const source of this.sources.keys()) if (source !== "sliders") this.sources.set(source, {});
    this.waiting = [];
    this.link.send({ release: true });
    this.last = {};
    this.hold("keys", {}); // what sliders are set to stays
    for (const listener of this.listeners) listener(this.last);
  }

  // Milliseconds from the oldest press that a drawn frame is the first to obey; null where it is not the first of any.
  obeyed(stamp) {
    if (stamp === null || !this.waiting.length || this.waiting[0].stamp > stamp) return null;
    const { time } = this.waiting[0];
    this.waiting = this.waiting.filter((press) => press.stamp > stamp);
    return performance.now() - time;
  }
}
