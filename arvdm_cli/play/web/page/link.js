// The socket to `arvdm play`: frames come in, input goes out, and a lost connection is opened again.

export const PROTOCOL = 1; // server.py has the same number; a page of another version is told to reload

const ENDED = 4000, OLD_PAGE = 4001, TOO_MUCH = 1008, FULL = 1013; // why the server closes a socket

export class Link {
  // `on` has hello(facts), status(facts), frame(header, pictures), state(name, text)
  constructor(on) {
    this.on = on;
    this.failures = 0;
    this.socket = null;
    this.connected = false;
    this.ended = false; // the server has said so, and has not been back
  }

  open() {
    clearTimeout(this.timer);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const folder = location.pathname.replace(/[^/]*$/, ""); // relative: a proxy may put a prefix before it
    this.socket = new WebSocket(`${scheme}//${location.host}${folder}ws?protocol=${PROTOCOL}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event) => this.receive(event.data);
    this.socket.onclose = (event) => this.closed(event);
  }

  receive(data) {
    this.failures = 0;
    this.connected = true;
    this.ended = false;
    if (typeof data === "string") {
      const message = JSON.parse(data);
      this.on[message.type](message);
      return;
    }
    const { header, pictures } = unpack(data);
    this.on.frame(header, pictures);
  }

  closed(event) {
    this.failures += 1;
    this.connected = false;
    if (event.code === OLD_PAGE) {
      this.on.state("old", "This page is from another version of arvdm. Reload it.");
      return; // it would be refused again
    }
    this.ended ||= event.code === ENDED;
    const slow = this.ended || event.code === FULL;
    const text = this.ended ? "arvdm play has ended. This page continues when it is started again at the same address."
      : event.code === FULL ? "All places are taken. Trying again every few seconds."
      : event.code === TOO_MUCH ? `Disconnected: ${event.reason}. Trying again.`
      : this.failures < 4 ? "Connection lost. Trying again."
      : "Still no connection. If arvdm play was started again, open the address that it printed.";
    this.on.state(this.ended ? "ended" : "lost", text);
    const wait = slow ? 4000 : Math.min(4000, 250 * 2 ** this.failures);
    this.timer = setTimeout(() => this.open(), wait);
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}

// A frame: the length of its header (4 bytes, little endian), the header in JSON, its pictures one after another.
function unpack(data) {
  const length = new DataView(data).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  let at = 4 + length;
  const pictures = header.pictures.map(({ kind, bytes }) => {
    const picture = { kind, data: new Blob([new Uint8Array(data, at, bytes)], { type: "image/jpeg" }) };
    at += bytes;
    return picture;
  });
  return { header, pictures };
}
