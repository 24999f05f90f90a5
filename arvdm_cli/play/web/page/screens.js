// The pictures of a frame, side by side, each enlarged by a whole number of screen pixels.

const TITLES = { model: "Model", truth: "True world", other: "Second model" };

export class Screens {
  constructor(place) {
    this.place = place;
    this.screens = new Map(); // kind -> { figure, canvas, note }
    this.drawn = 0; // the newest message that was drawn: decoding may change their order
    this.names = {};
    new ResizeObserver(() => this.fit()).observe(place);
  }

  // Draw every picture of a message; says whether it did, as a newer one may have come first.
  async draw(header, pictures) {
    const decoded = await Promise.all(pictures.map(({ data }) => createImageBitmap(data)));
    const late = header.id <= this.drawn;
    if (!late) {
      this.drawn = header.id;
      const kinds = pictures.map(({ kind }) => kind);
      for (const kind of [...this.screens.keys()]) if (!kinds.includes(kind)) this.remove(kind);
      decoded.forEach((picture, at) => this.show(kinds[at], picture));
    }
    for (const picture of decoded) picture.close();
    return !late;
  }

  show(kind, picture) {
    const { canvas } = this.screens.get(kind) ?? this.add(kind);
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      [canvas.width, canvas.height] = [picture.width, picture.height];
      this.fit();
    }
    canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0);
  }

  add(kind) {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    const [name, note] = [document.createElement("span"), document.createElement("span")];
    [canvas.width, canvas.height] = [0, 0];
    figure.dataset.kind = kind;
    name.textContent = this.names[kind] ?? TITLES[kind] ?? kind;
    note.className = "note";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Picture: ${name.textContent}`);
    caption.append(name, note);
    figure.append(canvas, caption);
    this.place.append(figure);
    const screen = { figure, canvas, note };
    this.screens.set(kind, screen);
    this.place.dataset.count = this.screens.size;
    return screen;
  }

  remove(kind) {
    this.screens.get(kind).figure.remove();
    this.screens.delete(kind);
    this.place.dataset.count = this.screens.size;
    this.fit();
  }

  restart() {
    this.drawn = 0; // another connection counts its messages from 1
  }

  note(kind, text) {
    const screen = this.screens.get(kind);
    if (screen && screen.note.textContent !== text) screen.note.textContent = text;
  }

  // The largest whole factor at which all pictures have room beside each other.
  fit() {
    const canvases = [...this.screens.values()].map(({ canvas }) => canvas).filter(({ width }) => width);
    if (!canvases.length) return;
    const style = getComputedStyle(this.place);
    const gap = parseFloat(style.columnGap) || 0;
    const across = style.flexWrap === "wrap" ? 2 : canvases.length; // three on a narrow page
    const down = Math.ceil(canvases.length / across);
    const room = this.place.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const alone = this.place.parentElement.matches(":fullscreen"); // with the controls below it
    const height = alone ? window.innerHeight - 260 : Math.max(260, window.innerHeight * 0.64);
    const [width, tall] = [Math.max(...canvases.map((each) => each.width)), Math.max(...canvases.map((each) => each.height))];
    const factor = Math.min((room - gap * (across - 1)) / across / width, height / down / tall);
    const dots = window.devicePixelRatio || 1;
    const whole = factor * dots >= 1 ? Math.floor(factor * dots) / dots : factor;
    for (const canvas of canvases) {
      canvas.style.width = `${canvas.width * whole}px`;
      canvas.style.height = `${canvas.height * whole}px`;
    }
  }

  // Save what is shown as one PNG, its pictures side by side, pixel for pixel.
  save(name) {
    const canvases = [...this.screens.values()].map(({ canvas }) => canvas);
    if (!canvases.length) return;
    const sheet = document.createElement("canvas");
    sheet.width = canvases.reduce((sum, { width }) => sum + width, 0);
    sheet.height = Math.max(...canvases.map(({ height }) => height));
    let left = 0;
    for (const canvas of canvases) {
      sheet.getContext("2d").drawImage(canvas, left, 0);
      left += canvas.width;
    }
    sheet.toBlob((png) => download(name, png), "image/png");
  }
}

export function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
