// What the service offers: one method for each thing that Cap'n Web can do.

import { RpcTarget } from "capnweb";

/** A client gets a reference to it, not a copy. */
class Counter extends RpcTarget {
  #value;

  constructor(start) {
    super();
    this.#value = start;
  }

  add(by) {
    return (this.#value += by);
  }

  get value() {
    return this.#value;
  }
}

export class Api extends RpcTarget {
  /** A call. */
  hello(name) {
    return `Hello, ${name}!`;
  }

  /** An object by reference, on whose methods calls can be pipelined. */
  counter(start) {
    return new Counter(start);
  }

  /** For `map`: many answers for one round trip. */
  cities() {
    return ["Oslo", "Paris", "Quito"];
  }

  distance(city) {
    return { Oslo: 1100, Paris: 880, Quito: 9800 }[city];
  }

  /** A function of the client's, called for each number below `count`. */
  async countFor(count, listener) {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += await listener(i);
    return sum;
  }

  /** An object of the client's, which is given a function of ours to call. */
  async meet(guest) {
    const said = await guest.greetedBy((name) => this.hello(name));
    await guest.tell(said);
    return said;
  }

  /** A stream to the client, made as fast as the client reads. */
  numbers(count) {
    let next = 0;
    return new ReadableStream({
      pull(controller) {
        if (next < count) controller.enqueue(next++);
        else controller.close();
      },
    });
  }

  /** A stream from the client. */
  async sum(numbers) {
    let sum = 0;
    for await (const number of numbers) sum += number;
    return sum;
  }

  /** What the client streams, back as it comes. */
  copy(stream) {
    const reader = stream.getReader();
    return new ReadableStream({
      async pull(controller) {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (why) => reader.cancel(why),
    });
  }

  /** Messages as big as the client likes, from it and to it. */
  size(text) {
    return text.length;
  }

  text(length) {
    return "0123456789".repeat(Math.ceil(length / 10)).slice(0, length);
  }

  echo(value) {
    return value;
  }

  /** Never answers. */
  wait() {
    return new Promise(() => {});
  }

  fail(text) {
    throw new RangeError(text);
  }
}
