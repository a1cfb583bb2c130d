// What musher asks for.

const number = (value, otherwise) => (Number.isFinite(value) && value >= 0 ? value : otherwise);

process.on('internalMessage', (message, handle) => {
  if (message?.cmd !== 'NODE_MUSHER') return;
  quietly(() => {
    if (message.act === 'drain' && !leaving) leave(number(message.grace, 1000), number(message.limit, LONGEST), disconnect);
    if (message.act === 'entrust') entrust(message, handle);
    if (message.act === 'watch') watch(number(message.every, 0));
  });
});
tell({ act: 'hello' });
