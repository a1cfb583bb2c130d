// A worker that counts with its team, says what it hears, and has something to finish before it ends. Lines go to TOLD-<slot>.
const fs = require('fs');
const http = require('http');
const musher = require('musher');

const slot = process.env.MUSHER_SLOT ?? 'alone';
const tell = (...words) => fs.appendFileSync(`told-${slot}`, `${JSON.stringify(words)}\n`);

musher.on('message', (message, from) => tell('heard', message, from.slot));
musher.onDrain(async () => {
  tell('drains', process.pid);
  await new Promise((resolve) => setTimeout(resolve, 300));
  tell('has drained', process.pid);
});

const answers = {
  '/count': () => musher.state.update('visits', (visits = 0) => visits + 1),
  '/visits': () => musher.state.get('visits'),
  '/say': () => musher.broadcast({ from: slot, text: 'ä\n' }),
  '/who': () => ({ app: musher.app, slot: musher.slot, worker: musher.isWorker }),
};

const main = async () => {
  await musher.state.watch('visits', (visits) => tell('visits', visits));
  if (!process.env.PORT) {
    process.send('ready');
    setInterval(() => {}, 1 << 30);
    return;
  }
  http
    .createServer(async (request, response) => {
      try {
        response.end(JSON.stringify(await answers[request.url]()));
      } catch (error) {
        response.writeHead(500).end(String(error.stack));
      }
    })
    .listen(process.env.PORT);
};
main();
