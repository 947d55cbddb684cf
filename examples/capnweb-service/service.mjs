// A Cap'n Web service on a plain TCP port: every connection is a session, every line one of its
// messages. It knows nothing of WebSockets; `ws-tcp-proxy --framing ndjson` brings them.
//
//     node service.mjs [PORT]        5000 by default; 0 takes a free one

import net from "node:net";
import { RpcSession } from "capnweb";
import { Api } from "./api.mjs";
import { LineTransport } from "./lines.mjs";

const server = net.createServer({ noDelay: true });
let clients = 0;

server.on("connection", (socket) => {
  const client = `client ${++clients}`;
  console.log(`${client} is here`);
  const session = new RpcSession(new LineTransport(socket), new Api());
  session.getRemoteMain().onRpcBroken((why) => console.log(`${client} is gone: ${why.message}`));
});

server.on("error", (why) => {
  console.error(`${why.message}; is another service running on this port?`);
  process.exitCode = 1;
});
server.listen(Number(process.argv[2] ?? 5000), "127.0.0.1", () => {
  console.log(`listening 127.0.0.1:${server.address().port}`);
});
