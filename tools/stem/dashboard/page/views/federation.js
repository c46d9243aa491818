// This host's gateway, as it says itself: what leaves, what comes, and whether Redis is there.

import { badge, count, empty, h, moment, table } from '../dom.js';
import { waiting } from './overview.js';

export const federation = {
  path: '/federation',
  title: 'Federation',
  draw(store) {
    if (!store.overview) return store.fault ? waiting(store.fault) : h('p', { class: 'dim' }, 'Looking …');
    const g = store.overview.gateway;
    if (!g)
      return h(
        'section',
        { class: 'card' },
        h('h1', { class: 'unseen' }, 'Federation'),
        empty(
          'This host works alone',
          'A gateway joins it with others through Redis: tasks leave when others have room, and come when workers here do.',
          'stem gateway start --redis redis://broker --export default --import default',
        ),
      );
    const fact = (name, value) => h('div', {}, h('dt', {}, name), h('dd', {}, value));
    const columns = [
      { name: 'Queue' },
      { name: 'Direction', class: 'fit' },
      { name: 'On their way', class: 'number' },
      { name: 'Awaited', class: 'number wide' },
      { name: 'From others, here', class: 'number' },
      { name: 'Confirmed', class: 'number' },
      { name: 'Imported', class: 'number' },
      { name: 'Settled', class: 'number wide' },
      { name: 'Reclaimed', class: 'number wide' },
      { name: 'Duplicates', class: 'number wide' },
      { name: 'Lost', class: 'number' },
    ];
    const rows = g.queues.map((q) => ({
      key: q.queue,
      cells: [
        q.queue,
        q.exports && q.imports ? 'both' : q.exports ? 'out' : 'in',
        count(q.onTheirWay),
        count(q.awaited),
        count(q.here),
        count(q.confirmed),
        count(q.imported),
        count(q.settled),
        count(q.reclaimed),
        count(q.duplicates),
        h('span', { class: q.lost + q.letGo ? 'bad' : '' }, count(q.lost + q.letGo)),
      ],
    }));
    return [
      h('h1', { class: 'unseen' }, 'Federation'),
      h(
        'section',
        { class: 'card', key: 'gateway' },
        h(
          'header',
          {},
          h('h2', {}, `Gateway ${g.node}`),
          badge(g.state),
          g.state === 'running' &&
            h('span', { class: g.connected ? 'good' : 'bad' }, g.connected ? 'connected' : 'not connected'),
        ),
        h(
          'dl',
          { class: 'facts' },
          fact('Redis', g.redis),
          fact('Connected or not since', moment(g.since)),
          fact('Started', moment(g.startedAt)),
          fact('Said this', moment(g.writtenAt)),
          fact('Connections lost', count(g.losses)),
          g.lastFault && fact('Last fault', [g.lastFault, ' ', moment(g.lastFaultAt)]),
        ),
        table('Queues that are shared with other hosts', columns, rows),
      ),
      h(
        'p',
        { class: 'dim', key: 'more' },
        'The whole cluster, as Redis shows it: ',
        h('code', {}, 'stem observe federation --redis URL'),
      ),
    ];
  },
};
