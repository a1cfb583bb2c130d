// A worker that counts with its team, says what it hears, and has something to finish before it ends. Lines go to TOLD-<slot>.
const fs = require('fs');
const http = require('http');
const musher = require('musher');

const slot = process.env.MUSHER_SLOT ?? 'alone';
const tell = (...words) => fs.appendFileSync(`told-${slot}`, `${JSON.stringify(words)}\n`);

musher.on('message', ({ filler, ...message }, from) => tell('heard', message, from.slot));
musher.onDrain(async () => {
  tell('drains', process.pid);
  await new Promise((resolve) => setTimeout(resolve, 300));
  tell('has drained', process.pid);
});

// What a test tells one worker.
process.on('message', async ({ flood, block }) => {
  if (block) {
    tell('blocks');
    while (!fs.existsSync(block));
  }
  if (flood) {
    let missed = 0;
    for (let n = 0; n < flood; n += 1) missed += (await musher.broadcast({ n, filler: 'x'.repeat(900_000) })).missed;
    tell('flooded', missed);
  }
});
musher.on('missed', (count) => tell('missed', count));

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
