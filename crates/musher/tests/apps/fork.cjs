// A Node program without a server, for what a channel can do: node fork.cjs <what>.
'use strict';
const fs = require('node:fs');

const what = process.argv[2];
const stay = () => setInterval(() => {}, 1000);
const channel = () => process.channel.fd;

switch (what) {
  case 'ready':
    // Ready by message, after a while of not being so.
    setTimeout(() => process.send('ready'), 300);
    stay();
    break;
  case 'flood-channel':
    // More messages than anybody reads, for ever.
    (function flood() {
      for (let n = 0; n < 100; n++) process.send({ n, filler: 'x'.repeat(10_000) });
      setImmediate(flood);
    })();
    break;
  case 'garbage':
    // Not JSON, and without an end.
    fs.writeSync(channel(), '{"cmd":"NODE_CLUSTER","act":"queryServer"');
    for (let n = 0; n < 64; n++) {
      try {
        fs.writeSync(channel(), 'x'.repeat(1 << 20));
      } catch (error) {
        if (error.code !== 'EAGAIN') throw error;
      }
    }
    stay();
    break;
  case 'malformed':
    for (const line of ['null', '[]', '{"cmd":"NODE_CLUSTER","act":7}', '{"cmd":"NODE_CLUSTER","act":"queryServer","seq":1}', 'nonsense']) {
      fs.writeSync(channel(), `${line}\n`);
    }
    stay();
    break;
  case 'close-channel':
    fs.closeSync(channel());
    stay();
    break;
  case 'tree':
    // A grandchild that leaves the process group and ignores the stop signal.
    require('node:child_process').spawn('setsid', ['sh', '-c', 'trap "" TERM INT; while :; do sleep 1; done'], { stdio: 'ignore' });
    stay();
    break;
  case 'deaf':
    process.on('SIGTERM', () => {});
    process.on('SIGINT', () => {});
    process.on('disconnect', () => {});
    stay();
    break;
  case 'die':
    console.error('the reason why it died');
    process.exit(7);
    break;
  default:
    console.log(`started with ${what}`);
    stay();
}
