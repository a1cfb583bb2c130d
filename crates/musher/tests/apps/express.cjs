// An Express app: node express.cjs <port>.
'use strict';
const express = require('express');
const { answer, journal } = require('./answer.cjs');

const app = express();
app.use((request, response) => answer(request, response));
app.listen(Number(process.argv[2])).on('connection', (socket) => journal(`c ${socket.remotePort}`));
