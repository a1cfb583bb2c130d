'use strict';
// Two halves: `lib/control.js` speaks to the daemon from outside, with pm2's names; `lib/worker.js` is for the program that
// musher runs. Neither costs anything before it is used.

const { Control } = require('./lib/control');
const { MusherError } = require('./lib/error');
const worker = require('./lib/worker');

const musher = new Control();
Object.defineProperties(musher, Object.getOwnPropertyDescriptors(worker.face));
musher.custom = Control;
musher.MusherError = MusherError;

module.exports = musher;
