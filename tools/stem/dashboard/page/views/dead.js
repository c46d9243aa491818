// Dead letters: those that failed alike are one group, with what to do about it.

import { get, query } from '../api.js';
import { count, empty, h, moment, plural, table } from '../dom.js';
import { waiting } from './overview.js';

function letters(data) {
  const columns = [
    { name: 'Task' },
    { name: 'Died', class: 'fit' },
    { name: 'Attempts', class: 'number' },
    { name: 'Error', class: 'error' },
  ];
  return [
    table(
      'Dead letters, newest first',
      columns,
      data.letters.map((l) => ({
        key: l.id,
        cells: [
          h('a', { class: 'mono', href: `/task${query({ id: l.id })}` }, l.id),
          moment(l.error.at),
          count(l.error.attempts),
          l.error.message.split('\n')[0].slice(0, 200),
        ],
      })),
    ),
    data.matching > data.letters.length &&
      h('p', { class: 'pad dim' }, `and ${count(data.matching - data.letters.length)} older`),
  ];
}

function group(g, given, data) {
  const opened = given.fingerprint === g.fingerprint && (!given.queue || given.queue === g.queue);
  const act = (verb, text) =>
    h(
      'button',
      {
        type: 'button',
        'data-act': `dlq ${verb}`,
        'data-queue': g.queue,
        'data-fingerprint': g.fingerprint,
        'aria-label': `${text} ${g.count} of ${g.task} in ${g.queue}`,
      },
      `${text} …`,
    );
  return h(
    'div',
    { class: 'group', key: `${g.queue} ${g.fingerprint}` },
    h(
      'div',
      {},
      h(
        'div',
        { class: 'what' },
        h('span', { class: 'many' }, `${count(g.count)} ×`),
        h('h2', {}, g.task),
        h('span', { class: 'dim' }, `in ${g.queue}`),
        h('span', { class: 'badge dead' }, g.reason ?? 'dead'),
      ),
      h('p', {}, h('b', {}, g.error.kind), ': ', g.error.message.split('\n')[0].slice(0, 300)),
      h(
        'p',
        { class: 'dim' },
        'first ',
        moment(g.firstAt),
        ', last ',
        moment(g.lastAt),
        ' · ',
        h('span', { class: 'mono' }, g.fingerprint),
      ),
    ),
    h(
      'div',
      { class: 'acts' },
      h(
        'a',
        {
          class: 'button',
          href: `/dead${opened ? '' : query({ queue: g.queue, fingerprint: g.fingerprint })}`,
          'aria-expanded': String(opened),
        },
        opened ? 'Hide' : 'Show',
      ),
      act('replay', 'Replay'),
      act('purge', 'Purge'),
    ),
    opened && data.letters && h('div', { class: 'wider' }, letters(data)),
  );
}

export const dead = {
  path: '/dead',
  title: 'Dead letters',
  async load(given) {
    const [groups, found] = await Promise.all([
      get('/api/dlq'),
      given.fingerprint ? get('/api/dlq/letters', given) : null,
    ]);
    return { ...groups, ...(found ?? {}) };
  },
  draw({ data, fault, session }, given) {
    if (!data) return fault ? waiting(fault) : h('p', { class: 'dim' }, 'Looking …');
    if (data.error) return h('section', { class: 'card' }, empty('That is no search', data.error.message));
    const shown = data.groups.filter(
      (g) => (!given.queue || g.queue === given.queue) && (!given.fingerprint || g.fingerprint === given.fingerprint),
    );
    const total = shown.reduce((sum, g) => sum + g.count, 0);
    return [
      h('h1', { class: 'unseen' }, 'Dead letters'),
      h(
        'section',
        { class: 'card', key: 'dead' },
        h(
          'header',
          {},
          h(
            'h2',
            {},
            shown.length
              ? `${plural(total, 'dead letter')}, ${plural(shown.length, 'kind')} of failure`
              : 'Dead letters',
          ),
          given.queue && h('a', { href: '/dead' }, `all queues, not ${given.queue} alone`),
          !session?.writes &&
            shown.length > 0 &&
            h('span', { class: 'dim' }, 'A dry run is free; acting needs a token.'),
        ),
        shown.length
          ? shown.map((g) => group(g, given, data))
          : empty(
              'No dead letters',
              'A task comes here when it has failed for good: after its last attempt, by its own word, or because it kills workers.',
            ),
      ),
    ];
  },
};
