// node fastify.mjs <port>: the same on Fastify, an ES module.
import Fastify from 'fastify';
import support from './answer.cjs';

const app = Fastify();
app.get('/', async (request) => support.text(request.query.id));
app.get('/stream', (request, reply) => {
  reply.hijack();
  support.answer(request.raw, reply.raw);
});
if (support.version === 'silent') setInterval(() => {}, 1000);
else await app.listen({ port: Number(process.argv[2]), host: '127.0.0.1' });
