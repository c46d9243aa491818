// Workers with their cores, what each runs, and when it last gave a sign of life.

import { query } from '../api.js';
import { badge, count, duration, empty, h, plural, rate, size, table } from '../dom.js';
import { waiting } from './overview.js';

// One cell a core: which workers are pinned to it, and whether they are busy.
function cores(list) {
  const byCore = new Map();
  for (const w of list.filter((one) => one.core !== null)) byCore.set(w.core, [...(byCore.get(w.core) ?? []), w]);
  if (byCore.size === 0) return null;
  const cells = [...byCore]
    .sort(([a], [b]) => a - b)
    .map(([core, on]) => {
      const busy = on.filter((w) => w.state === 'busy').length;
      return h(
        'div',
        { class: busy ? 't-running' : 't-kept', key: core },
        h('div', { class: 'label' }, `Core ${core}`),
        h('div', { class: 'more' }, on.map((w) => w.worker).join(', ')),
        h('div', { class: 'more' }, busy ? `${busy} busy` : 'idle'),
      );
    });
  return h('section', { class: 'heads', key: 'cores', 'aria-label': 'Cores' }, cells);
}

export const workers = {
  path: '/workers',
  title: 'Workers',
  draw(store) {
    if (!store.overview) return store.fault ? waiting(store.fault) : h('p', { class: 'dim' }, 'Looking …');
    const list = store.overview.workers;
    const columns = [
      { name: 'Worker' },
      { name: 'State', class: 'fit' },
      { name: 'Core', class: 'number wide' },
      { name: 'Process', class: 'number wide' },
      { name: 'Runs now', class: 'name' },
      { name: 'In hand', class: 'number wide' },
      { name: 'Done', class: 'number' },
      { name: '/s', class: 'number wide' },
      { name: 'Failed', class: 'number wide' },
      { name: 'Memory', class: 'number wide' },
      {
        name: 'Heartbeat',
        class: 'number',
        title: '< it moved within that time, > it has stood still at least so long',
      },
    ];
    const rows = list.map((w) => ({
      key: `${w.worker} ${w.pid}`,
      cells: [
        [
          w.worker,
          w.node && !w.worker.startsWith(`${w.node}-`) && h('span', { class: 'dim' }, ` on ${w.node}`),
          w.keeper &&
            h('span', { class: 'dim', title: 'It promotes delayed tasks and recovers the dead' }, ' · keeper'),
        ],
        badge(w.state),
        w.core ?? '–',
        w.pid,
        w.current
          ? [
              h('a', { href: `/task${query({ id: w.current.id })}` }, w.current.task || w.current.id),
              ' ',
              h('span', { class: 'dim fit' }, duration(w.current.runningNs)),
            ]
          : h('span', { class: 'dim' }, 'nothing'),
        count(w.inflight),
        count(w.done),
        rate(w.ratePerSecond),
        h('span', { class: w.failed ? 'warn' : '' }, count(w.failed)),
        w.rssBytes ? size(w.rssBytes) : '–',
        h(
          'span',
          { class: w.heartbeat.ageNs > 30e9 ? 'bad' : '' },
          w.heartbeat.seen && w.heartbeat.ageNs < 2e9
            ? 'now'
            : `${w.heartbeat.seen ? '<' : '>'} ${duration(w.heartbeat.ageNs)}`,
        ),
      ],
    }));
    const busy = list.filter((w) => w.state === 'busy').length;
    return [
      h('h1', { class: 'unseen' }, 'Workers'),
      cores(list),
      h(
        'section',
        { class: 'card', key: 'workers' },
        h('header', {}, h('h2', {}, plural(list.length, 'worker')), h('span', { class: 'dim' }, `${busy} busy`)),
        rows.length
          ? table('Workers, their cores and what they do', columns, rows)
          : empty(
              'No workers',
              'Tasks wait until one comes. Any command can be a handler.',
              "stem worker start -q default --exec 'hello=cat'",
            ),
      ),
    ];
  },
};
