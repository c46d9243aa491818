// What the queues do, at a glance: what needs attention, six figures, two charts, every queue, every task name.

import { query } from '../api.js';
import { chart, ribbon } from '../chart.js';
import { badge, count, duration, empty, h, plural, rate, share, table } from '../dom.js';
import { attention } from './attention.js';

function heads({ overview: seen, history }) {
  const sum = (field) => seen.queues.reduce((total, q) => total + q[field], 0);
  const latest = history.at(-1)?.wait;
  const alive = seen.workers.filter((w) => w.state !== 'dead');
  const oldest = Math.max(0, ...seen.queues.map((q) => q.oldestAgeNs ?? 0));
  const head = (tone, label, value, more, href) =>
    h(
      href ? 'a' : 'div',
      { href, class: tone },
      h('div', { class: `label ${tone ? '' : 'plain'}` }, label),
      h('div', { class: 'value' }, value),
      h('div', { class: 'more' }, more),
    );
  return h(
    'section',
    { class: 'heads', key: 'heads', 'aria-label': 'Figures' },
    head(
      't-waiting',
      'Waiting',
      count(sum('ready')),
      oldest ? `oldest ${duration(oldest)}` : 'nothing waits',
      '/tasks?state=queued',
    ),
    head(
      't-running',
      'Running',
      count(sum('inflight')),
      `${alive.filter((w) => w.state === 'busy').length} of ${plural(alive.length, 'worker')} busy`,
      '/tasks?state=running',
    ),
    head('t-delayed', 'Delayed', count(sum('delayed')), 'until their time', '/tasks?state=delayed'),
    head('t-dead', 'Dead letters', count(sum('dlq')), sum('dlq') ? 'wait for a decision' : 'none', '/dead'),
    head(
      '',
      'Done',
      [rate(sum('rateOutPerSecond')), h('small', {}, ' /s')],
      `${rate(sum('rateInPerSecond'))} /s come in`,
    ),
    head(
      '',
      'Wait, p99',
      latest?.p99Ns ? duration(latest.p99Ns) : '–',
      latest?.samples ? `p50 ${duration(latest.p50Ns)}` : 'nothing started just now',
    ),
  );
}

function charts({ history }) {
  const points = (field) => history.map((p) => [p.at, p[field]]);
  const waits = (field) => history.map((p) => [p.at, p.wait[field]]);
  return h(
    'section',
    { class: 'charts', key: 'charts', 'aria-label': 'The last quarter of an hour' },
    chart({
      id: 'flow',
      title: 'Tasks a second',
      suffix: ' /s',
      series: [
        { name: 'in', tone: 'in', points: points('rateIn') },
        { name: 'done', tone: 'out', points: points('rateOut') },
      ],
    }),
    chart({
      id: 'wait',
      title: 'Wait before the first start',
      logarithmic: true,
      format: duration,
      series: [
        { name: 'p50', tone: 'p50', points: waits('p50Ns') },
        { name: 'p99', tone: 'p99', points: waits('p99Ns') },
      ],
    }),
    chart({
      id: 'backlog',
      title: 'Waiting tasks',
      format: count,
      series: [{ name: 'waiting', tone: 'waiting', points: points('ready') }],
    }),
    runChart(history),
  );
}

// How long attempts run, of the task name that takes longest.
function runChart(history) {
  const runs = (field) => history.map((p) => [p.at, p.slowest[field]]);
  const name = history.findLast((p) => p.slowest.task)?.slowest.task;
  return chart({
    id: 'run',
    title: name ? `Run time of the slowest, ${name}` : 'Run time',
    logarithmic: true,
    format: duration,
    series: [
      { name: 'p50', tone: 'p50', points: runs('p50Ns') },
      { name: 'p99', tone: 'p99', points: runs('p99Ns') },
    ],
  });
}

const MOST_ROWS = 50;

// The fullest first, by powers of ten and then by name: rows that changed places at every look could not be read.
function fullestFirst(list, size, name) {
  const rank = (one) => Math.floor(Math.log10(Math.max(size(one), 1)));
  return [...list].sort((a, b) => rank(b) - rank(a) || name(a).localeCompare(name(b), undefined, { numeric: true }));
}

// What a long table leaves out, until it is asked for.
const more = (rows, shown, what) =>
  rows.length > shown.length &&
  h(
    'p',
    { class: 'pad more' },
    h('span', { class: 'dim' }, `and ${count(rows.length - shown.length)} with less. `),
    h('a', { href: `/${query({ [what]: 'all' })}` }, 'Show all'),
  );

function queues({ overview: seen }, given) {
  const most = Math.max(1, ...seen.queues.map((q) => q.ready + q.inflight + q.delayed + q.dlq));
  const columns = [
    { name: 'Queue' },
    { name: 'State of its tasks', class: 'bars wide' },
    { name: 'Waiting', class: 'number' },
    { name: 'Running', class: 'number' },
    { name: 'Delayed', class: 'number wide' },
    { name: 'Dead', class: 'number' },
    { name: 'In /s', class: 'number wide' },
    { name: 'Done /s', class: 'number wide' },
    {
      name: 'Wait p50',
      class: 'number wide',
      title: 'of tasks that started in the last look; of all time when none did',
    },
    { name: 'p99', class: 'number wide' },
    { name: 'Oldest', class: 'number wide' },
    { name: h('span', { class: 'unseen' }, 'Act'), class: 'fit' },
  ];
  const sorted = fullestFirst(
    seen.queues,
    (q) => q.ready + q.inflight + q.dlq,
    (q) => q.queue,
  );
  const shown = given.queues === 'all' ? sorted : sorted.slice(0, MOST_ROWS);
  const rows = shown.map((q) => ({
    key: q.queue,
    cells: [
      [h('a', { href: `/tasks${query({ queue: q.queue })}` }, q.queue), q.paused && [' ', badge('paused')]],
      ribbon(
        [
          { tone: 'r-waiting', value: q.ready },
          { tone: 'r-running', value: q.inflight },
          { tone: 'r-delayed', value: q.delayed },
          { tone: 'r-dead', value: q.dlq },
        ],
        `${q.ready} waiting, ${q.inflight} running, ${q.delayed} delayed, ${q.dlq} dead`,
        most,
      ),
      count(q.ready),
      count(q.inflight),
      count(q.delayed),
      q.dlq ? h('a', { class: 'bad', href: `/dead${query({ queue: q.queue })}` }, count(q.dlq)) : '0',
      rate(q.rateInPerSecond),
      rate(q.rateOutPerSecond),
      duration(q.lag.p50Ns),
      duration(q.lag.p99Ns),
      duration(q.oldestAgeNs),
      h(
        'button',
        {
          type: 'button',
          'data-act': q.paused ? 'queue resume' : 'queue pause',
          'data-queue': q.queue,
          'aria-label': `${q.paused ? 'Resume' : 'Pause'} queue ${q.queue}`,
        },
        q.paused ? 'Resume' : 'Pause',
      ),
    ],
  }));
  return h(
    'section',
    { class: 'card', key: 'queues' },
    h('header', {}, h('h2', {}, 'Queues'), h('span', { class: 'dim' }, plural(seen.queues.length, 'queue'))),
    rows.length
      ? [table('Queues, their tasks by state, rates and waiting times', columns, rows), more(sorted, shown, 'queues')]
      : empty('No queues yet', 'A queue is made by its first task.', "stem enqueue hello --args '{}'"),
  );
}

function names({ overview: seen }, given) {
  const columns = [
    { name: 'Task' },
    { name: 'Attempts', class: 'number' },
    { name: '/s', class: 'number' },
    { name: 'Mean', class: 'number wide' },
    { name: 'p50', class: 'number wide' },
    { name: 'p95', class: 'number wide' },
    { name: 'p99', class: 'number' },
    { name: 'Failed', class: 'number' },
    { name: 'Retried', class: 'number wide' },
  ];
  const sorted = fullestFirst(
    seen.tasks,
    (t) => t.count,
    (t) => t.task,
  );
  const shown = given.names === 'all' ? sorted : sorted.slice(0, MOST_ROWS);
  const rows = shown.map((t) => ({
    key: t.task,
    cells: [
      h('a', { href: `/tasks${query({ task: t.task })}` }, t.task),
      count(t.count),
      rate(t.ratePerSecond),
      duration(t.meanNs),
      duration(t.duration.p50Ns),
      duration(t.duration.p95Ns),
      duration(t.duration.p99Ns),
      h('span', { class: t.failShare > 0 ? 'warn' : '' }, share(t.failShare)),
      share(t.retryShare),
    ],
  }));
  if (rows.length === 0) return null;
  return h(
    'section',
    { class: 'card', key: 'names' },
    h('header', {}, h('h2', {}, 'Task names'), h('span', { class: 'dim' }, 'how long their attempts run')),
    table('Task names, how often and how long they run', columns, rows),
    more(sorted, shown, 'names'),
  );
}

export const overview = {
  path: '/',
  title: 'Overview',
  draw(store, given) {
    if (!store.overview) return store.fault ? waiting(store.fault) : h('p', { class: 'dim' }, 'Looking …');
    return [
      h('h1', { class: 'unseen' }, 'Overview'),
      attention(store),
      heads(store),
      charts(store),
      queues(store, given),
      names(store, given),
    ];
  },
};

export const waiting = (fault) =>
  h(
    'section',
    { class: 'card' },
    fault.status === 503
      ? empty(
          'No segment yet',
          'This page fills by itself once there is one. A worker or the first task makes it.',
          "stem worker start --exec 'hello=cat'",
        )
      : fault.status === 401
        ? h(
            'div',
            { class: 'empty' },
            h('h2', {}, 'The token, please'),
            h('p', {}, 'This dashboard shows itself to who has the token.'),
            h('button', { type: 'button', class: 'main', 'data-act': 'session token' }, 'Enter the token'),
          )
        : empty('No figures', fault.message),
  );
