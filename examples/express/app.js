// An Express app as in its own documentation: npm ci && musher start musher.toml
'use strict';
const express = require('express');

const app = express();
const port = Number(process.env.PORT || 3000);

app.get('/', (request, response) => {
  response.send(`Hello from worker ${process.pid}\n`);
});

app.listen(port, () => console.log(`worker ${process.pid} listens on ${port}`));
