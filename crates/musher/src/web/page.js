// Shows what the JSON of this address tells, every two seconds while somebody looks. Everything from apps is written as
// text, never as markup.
'use strict';

const EVERY = 2000;
const rows = document.getElementById('rows');
const filter = document.getElementById('filter');
let known = [];

const unit = (bytes) => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (bytes >= 1024 && at < units.length - 1) {
    bytes /= 1024;
    at += 1;
  }
  return `${at && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[at]}`;
};

const since = (ms) => {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`;
  return `${Math.floor(seconds / 86400)}d ${Math.floor((seconds % 86400) / 3600)}h`;
};

const cell = (text, name = '') => {
  const made = document.createElement('td');
  made.textContent = text;
  if (name) made.className = name;
  return made;
};

const row = (worker) => {
  const { pm2_env: about, monit } = worker;
  const runs = worker.pid > 0;
  const made = document.createElement('tr');
  const name = cell(worker.name);
  if (about.namespace !== 'default') {
    const space = document.createElement('span');
    space.className = 'space';
    space.textContent = ` ${about.namespace}`;
    name.append(space);
  }
  const status = String(about.status);
  made.append(
    name,
    cell(worker.pm_id),
    cell(status, status.split(' ')[0].replace(/[^a-z]/g, '')),
    cell(runs ? worker.pid : ''),
    cell(runs ? `${monit.cpu} %` : '', 'n'),
    cell(runs ? unit(monit.memory) : '', 'n'),
    cell(runs ? since(Date.now() - about.pm_uptime) : '', 'n'),
    cell(about.restart_time, 'n'),
    cell(String(about.exec_mode).replace('_mode', '')),
  );
  return made;
};

const show = () => {
  const word = filter.value.trim().toLowerCase();
  const wanted = (worker) =>
    [worker.name, worker.pm2_env.namespace, worker.pm2_env.status].some((text) => String(text).toLowerCase().includes(word));
  rows.replaceChildren(...known.filter(wanted).map(row));
  document.getElementById('none').hidden = known.length > 0;
};

const look = async () => {
  const state = document.getElementById('state');
  try {
    const answer = await fetch('/', { headers: { accept: 'application/json' } });
    if (!answer.ok) throw new Error((await answer.json()).err);
    const { processes, monit, system_info: machine } = await answer.json();
    known = processes;
    const load = monit.loadavg.map((mean) => mean.toFixed(2)).join(' ');
    const used = monit.total_mem - monit.free_mem;
    document.getElementById('machine').textContent =
      `${machine.hostname} · up ${since(machine.uptime * 1000)} · load ${load} · memory ${unit(used)} of ${unit(monit.total_mem)}`;
    state.textContent = '';
    rows.classList.remove('old');
    show();
  } catch (error) {
    state.textContent = `no answer: ${error.message}`;
    rows.classList.add('old');
  }
};

const turn = async () => {
  if (!document.hidden) await look();
  setTimeout(turn, EVERY);
};

filter.addEventListener('input', show);
document.addEventListener('visibilitychange', () => document.hidden || look());
turn();
