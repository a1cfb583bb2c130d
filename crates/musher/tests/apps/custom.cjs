// Registers actions and a metric by the library that PM2's users have.
'use strict';
const tx2 = require('tx2');

tx2.action('db:clean', (reply) => reply({ clean: true, slot: process.env.MUSHER_SLOT }));
tx2.action('level', (param, reply) => reply({ level: param }));
tx2.action('silent', () => {});
tx2.metric({ name: 'Users', unit: 'users', value: () => 7 });
require('http').createServer((request, response) => response.end()).listen(0);
