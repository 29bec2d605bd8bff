// One instance of Hocuspocus with its Redis extension, as its documentation starts it: `hocuspocus.mjs PORT REDIS_PORT`.
// GET /lengths?room=NAME answers how much each peer's array holds in this instance's copy of the document.
import { Redis } from "@hocuspocus/extension-redis";
import { Server } from "@hocuspocus/server";

const [port, redis] = process.argv.slice(2).map(Number);

const server = new Server({
  port,
  address: "127.0.0.1",
  quiet: true,
  extensions: [new Redis({ host: "127.0.0.1", port: redis })],
  async onRequest({ request, response, instance }) {
    const url = new URL(request.url, "http://localhost");
    if (url.pathname === "/lengths") {
      const document = instance.documents.get(url.searchParams.get("room"));
      const names = document ? [...document.share.keys()] : [];
      response.writeHead(200, { "Content-Type": "application/json" });
      response.end(JSON.stringify(Object.fromEntries(names.map((name) => [name, document.getArray(name).length]))));
      throw null; // as the documentation has it: nobody else answers
    }
  },
});
server.listen();
