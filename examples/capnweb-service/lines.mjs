// Cap'n Web messages over a byte stream: one JSON text per line.

/** The longest line that is gathered, in UTF-16 units; Cap'n Web itself takes no longer message. */
const LONGEST = 32 * 1024 * 1024;

/** What `RpcSession` speaks through: an `RpcTransport` on a `net.Socket`. */
export class LineTransport {
  #socket;
  #lines;

  constructor(socket) {
    this.#socket = socket;
    this.#lines = split(socket.setEncoding("utf8"));
    socket.on("error", () => {}); // `receive` says it
  }

  /** `JSON.stringify` writes every newline inside a string as `\n`, so the one behind it is alone. */
  send(message) {
    if (this.#socket.writable) this.#socket.write(message + "\n");
  }

  /**
   * Reads on only when all that was sent is on its way: who does not read answers is not heard
   * either, and the memory they take has an end. Only one side of a connection may be so strict.
   */
  async receive() {
    if (this.#socket.writableNeedDrain) await drained(this.#socket);
    const { done, value } = await this.#lines.next();
    if (done) throw new Error("the stream has ended");
    return value;
  }

  /**
   * What was sent still goes out, the message that says why in particular. Until the other side has
   * ended too we read on, as closing with bytes unread would be a reset, and that can overtake it.
   */
  async abort() {
    this.#socket.setTimeout(5000, () => this.#socket.destroy());
    this.#socket.end();
    try {
      while (!(await this.#lines.next()).done);
    } catch {
      // A reset: there is nobody left to tell.
    }
  }
}

/** Resolves once the kernel has taken everything, or the connection is over. */
function drained(socket) {
  return new Promise((resolve) => {
    const done = () => {
      socket.off("drain", done).off("close", done);
      resolve();
    };
    socket.on("drain", done).on("close", done);
  });
}

/** The lines of a stream of strings, read no faster than they are asked for. A last half line is dropped. */
async function* split(stream) {
  let begun = []; // pieces of the line that has not ended yet
  let length = 0;
  for await (const chunk of stream) {
    let at = 0;
    for (let end; (end = chunk.indexOf("\n", at)) >= 0; at = end + 1) {
      begun.push(chunk.slice(at, end));
      yield begun.join("");
      begun = [];
      length = 0;
    }
    begun.push(chunk.slice(at));
    length += chunk.length - at;
    if (length > LONGEST) throw new Error(`a line of more than ${LONGEST} characters`);
  }
}
