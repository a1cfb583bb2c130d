// Listens where it is told: node sockets.cjs <kind> <argument>...
//   http <listen options as JSON>    http on any TCP or unix address; says its address on stdout
//   udp <port>                       answers each datagram with `id=<datagram> pid=<pid>`
//   both <port> <port>               one worker, two ports
'use strict';
const dgram = require('node:dgram');
const http = require('node:http');
const { answer } = require('./answer.cjs');

const [kind, ...rest] = process.argv.slice(2);

function serve(options) {
  const server = http.createServer(answer);
  server.on('error', (error) => {
    console.error(`error ${error.code}: ${error.message}`);
    process.exit(3);
  });
  server.listen(options, () => console.log(`address ${JSON.stringify(server.address())}`));
}

if (kind === 'http') {
  serve(JSON.parse(rest[0]));
} else if (kind === 'both') {
  for (const port of rest) serve({ port: Number(port) });
} else if (kind === 'udp') {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (message, from) => socket.send(`id=${message} pid=${process.pid}\n`, from.port, from.address));
  socket.bind(Number(rest[0]), '127.0.0.1', () => console.log('bound'));
}
