// Tasks that the segment holds, found by words and filters that stand in the address.

import { get, query } from '../api.js';
import { badge, count, empty, h, moment, plural, table } from '../dom.js';
import { waiting } from './overview.js';

const STATES = ['queued', 'delayed', 'running', 'retried', 'succeeded', 'failed', 'cancelled', 'dead'];
const PAGE = 100;

const select = (name, label, value, choices) =>
  h(
    'label',
    {},
    label,
    h(
      'select',
      { name },
      h('option', { value: '', selected: !value }, 'any'),
      [...new Set([...choices, value].filter(Boolean))].map((choice) =>
        h('option', { value: choice, selected: choice === value }, choice),
      ),
    ),
  );

const pages = (data, given) => {
  const offset = data.offset;
  if (data.matching <= PAGE) return null;
  const link = (to, text) => h('a', { class: 'button', href: `/tasks${query({ ...given, offset: to || '' })}` }, text);
  return h(
    'div',
    { class: 'pad' },
    `${count(offset + 1)} to ${count(Math.min(offset + PAGE, data.matching))} `,
    offset > 0 && link(Math.max(0, offset - PAGE), 'Newer'),
    ' ',
    offset + PAGE < data.matching && link(offset + PAGE, 'Older'),
  );
};

export const tasks = {
  path: '/tasks',
  title: 'Tasks',
  load: (given) => get('/api/tasks/find', { ...given, limit: PAGE }),
  draw({ data, fault, overview }, given) {
    if (!data && fault) return waiting(fault);
    const columns = [
      { name: 'Task' },
      { name: 'State', class: 'fit' },
      { name: 'Queue', class: 'name' },
      { name: 'Failed', class: 'number wide', title: 'attempts, of those it may use' },
      { name: 'Enqueued', class: 'fit' },
      { name: 'Due', class: 'fit wide' },
      { name: 'Worker', class: 'name wide' },
      { name: 'Last error', class: 'error wide' },
    ];
    const rows = (data?.tasks ?? []).map((t) => ({
      key: t.id,
      cells: [
        [h('a', { href: `/task${query({ id: t.id })}` }, t.task), h('div', { class: 'mono dim wide' }, t.id)],
        badge(t.state),
        t.queue,
        `${Math.max(t.attempts, t.error?.attempts ?? 0)} of ${t.maxRetries + 1}`,
        moment(t.enqueuedAt),
        t.dueAt ? moment(t.dueAt) : '–',
        t.worker ?? '–',
        t.error ? `${t.error.kind}: ${t.error.message.split('\n')[0].slice(0, 160)}` : '',
      ],
    }));
    const found =
      data === null
        ? h('p', { class: 'pad dim' }, 'Looking …')
        : data.error
          ? empty('That is no search', data.error.message)
          : rows.length
            ? [table('Tasks, newest first', columns, rows), pages(data, given)]
            : Object.keys(given).length
              ? empty('No task matches', 'Tasks that are over are found only while their result is kept.')
              : empty(
                  'No tasks',
                  'Nothing waits, runs or is kept. Tasks that are over leave only what they were told to keep.',
                  "stem enqueue hello --args '{}'",
                );
    return [
      h('h1', { class: 'unseen' }, 'Tasks'),
      h(
        'section',
        { class: 'card', key: 'found' },
        h(
          'form',
          { class: 'filters', role: 'search', 'data-filter': true },
          h(
            'label',
            { class: 'grow' },
            'Search',
            h('input', {
              type: 'search',
              name: 'q',
              value: given.q ?? '',
              placeholder: 'id, task or queue',
              autocomplete: 'off',
              spellcheck: 'false',
            }),
          ),
          select('state', 'State', given.state ?? '', STATES),
          select('queue', 'Queue', given.queue ?? '', overview?.queues.map((q) => q.queue) ?? []),
          select('task', 'Task name', given.task ?? '', overview?.tasks.map((t) => t.task) ?? []),
        ),
        data &&
          !data.error &&
          h('header', {}, h('h2', {}, plural(data.matching, 'task')), h('span', { class: 'dim' }, 'newest first')),
        found,
      ),
    ];
  },
};
