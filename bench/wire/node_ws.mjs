// node's `ws` as NapCat uses it: `node node_ws.mjs each|once`. each: JSON.stringify for every
// client, as NapCat's onEvent does; once: for all of them.
import { createRequire } from 'node:module';
import { createServer } from 'node:http';

const { WebSocketServer } = createRequire(process.env.BENCH_NODE_MODULES + '/')('ws');
const each = process.argv[2] === 'each';
const clients = new Set();
const http = createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false, maxPayload: 50 * 1024 * 1024 });

function forward(event) {
  if (each) {
    for (const client of clients) client.send(JSON.stringify(event));
  } else {
    const text = JSON.stringify(event);
    for (const client of clients) client.send(text);
  }
}

server.on('connection', (socket, request) => {
  socket.on('error', () => {});
  if (request.headers['x-self-id'] === undefined) {
    clients.add(socket);
    socket.on('close', () => clients.delete(socket));
  } else {
    socket.on('message', (data) => forward(JSON.parse(data)));
  }
});
http.listen(0, '127.0.0.1', () => console.log(`port ${http.address().port}`));
