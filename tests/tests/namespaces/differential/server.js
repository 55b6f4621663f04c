// Node's HTTP server; notes every request it acts on: `METHOD path`, a line each, in the file that is given.
'use strict';
const fs = require('fs');
const http = require('http');

const log = fs.openSync(process.argv[2], 'a');
const server = http.createServer((request, response) => {
  let path = request.url;
  try {
    path = new URL(request.url, 'http://node').pathname;
  } catch {
    // What the URL parser refuses is noted as it came.
  }
  request.resume();
  request.on('end', () => {
    fs.writeSync(log, `${request.method} ${path}\n`);
    response.end('ok\n');
  });
});
server.keepAliveTimeout = 20000;
server.listen(80);
