// A server that says what it received: for every request the length and the SHA-256 of its content; `/allow/bytes/N` answers N
// bytes; `/allow/early` answers before the content; an upgrade to WebSocket is answered and its frames are echoed.
'use strict';
const crypto = require('crypto');
const http = require('http');

const digest = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');
// The same bytes as the clients'.
const pattern = (length) => {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 7 + (i >> 8)) & 255;
  return bytes;
};

const server = http.createServer((request, response) => {
  const wanted = request.url.match(/^\/allow\/(bytes|chunks)\/(\d+)/);
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const content = Buffer.concat(parts);
    if (wanted === null) {
      const text = `${request.method} ${content.length} ${digest(content)}\n`;
      response.setHeader('content-length', text.length);
      response.end(text);
      return;
    }
    const bytes = pattern(Number(wanted[2]));
    if (wanted[1] === 'bytes') {
      response.setHeader('content-length', bytes.length);
      response.end(bytes);
    } else {
      for (let at = 0; at < bytes.length; at += 7001) response.write(bytes.subarray(at, at + 7001));
      response.end();
    }
  });
});
server.on('upgrade', (request, socket, early) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  if (early.length > 0) socket.write(early);
  socket.on('data', (bytes) => socket.write(bytes));
  socket.on('end', () => socket.end());
  socket.on('error', () => {});
});
server.keepAliveTimeout = 60000;
server.listen(80);
