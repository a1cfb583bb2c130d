// A server whose new versions are not good: node canary.cjs <port>. The file `version` in its working directory says how
// it is: "throws" (a while after it was ready), "fails" (answers /work with 500), "slow" (takes 150 ms for each answer), anything else is good.
'use strict';
const http = require('node:http');
const { answer, version } = require('./answer.cjs');

const server = http.createServer((request, response) => {
  if (version === 'fails' && request.url.startsWith('/work')) response.statusCode = 500;
  if (version === 'slow') setTimeout(answer, 150, request, response);
  else answer(request, response);
});
server.listen(Number(process.argv[2]));
if (version === 'throws') {
  setTimeout(() => {
    throw new Error('this build does not live long');
  }, 1500);
}
