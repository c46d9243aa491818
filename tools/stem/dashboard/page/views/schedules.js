// Schedules: when each fires next, when it did last, and how late.

import { get } from '../api.js';
import { badge, count, duration, empty, h, moment, plural, table } from '../dom.js';
import { waiting } from './overview.js';

const word = (value) => (typeof value === 'object' ? JSON.stringify(value) : value);
// {"every": "30m"} -> "every 30m"
const spec = (s) =>
  typeof s.spec === 'string'
    ? s.spec
    : Object.entries(s.spec)
        .map(([name, value]) => `${name} ${word(value)}`)
        .join(', ');

export const schedules = {
  path: '/schedules',
  title: 'Schedules',
  load: () => get('/api/schedules'),
  draw({ data, fault }) {
    if (!data) return fault ? waiting(fault) : h('p', { class: 'dim' }, 'Looking …');
    if (data.error) return h('section', { class: 'card' }, empty('No schedules to be seen', data.error.message));
    const columns = [
      { name: 'Schedule' },
      { name: 'When', class: 'name' },
      { name: 'Task', class: 'name wide' },
      { name: 'Queue', class: 'name wide' },
      { name: 'Next', class: 'fit' },
      { name: 'Last', class: 'fit' },
      { name: 'Late by', class: 'number wide' },
      { name: 'Fired', class: 'number wide' },
      { name: 'Skipped', class: 'number wide' },
      { name: 'Failed', class: 'number' },
    ];
    const rows = data.schedules.map((s) => ({
      key: s.id,
      cells: [
        [s.id, !s.enabled && [' ', badge('disabled')]],
        [h('code', {}, spec(s)), s.timezone && s.timezone !== 'UTC' && h('div', { class: 'dim' }, s.timezone)],
        s.task,
        s.queue,
        h('span', { class: s.nextAt && Date.parse(s.nextAt) < Date.now() - 1000 ? 'bad' : '' }, moment(s.nextAt)),
        moment(s.lastFiredAt),
        s.driftNs === null ? '–' : duration(Math.abs(s.driftNs)),
        count(s.fired),
        count(s.skipped),
        h('span', { class: s.failed ? 'bad' : '', title: s.lastError }, count(s.failed)),
      ],
    }));
    return [
      h('h1', { class: 'unseen' }, 'Schedules'),
      h(
        'section',
        { class: 'card', key: 'schedules' },
        h(
          'header',
          {},
          h('h2', {}, plural(data.schedules.length, 'schedule')),
          h(
            'span',
            { class: data.holder || !rows.length ? 'dim' : 'bad' },
            data.holder ? `${data.holder} fires them` : rows.length ? 'Nobody fires them: stem beat start' : '',
          ),
          data.overdue > 0 && h('span', { class: 'bad' }, `${data.overdue} overdue`),
        ),
        rows.length
          ? table('Schedules with their next and last time', columns, rows)
          : empty(
              'No schedules',
              'A schedule enqueues a task again and again, by an interval or a calendar.',
              'stem schedule apply -f schedules.yaml',
            ),
      ),
    ];
  },
};
