// A Fastify app: node fastify.mjs <port>.
import Fastify from 'fastify';
import support from './answer.cjs';

const app = Fastify();
app.get('/', async (request) => support.text(request.query.id));
const raw = (request, reply) => {
  reply.hijack();
  support.answer(request.raw, reply.raw);
};
// Bodies are left to it as well.
app.addContentTypeParser('*', (request, payload, done) => done(null));
for (const path of ['/stream', '/big', '/wait']) app.get(path, raw);
app.post('/upload', raw);
await app.listen({ port: Number(process.argv[2]), host: '127.0.0.1' });
