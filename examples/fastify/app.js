// A Fastify app, an ES module: npm ci && musher start musher.toml
import Fastify from 'fastify';

const app = Fastify({ logger: true });
const port = Number(process.env.PORT || 3001);

app.get('/', async () => ({ hello: 'world', worker: process.pid }));

await app.listen({ port });
