// A Node server with Node's defaults. Says its port, and ends when its standard input does.
const http = require('http');

const server = http.createServer((request, response) => response.end('Data OK.'));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
