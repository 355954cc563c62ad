/** Runs the function under Node: `npm start`, then the curl line in function.js. */
import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import scoring from './function.js';

const port = Number(process.env.PORT ?? 8787);
const server = createServer(async (incoming, outgoing) => {
  const body = incoming.method === 'POST' ? Readable.toWeb(incoming) : undefined;
  const request = new Request(`http://localhost${incoming.url}`, { method: incoming.method, body, duplex: 'half' });
  const response = await scoring.fetch(request);
  outgoing.writeHead(response.status, Object.fromEntries(response.headers)).end(await response.text());
});
server.listen(port, () => console.log(`http://localhost:${server.address().port}`));
