// node express.cjs <port>: the same on Express.
'use strict';
const express = require('express');
const { answer, version } = require('./answer.cjs');

const app = express();
app.use((request, response) => answer(request, response));
if (version === 'silent') setInterval(() => {}, 1000);
else app.listen(Number(process.argv[2]), '127.0.0.1');
