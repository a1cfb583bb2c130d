// Writes lines of 100 bytes, each with its number: node lines.cjs <directory> <lines> [a second]. It begins when the file
// `go` is in the directory; the file `done` then tells how many milliseconds it took. Without a rate: as fast as it can.
'use strict';
const fs = require('node:fs');

const [directory, lines, rate] = process.argv.slice(2);
const total = Number(lines);
const REST = `${'x'.repeat(89)}\n`;
let written = 0;
let begun;

function chunk(most) {
  const end = Math.min(total, written + most);
  let text = '';
  for (; written < end; written += 1) text += `${String(written).padStart(9, '0')} ${REST}`;
  return text;
}

function done() {
  fs.writeFileSync(`${directory}/done.new`, String(Date.now() - begun));
  fs.renameSync(`${directory}/done.new`, `${directory}/done`);
}

// What is not taken holds the program up, as streams want it.
function fast() {
  while (written < total) {
    const text = chunk(600);
    if (written === total) process.stdout.write(text, done);
    else if (!process.stdout.write(text)) return process.stdout.once('drain', fast);
  }
}

function slow() {
  const each = Number(rate) / 100;
  const timer = setInterval(() => {
    process.stdout.write(chunk(each));
    if (written < total) return;
    clearInterval(timer);
    done();
  }, 10);
}

const asked = setInterval(() => {
  if (!fs.existsSync(`${directory}/go`)) return;
  clearInterval(asked);
  begun = Date.now();
  if (rate) slow();
  else fast();
}, 5);

// It stays: an end would be answered with a restart.
setInterval(() => {}, 1 << 30);
