'use strict';
const $ = id => document.getElementById(id);
const put = (node, text, kind) => { if (node.textContent !== text) node.textContent = text; if (kind !== undefined && node.className !== kind) node.className = kind; };
const make = (tag, text, kind) => { const node = document.createElement(tag); put(node, text ?? '', kind); return node; };
const known = (value, show) => value === undefined || value === null ? '–' : show(value);
const took = s => s < 1 ? (s * 1000).toFixed(1) + ' ms' : s.toFixed(2) + ' s';
const size = b => b < 1048576 ? (b / 1024).toFixed(0) + ' KiB' : b < 10 * 1073741824 && b % 1073741824 ? (b / 1048576).toFixed(b < 10485760 ? 1 : 0) + ' MiB' : (b / 1073741824).toFixed(0) + ' GiB';
const span = s => s < 60 ? Math.floor(s) + 's' : s < 3600 ? Math.floor(s / 60) + 'm' : s < 172800 ? Math.floor(s / 3600) + 'h' : Math.floor(s / 86400) + 'd';
const two = n => String(n).padStart(2, '0');
const clock = (t, day) => {
  const at = new Date(t), date = at.getFullYear() + '-' + two(at.getMonth() + 1) + '-' + two(at.getDate());
  const hour = two(at.getHours()) + ':' + two(at.getMinutes()) + ':' + two(at.getSeconds());
  return day || at.toDateString() !== new Date().toDateString() ? date + ' ' + hour : hour;
};
let follow = true;
$('logs').addEventListener('scroll', () => { const pre = $('logs'); follow = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 20; });
const past = new Map();

function spark(cell, key, value) {
  const all = past.get(key) ?? [];
  all.push(value ?? 0);
  if (all.length > 60) all.shift();
  past.set(key, all);
  const most = Math.max(...all, 1e-9), ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg'), line = document.createElementNS(ns, 'polyline');
  svg.setAttribute('viewBox', '0 0 60 14'); svg.setAttribute('aria-hidden', 'true');
  line.setAttribute('points', all.map((v, i) => (60 - all.length + i) + ',' + (13 - 12 * v / most)).join(' '));
  svg.append(line); cell.append(svg);
}

function stage(r) {
  if (r.stage === 'ready') return ['ready', 'good'];
  if (r.stage === 'draining' || r.stage === 'stopped' || r.remote) return [r.stage, 'warn'];
  if (r.stage === 'failed') return ['failed', 'bad'];
  return [r.restarts > 0 || r.stage === 'backoff' ? 'restarting: ' + r.stage : r.stage, 'warn'];
}

function row(r) {
  const tr = make('tr'); tr.setAttribute('role', 'row'); tr.dataset.replica = r.name;
  const head = make('th', r.name); head.scope = 'row'; head.setAttribute('role', 'rowheader'); tr.append(head);
  const [said, kind] = stage(r);
  for (const [label, text, as, key] of [
    ['Stage', said, kind], ['Uptime', known(r.uptimeSeconds, span)], ['Restarts', String(r.restarts)],
    ['Req/s', known(r.requestsPerSecond, v => v.toFixed(1)), '', 'requestsPerSecond'], ['p99', known(r.latencyP99Seconds, took), '', 'latencyP99Seconds'],
    ['CPU', known(r.cpuPercent, v => v.toFixed(0) + ' %'), '', 'cpuPercent'], ['Memory', known(r.memoryBytes, size)],
    ['Watches', known(r.watches, String)], ['Hop p99', known(r.hopP99Seconds, took)]]) {
    const td = make('td', key ? '' : text, as); td.dataset.label = label; td.setAttribute('role', 'cell');
    if (key) td.append(make('span', text, 'number'));
    if (key) spark(td, r.name + key, r[key]);
    tr.append(td);
  }
  return tr;
}

function showState(s) {
  $('away').hidden = !s.away;
  if (s.away) put($('away'), 'The supervisor is away: ' + s.away + (s.sample ? '. What is shown is of ' + clock(s.sample.time) + '.' : ''));
  put($('phase'), s.away ? 'Away' : s.sample.phase, s.away ? 'bad' : s.sample.phase === 'Ready' ? 'good' : 'warn');
  if (!s.sample) return;
  const is = s.sample, table = $('processes');
  put($('where'), [is.secureURL, is.version].filter(Boolean).join(' · '));
  const notes = [...(is.notes ?? []), ...(s.missing ?? []).map(m => 'isolation: ' + m)];
  for (const t of is.tiers) for (const r of t.replicas) if (r.problem) notes.push(r.name + ': ' + r.problem);
  $('notes').replaceChildren(...notes.map(n => make('li', n)));
  for (const old of [...table.tBodies]) old.remove();
  for (const t of is.tiers) { const body = make('tbody'); body.setAttribute('role', 'rowgroup'); body.append(...t.replicas.map(row)); table.append(body); }
  const e = is.etcd;
  put($('etcd'), (e.embedded ? (e.pid ? 'pid ' + e.pid : 'no process') : 'your own') + ', ' + known(e.sizeBytes, size) + (e.quotaBytes ? ' of ' + size(e.quotaBytes) : '') + (e.full ? ', full' : '')
    + (e.embedded ? ', memory ' + known(e.memoryBytes, size) + ', CPU ' + known(e.cpuPercent, v => v.toFixed(0) + ' %') : ''));
  const certificates = [...(s.certificates ?? [])].sort((a, b) => a.notAfter < b.notAfter ? -1 : 1);
  if (certificates.length) put($('first'), certificates[0].name + ' ends first, ' + clock(certificates[0].notAfter, true));
  $('certificates').tBodies[0].replaceChildren(...certificates.map(c => { const tr = make('tr'); tr.append(make('td', c.name), make('td', clock(c.notAfter, true))); return tr; }));
}

function showEvents(all) {
  const sign = all.length ? all[0].time + all.length : '';
  if ($('events').dataset.sign === sign) return;
  $('events').dataset.sign = sign;
  $('events').tBodies[0].replaceChildren(...all.map(e => { const tr = make('tr');
    tr.append(make('td', clock(e.time)), make('td', e.process), make('td', [e.from ? e.from + ' → ' + e.to : e.to, e.reason].filter(Boolean).join(': '))); return tr; }));
}

function showLogs(all) {
  const pre = $('logs');
  put(pre, all.map(l => (l.replica || l.tier).padEnd(13) + l.line).join('\n'));
  if (follow) pre.scrollTop = pre.scrollHeight;
}

async function ask(path) {
  const answer = await fetch(path, { cache: 'no-store' });
  if (answer.status === 401) throw new Error('this page is of an earlier dashboard: open the link that is printed now');
  if (!answer.ok) throw Object.assign(new Error(await answer.text()), { mistake: true });
  return answer.json();
}

async function turn() {
  if (!document.hidden) {
    try {
      showState(await ask('api/state'));
      showEvents(await ask('api/events'));
      try {
        showLogs(await ask('api/logs?' + new URLSearchParams({ tier: $('tier').value, grep: $('grep').value })));
        put($('mistake'), '');
      } catch (e) { if (!e.mistake) throw e; put($('mistake'), e.message); }
    } catch (e) {
      $('away').hidden = false;
      put($('away'), 'The dashboard does not answer: ' + e.message);
      put($('phase'), 'Away', 'bad');
    }
  }
  setTimeout(turn, 2000);
}
turn();
