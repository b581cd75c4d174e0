// A server of HTTP/2 without TLS, for tests/http2/servers.rs. Prints its address, and ends when its
// standard input ends. At most 10 streams at once; each answer to /away ends its connection (GOAWAY).
import http2 from 'node:http2'

const server = http2.createServer({ settings: { maxConcurrentStreams: 10 } })
server.on('sessionError', () => {})
server.on('stream', (stream, headers) => {
  stream.on('error', () => {})
  stream.respond({ ':status': 200 })
  switch (headers[':path']) {
    case '/echo':
      stream.pipe(stream)
      break
    case '/large':
      stream.end(Buffer.alloc(8 << 20))
      break
    case '/away':
      stream.end('x')
      stream.session.close()
      break
    default:
      stream.end('x')
  }
})
server.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${server.address().port}`))
process.stdin.resume().on('end', () => process.exit(0))
