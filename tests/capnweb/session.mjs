// One session of npm's `capnweb` over a WebSocket, as a page has it: `node session.mjs URL TRIAL`.
// Says each step on stdout as it is done, `done` at the end, and fails on the first thing that is wrong.

import assert from "node:assert/strict";
import { newWebSocketRpcSession, RpcTarget } from "capnweb";
import WebSocket from "ws";

globalThis.WebSocket = WebSocket; // the same `ws` on every version of Node

/** Everything that could end a line too early, or be cut in the middle, and comes in every length. */
const MIXED = "a\nb\r\nc\rd\u2028\u2029\0\\n ß€\u{10348}\"";

class Guest extends RpcTarget {
  constructor(name) {
    super();
    this.heard = [];
    this.introduce = (greet) => greet(name);
  }

  greetedBy(greet) {
    return this.introduce(greet);
  }

  tell(text) {
    this.heard.push(text);
    return this.heard.length;
  }
}

const trials = {
  async calls(api) {
    assert.equal(await api.hello("World"), "Hello, World!");
    for (const value of [null, true, -0.5, "", MIXED, [[]], { a: [1, [2]] }, 10n ** 30n, new Date(5), undefined]) {
      assert.deepEqual(await api.echo(value), value);
    }
    assert.deepEqual(new Uint8Array(await api.echo(new Uint8Array([0, 10, 13, 255]))), new Uint8Array([0, 10, 13, 255]));
    await fails(api.fail(MIXED), { name: "RangeError", message: MIXED });
    await fails(api.nothing(), TypeError);
    assert.equal(await api.hello("again"), "Hello, again!");
  },

  async pipelining(api) {
    const counter = api.counter(40);
    assert.deepEqual(await Promise.all([counter.add(1), counter.add(1), counter.value]), [41, 42, 42]);
    assert.equal(await api.echo(api.hello(api.hello("you"))), "Hello, Hello, you!!");
    await fails(api.fail("first").missing.deeper(), { message: "first" });
    const kept = await api.counter(1);
    assert.equal(await kept.add(9), 10);
    kept[Symbol.dispose]();
  },

  async callbacks(api) {
    assert.equal(await api.countFor(100, (n) => n * n), 328350);
    const guest = new Guest("guest");
    assert.equal(await api.meet(guest), "Hello, guest!");
    assert.deepEqual(guest.heard, ["Hello, guest!"]);
    const wrong = () => {
      throw new RangeError("no more");
    };
    await fails(api.countFor(3, wrong), { name: "RangeError", message: "no more" });
  },

  async map(api) {
    const found = await api.cities().map((city) => ({ city, km: api.distance(city) }));
    assert.deepEqual(found, [{ city: "Oslo", km: 1100 }, { city: "Paris", km: 880 }, { city: "Quito", km: 9800 }]);
  },

  async streams(api) {
    const numbers = Array.from({ length: 1000 }, (_, n) => n);
    assert.deepEqual(await gather(await api.numbers(1000)), numbers);
    console.log("from the service");
    assert.equal(await api.sum(stream(numbers)), 499500);
    console.log("to the service");
    const there = Array.from({ length: 64 }, (_, n) => new Uint8Array(60_000 + n).fill(n));
    const back = await gather(await api.copy(stream(there)));
    assert.equal(Buffer.compare(Buffer.concat(back), Buffer.concat(there)), 0);
    console.log("both ways");
    const reader = (await api.numbers(1e9)).getReader();
    assert.equal((await reader.read()).value, 0);
    await reader.cancel("enough");
    assert.equal(await api.hello("after"), "Hello, after!");
  },

  async big(api) {
    const plain = "x".repeat(5e6);
    assert.equal(await api.size(plain), 5e6);
    console.log("to the service");
    const text = await api.text(5e6);
    assert.ok(text.length === 5e6 && text.endsWith("0123456789"));
    console.log("from the service");
    const mixed = MIXED.repeat(Math.ceil(5e6 / MIXED.length));
    const [one, other] = await Promise.all([api.echo(mixed), api.echo(plain)]);
    assert.ok(one === mixed && other === plain);
  },

  async many(api) {
    const numbers = Array.from({ length: 10_000 }, (_, n) => n);
    assert.deepEqual(await Promise.all(numbers.map((n) => api.echo(n))), numbers);
    console.log("at once");
    for (const n of numbers) {
      assert.equal(await api.echo(n), n);
      if (n % 1000 === 999) console.log(`${n + 1} in turn`);
    }
  },

  /** Some sessions of one process, each with an object of its own. */
  async together(api) {
    const others = Array.from({ length: 7 }, () => newWebSocketRpcSession(url));
    const counters = [api, ...others].map((a, n) => a.counter(n * 1000));
    for (let round = 1; round <= 100; round++) {
      const values = await Promise.all(counters.map((c) => c.add(1)));
      assert.deepEqual(values, counters.map((_, n) => n * 1000 + round));
    }
    others.forEach((a) => a[Symbol.dispose]());
  },

  /** The test ends the service while a call is under way. */
  async forsaken(api) {
    const broken = new Promise((resolve) => api.onRpcBroken(resolve));
    const pending = api.wait();
    await api.hello("you"); // calls arrive in turn, so the other one is there
    console.log("waiting");
    console.log(`rejected: ${await pending.then(() => "an answer", (why) => why.message)}`);
    console.log(`broken: ${(await broken).message}`);
    await fails(api.hello("anybody"));
  },

  /** The test kills this process while the service waits for an answer of its function. */
  async killed(api) {
    await api.countFor(1, () => {
      console.log("waiting");
      return new Promise(() => setInterval(() => {}, 1e6));
    });
  },

  /** What is no Cap'n Web: the service says so and ends the session. */
  async nonsense(api) {
    await api.hello("you");
    const socket = new WebSocket(url);
    const said = [];
    socket.on("message", (data, isBinary) => said.push(isBinary ? data : JSON.parse(data)));
    socket.on("open", () => socket.send('["no such verb"]'));
    const code = await new Promise((resolve) => socket.on("close", resolve));
    assert.equal(said.length, 1);
    assert.equal(said[0][0], "abort");
    assert.equal(code, 1000);
    assert.equal(await api.hello("still"), "Hello, still!");
  },
};

async function gather(stream) {
  const all = [];
  for await (const chunk of stream) all.push(chunk);
  return all;
}

function stream(items) {
  const left = items.values();
  return new ReadableStream({
    pull(controller) {
      const { done, value } = left.next();
      done ? controller.close() : controller.enqueue(value);
    },
  });
}

/** A stub's promise is none of the language's, which `assert` insists on. */
async function fails(promise, how) {
  await assert.rejects(async () => await promise, how);
}

const [url, trial] = process.argv.slice(2);
const api = newWebSocketRpcSession(url);
await trials[trial](api);
console.log("done");
api[Symbol.dispose]();
