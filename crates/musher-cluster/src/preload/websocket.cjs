// WebSocket connections: what the program writes is followed from frame to frame (RFC 6455, 5.2), so that a Close frame can
// be put between two of them, whatever library makes them, also when it passes on bytes that it does not understand.

// Close, final, two bytes: 1001, going away.
const GOING_AWAY = Buffer.from([0x88, 0x02, 0x03, 0xe9]);
const LONGEST_HEAD = 16 * 1024;

class Frames {
  // Of the answer to the handshake; undefined when it has ended.
  #head = '';
  #header = [];
  // Bytes of the frame's content that are still to come.
  #left = 0;
  // Whether nothing can be said about these bytes, or a Close frame was among them.
  over = false;

  // Whether a frame could begin here.
  get between() {
    return !this.over && this.#head === undefined && this.#left === 0 && this.#header.length === 0;
  }

  wrote(chunk, encoding) {
    if (this.over) return;
    const bytes =
      typeof chunk === 'string'
        ? Buffer.from(chunk, typeof encoding === 'string' ? encoding : 'utf8')
        : Buffer.isBuffer(chunk)
          ? chunk
          : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = this.#head === undefined ? 0 : this.#handshake(bytes);
    while (at < bytes.length && !this.over) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, bytes.length - at);
        this.#left -= taken;
        at += taken;
      } else if (this.#header.length === 0) {
        const size = this.#begin(bytes, at);
        if (size === 0) this.#header = [...bytes.subarray(at)];
        at = size === 0 ? bytes.length : at + size;
      } else {
        this.#header.push(bytes[at++]);
        if (this.#begin(this.#header, 0) > 0) this.#header = [];
      }
    }
  }

  // Where the frames begin.
  #handshake(bytes) {
    const before = this.#head.length;
    this.#head += bytes.latin1Slice();
    const end = this.#head.indexOf('\r\n\r\n');
    if (end < 0) {
      this.over = this.#head.length > LONGEST_HEAD;
      return bytes.length;
    }
    // Refused, or not HTTP.
    this.over = !/^HTTP\/1\.1 101[ \r]/.test(this.#head);
    this.#head = undefined;
    return end + 4 - before;
  }

  // A frame begins here. How long its header is; 0 when there is only a part of it.
  #begin(bytes, at) {
    const there = bytes.length - at;
    const opcode = bytes[at] & 0x0f;
    const second = there > 1 ? bytes[at + 1] : 0;
    // Opcodes without a meaning, and masks, which servers do not use: this is something else.
    this.over = (opcode > 2 && opcode < 8) || opcode > 10 || second > 127;
    const size = second === 127 ? 10 : second === 126 ? 4 : 2;
    if (there < size) return 0;
    let length = size === 2 ? second : 0;
    for (let n = 2; n < size; n++) length = length * 256 + bytes[at + n];
    this.#left = length;
    this.over ||= opcode === 8;
    return size;
  }
}

const tunnels = new Set();
let tunnelsLeave = false;

class Tunnel {
  #frames = new Frames();
  #write;
  #leaves = tunnelsLeave;
  #told = false;

  constructor(socket) {
    this.socket = socket;
    this.#write = socket.write;
    const tunnel = this;
    socket.write = function (chunk, encoding, callback) {
      // After a Close frame nothing may follow, and nobody would read it.
      if (tunnel.#told) {
        const done = typeof encoding === 'function' ? encoding : callback;
        if (typeof done === 'function') process.nextTick(done);
        return true;
      }
      try {
        tunnel.#frames.wrote(chunk, encoding);
      } catch {
        tunnel.#frames.over = true;
      }
      const result = Reflect.apply(tunnel.#write, this, arguments);
      if (tunnel.#leaves) tunnel.#close();
      return result;
    };
    tunnels.add(this);
    socket.once('close', () => tunnels.delete(this));
  }

  // Tells the client to go away, as soon as the frame that is being written is complete.
  leave() {
    this.#leaves = true;
    this.#close();
  }

  #close() {
    if (this.#told || !this.#frames.between || this.socket.destroyed || this.socket.writableEnded) return;
    this.#told = true;
    Reflect.apply(this.#write, this.socket, [GOING_AWAY]);
  }
}

// A server without a listener for `upgrade` answers such requests itself, so ours is there only beside the program's.
const watchUpgrades = (server) => {
  const seen = (request, socket) => quietly(() => {
    if (/^websocket$/i.test(request.headers.upgrade)) new Tunnel(socket);
  });
  const others = () => server.listeners('upgrade').filter((listener) => listener !== seen).length;
  const isThere = () => server.listeners('upgrade').includes(seen);
  server.on('newListener', (name, listener) => {
    if (name === 'upgrade' && listener !== seen && !isThere()) server.prependListener('upgrade', seen);
  });
  server.on('removeListener', (name, listener) => {
    if (name === 'upgrade' && listener !== seen && isThere() && others() === 0) server.removeListener('upgrade', seen);
  });
  if (others() > 0) server.prependListener('upgrade', seen);
};
