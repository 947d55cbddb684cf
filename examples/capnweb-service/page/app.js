// A session with the service, from where this page came from.

import { newWebSocketRpcSession } from "./capnweb.js";

const state = document.querySelector("#state");
const api = newWebSocketRpcSession(location.origin.replace(/^http/, "ws"));
api.onRpcBroken((why) => (state.textContent = `disconnected: ${why.message}`));

const form = document.querySelector("#greet");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  form.querySelector("output").textContent = await api.hello(form.elements.name.value);
});

/** What is tried, and what must come out of it. */
const trials = {
  "a call": [() => api.hello("page"), "Hello, page!"],
  "a call on the result of a call, in one round trip": [() => api.counter(40).add(2), 42],
  "an object by reference": [byReference, 12],
  "map: one message, an answer for each": [kilometers, "Oslo 1100, Paris 880, Quito 9800"],
  "a function of the page's, called by the service": [() => api.countFor(10, (n) => n * n), 285],
  "a stream from the service": [fromStream, 499500],
  "a stream to the service": [() => api.sum(stream(1000)), 499500],
  "5 MB to the service": [() => api.size("x".repeat(5e6)), 5e6],
  "5 MB from the service": [async () => (await api.text(5e6)).length, 5e6],
  "10,000 calls at once": [manyCalls, 49995000],
  "an error": [() => api.fail("too far").catch((e) => `${e.name}: ${e.message}`), "RangeError: too far"],
};

async function byReference() {
  const counter = await api.counter(10);
  await counter.add(1);
  await counter.add(1);
  const value = await counter.value;
  counter[Symbol.dispose]();
  return value;
}

async function kilometers() {
  const found = await api.cities().map((city) => ({ city, km: api.distance(city) }));
  return found.map(({ city, km }) => `${city} ${km}`).join(", ");
}

async function fromStream() {
  const reader = (await api.numbers(1000)).getReader();
  let sum = 0;
  for (let got; !(got = await reader.read()).done; ) sum += got.value;
  return sum;
}

function stream(count) {
  let next = 0;
  return new ReadableStream({
    pull: (controller) => (next < count ? controller.enqueue(next++) : controller.close()),
  });
}

async function manyCalls() {
  const answers = await Promise.all(Array.from({ length: 10000 }, (_, n) => api.echo(n)));
  return answers.reduce((sum, n) => sum + n, 0);
}

let failed = 0;
for (const [name, [run, wanted]] of Object.entries(trials)) {
  const row = document.querySelector("#trials").insertRow();
  row.insertCell().textContent = name;
  const begin = performance.now();
  const got = await run().then((value) => value, (why) => `${why}`);
  row.insertCell().textContent = got === wanted ? got : `${got} instead of ${wanted}`;
  row.insertCell().textContent = `${(performance.now() - begin).toFixed(1)} ms`;
  if (got !== wanted) {
    row.className = "bad";
    failed += 1;
  }
}
state.textContent = failed ? `${failed} went wrong` : "connected, and everything went well";
