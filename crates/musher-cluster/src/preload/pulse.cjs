// On `{act: 'watch', every}` the worker tells every so many milliseconds how it is: how late its event loop was, how busy,
// how many requests its HTTP servers answered, how many with an error of theirs, and how long that took; how many
// connections its servers have; its heap, and what the collection of garbage cost. Counts are totals. On `every: 0` it
// stops. Until it is asked, none of this costs anything.

const SHORTEST_PULSE = 100;
// Four buckets for each doubling, from 128 microseconds to a minute.
const FIRST_BUCKET = 128;
const BUCKETS = 80;
const RESOLUTION = 50;
// The first word does not wait for its turn: somebody has just asked.
const SOON = 200;

const begun = Symbol('musher.begun');
let pulse;
const totals = { requests: 0, errors: 0, active: 0, took: 0, latencies: new Array(BUCKETS).fill(0) };
const garbage = { collections: 0, collecting: 0 };
// As they were counted the last time: counting may take a turn of the loop.
let connections = 0;

function responseClosed() {
  totals.active -= 1;
  if (!this.writableFinished) return;
  totals.requests += 1;
  if (this.statusCode >= 500) totals.errors += 1;
  const micros = (performance.now() - this[begun]) * 1000;
  const bucket = micros <= FIRST_BUCKET ? 0 : Math.ceil(4 * Math.log2(micros / FIRST_BUCKET));
  totals.took += Math.round(micros);
  totals.latencies[Math.min(bucket, BUCKETS - 1)] += 1;
}

const requestBegan = ({ response }) => quietly(() => {
  totals.active += 1;
  response[begun] = performance.now();
  response.once('close', responseClosed);
});

const collected = (list) => quietly(() => {
  for (const { duration } of list.getEntries()) {
    garbage.collections += 1;
    garbage.collecting += duration * 1000;
  }
});

const heap = () => quietly(() => {
  const { used_heap_size: used, total_heap_size: size, heap_size_limit: limit, external_memory: external } =
    require('v8').getHeapStatistics();
  return { used, size, limit, external, ...garbage, collecting: Math.round(garbage.collecting) };
});

const countConnections = () => {
  const servers = [...listening()].filter((server) => server.getConnections);
  let [sum, left] = [0, servers.length];
  if (left === 0) connections = 0;
  for (const server of servers) {
    server.getConnections((error, count) => {
      if (!error) sum += count;
      left -= 1;
      if (left === 0) connections = sum;
    });
  }
};

const beat = () => {
  // One that was not read is enough.
  if (pulse.waits) return;
  pulse.waits = true;
  const of = pulse;
  quietly(countConnections);
  const { utilization } = performance.eventLoopUtilization(pulse.utilization);
  pulse.utilization = performance.eventLoopUtilization();
  const late = Math.max(0, pulse.delays.max / 1000 - RESOLUTION * 1000);
  pulse.delays.reset();
  tell(
    {
      act: 'pulse',
      ...totals,
      // Empty buckets at the end need not be sent.
      latencies: totals.latencies.slice(0, totals.latencies.findLastIndex((count) => count > 0) + 1),
      delay: Math.round(late),
      busy: Math.round(utilization * 1000),
      connections,
      heap: heap(),
    },
    () => {
      of.waits = false;
    },
  );
};

const watch = (every) => {
  const channel = require('diagnostics_channel');
  if (pulse) {
    clearInterval(pulse.timer);
    clearTimeout(pulse.first);
    pulse.delays.disable();
    pulse.collector?.disconnect();
    channel.unsubscribe('http.server.request.start', requestBegan);
    pulse = undefined;
  }
  if (!(every > 0)) return;
  const { monitorEventLoopDelay, PerformanceObserver } = require('perf_hooks');
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION });
  delays.enable();
  const timer = setInterval(() => quietly(beat), Math.min(Math.max(every, SHORTEST_PULSE), LONGEST));
  timer.unref();
  const first = setTimeout(() => quietly(beat), SOON);
  first.unref();
  const collector = quietly(() => {
    const observer = new PerformanceObserver(collected);
    observer.observe({ entryTypes: ['gc'] });
    return observer;
  });
  pulse = { delays, timer, first, collector, utilization: performance.eventLoopUtilization(), waits: false };
  channel.subscribe('http.server.request.start', requestBegan);
};
