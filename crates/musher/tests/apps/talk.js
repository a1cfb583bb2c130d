// Answers every message with one of each kind that the bus knows; says when it is ready, so that nobody waits for it.
process.on('message', (message) => {
  // PM2 has words of its own for workers.
  if (!message.data) return;
  process.send({ type: 'process:msg', data: { heard: message } });
  process.send({ type: 'own:kind', data: [1] });
  process.send({ neither: 'type nor data' });
});
process.on('SIGWINCH', () => process.send({ type: 'signal:heard', data: { slot: process.env.NODE_APP_INSTANCE } }));
process.on('SIGINT', () => process.exit(0));
console.log('to out');
console.error('to err');
process.send('ready');
