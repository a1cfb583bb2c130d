// A plain http server: node web.cjs <port> [host]. A file `version` in its working directory says which build it is;
// its content may also be "throw" (dies at start) or "silent" (never listens).
'use strict';
const cluster = require('node:cluster');
const http = require('node:http');
const { answer, version } = require('./answer.cjs');

if (version === 'throw') throw new Error('this build is broken on purpose');
const server = http.createServer((request, response) => answer(request, response));
if (version === 'silent') {
  setInterval(() => {}, 1000);
} else {
  server.listen(Number(process.argv[2]), process.argv[3], () => {
    console.log(`listening worker=${cluster.worker ? cluster.worker.id : 'none'} version=${version}`);
  });
}
