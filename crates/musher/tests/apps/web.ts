// The plain http server in TypeScript: node web.ts <port>.
import http from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import support from './answer.cjs';

const port: number = Number(process.argv[2]);
http
  .createServer((request: IncomingMessage, response: ServerResponse): void => support.answer(request, response))
  .listen(port);
