// What is measured, and which past frames the model still sees.

const EVERY = 250; // milliseconds between changes of numbers that would else flicker
const KEPT = 15; // presses that the shown latency is the middle of

export class Hud {
  constructor(find) {
    this.find = find;
    this.latencies = [];
    this.told = 0;
    new ResizeObserver(() => this.drawMemory()).observe(find("memory"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.drawMemory());
  }

  pressed(milliseconds) {
    this.latencies = [...this.latencies.slice(1 - KEPT), milliseconds];
  }

  restart() {
    this.latencies = [];
  }

  show(header) {
    this.header = header;
    this.write("hud-frame", String(header.frame));
    this.write("hud-branch", String(header.branch));
    this.drawMemory();
    const now = performance.now();
    if (now - this.told < EVERY && !header.paused) return;
    this.told = now;
    this.write("hud-fps", header.rate ? header.rate.toFixed(1) : "–");
    this.write("hud-speed", `${trim(header.factor)}×`);
    this.write("hud-key", this.latencies.length ? `${Math.round(middle(this.latencies))} ms` : "–");
    this.find("hud-psnr").parentElement.hidden = header.psnr === null;
    if (header.psnr !== null) this.write("hud-psnr", `${header.psnr.toFixed(1)} dB`);
    this.describeMemory();
  }

  write(id, text) {
    const place = this.find(id);
    if (place.textContent !== text) place.textContent = text;
  }

  // The first frame on the time line: the oldest that a rewind reaches, or that the model still sees.
  first() {
    const { frame, back, memory, context } = this.header;
    return Math.min(frame - back, frame, context[0], ...memory.slice(0, 1).map(([start]) => start));
  }

  drawMemory() {
    if (!this.header) return;
    const canvas = this.find("memory");
    const dots = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * dots), Math.round(canvas.clientHeight * dots)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const { frame, back, memory, context } = this.header;
    const first = this.first();
    const colour = (name) => getComputedStyle(canvas).getPropertyValue(name);
    const across = width / Math.max(1, frame - first + 1);
    const draw = canvas.getContext("2d");
    const bar = ([start, end], name, top, tall) => {
      if (end < start) return;
      draw.fillStyle = colour(name);
      draw.fillRect((start - first) * across, top * height, Math.max(dots, (end - start + 1) * across - (across > 3 ? 1 : 0)), tall * height);
    };
    draw.clearRect(0, 0, width, height);
    bar([first, frame], "--line", 0.42, 0.16);
    bar([frame - back, frame], "--faint", 0.42, 0.16);
    bar(context, "--context", 0.15, 0.7);
    for (const stretch of memory) bar(stretch, "--accent", 0, 1);
  }

  describeMemory() {
    const { memory, context } = this.header;
    const stretches = memory.map(([start, end]) => (start === end ? `${start}` : `${start} to ${end}`));
    const held = stretches.length ? `Memory holds frames ${stretches.join(", ")}` : "Memory is empty";
    const seen = context[1] < context[0] ? "" : `; the network sees frames ${context[0]} to ${context[1]} as they are`;
    this.find("memory").setAttribute("aria-label", `${held}${seen}.`);
  }
}

const middle = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
export const trim = (value) => String(Math.round(value * 100) / 100);
