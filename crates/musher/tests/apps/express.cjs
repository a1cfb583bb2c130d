// An Express app: node express.cjs <port>.
'use strict';
const express = require('express');
const { answer } = require('./answer.cjs');

const app = express();
app.use((request, response) => answer(request, response));
app.listen(Number(process.argv[2]));
