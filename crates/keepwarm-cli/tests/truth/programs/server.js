// A service with the keep-alive timeout (ms) of its argument; "block" blocks its event loop.
const http = require('http');
const server = http.createServer((request, response) => { request.resume(); response.end('an answer\n'); });
server.keepAliveTimeout = Number(process.argv[2]);
server.listen({ port: 8080, host: '0.0.0.0', backlog: process.argv[3] === 'block' ? 16 : 511 });
if (process.argv[3] === 'block') {
  setInterval(() => { const end = Date.now() + 400; while (Date.now() < end); }, 500);
}
