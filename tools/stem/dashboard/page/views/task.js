// One task: what it is, what happened to it and when, what it carries.

import { get, query } from '../api.js';
import { badge, duration, empty, h, moment, plural, size } from '../dom.js';

const pretty = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 2));
const isEmpty = (value) => value === null || (typeof value === 'object' && Object.keys(value).length === 0);

function block(title, value, more) {
  if (isEmpty(value)) return null;
  return h(
    'section',
    { class: 'card', key: title },
    h('header', {}, h('h2', {}, title), more && h('span', { class: 'dim' }, more)),
    h('pre', { tabindex: '0' }, pretty(value)),
  );
}

// What is known of its life, in order. `from` counts the time since the step before.
function steps(t) {
  const all = [{ at: t.enqueuedAt, tone: '', what: 'Enqueued', text: `in ${t.queue}, priority ${t.priority}` }];
  if (t.error?.at)
    all.push({
      at: t.error.at,
      tone: 't-dead',
      what: t.error.reason ? 'Died' : 'Failed',
      text: `attempt ${t.error.attempts}: ${t.error.kind}`,
    });
  if (t.deaths > 0) all.push({ at: null, tone: 't-dead', what: 'Killed its worker', text: plural(t.deaths, 'time') });
  if (t.releases > 0) all.push({ at: null, tone: '', what: 'Given back', text: plural(t.releases, 'time') });
  if (t.worker)
    all.push({
      at: t.worker.since,
      tone: 't-running',
      what: 'Running',
      text: `on ${t.worker.name}, process ${t.worker.pid}`,
    });
  if (t.dueAt)
    all.push({
      at: t.dueAt,
      tone: 't-delayed',
      what: 'Due',
      text: t.attempts ? 'for its next attempt' : 'for the first time',
    });
  all.sort((a, b) => (a.at && b.at ? Date.parse(a.at) - Date.parse(b.at) : 0));
  const start = Date.parse(t.enqueuedAt);
  return h(
    'ol',
    { class: 'steps' },
    all.map((s) =>
      h(
        'li',
        { class: s.tone },
        h('b', {}, s.what),
        h(
          'span',
          {},
          s.text,
          ' ',
          s.at &&
            h(
              'span',
              { class: 'dim' },
              moment(s.at),
              s.what !== 'Enqueued' ? `, ${duration((Date.parse(s.at) - start) * 1e6)} after` : '',
            ),
        ),
      ),
    ),
  );
}

function acts(t) {
  const button = (act, text, more = {}) =>
    h('button', { type: 'button', 'data-act': act, 'data-id': t.id, ...more }, text);
  if (t.state === 'running') return button('task revoke', 'Stop …', { 'data-running': 'yes' });
  if (['queued', 'delayed', 'retried'].includes(t.state)) return button('task revoke', 'Cancel …');
  return t.state === 'dead' ? button('task retry', 'Replay …') : null;
}

export const task = {
  path: '/task',
  title: 'Task',
  load: ({ id = '' }) => get('/api/task', { id }),
  draw({ data: t }, { id }) {
    if (!t) return h('p', { class: 'dim' }, 'Looking …');
    if (t.error instanceof Error)
      return h(
        'section',
        { class: 'card' },
        empty('This task is not here', t.error.message),
        h('p', { class: 'pad' }, h('a', { href: `/tasks${query({ q: id })}` }, 'Search for it')),
      );
    const fact = (name, value) => h('div', {}, h('dt', {}, name), h('dd', {}, value));
    return [
      h(
        'section',
        { class: 'card', key: t.id },
        h('header', {}, h('h1', {}, t.task), badge(t.state), h('code', { class: 'dim' }, t.id), h('span', {}, acts(t))),
        t.error && h('p', { class: 'pad bad' }, h('b', {}, t.error.kind), `: ${t.error.message.split('\n')[0]}`),
        h(
          'dl',
          { class: 'facts' },
          fact('Queue', h('a', { href: `/tasks${query({ queue: t.queue })}` }, t.queue)),
          fact('Attempts', `${Math.max(t.attempts, t.error?.attempts ?? 0)} used of ${t.maxRetries + 1}`),
          fact('Payload', size(t.payloadBytes)),
          t.error?.reason && fact('Died of', t.error.reason),
          t.error?.fingerprint &&
            fact(
              'Failure',
              h(
                'a',
                { class: 'mono', href: `/dead${query({ fingerprint: t.error.fingerprint })}` },
                t.error.fingerprint,
              ),
            ),
          t.progress && fact('Progress', `${(t.progress.fraction * 100).toFixed(1)} % ${t.progress.data ?? ''}`),
        ),
        h('h3', { class: 'pad' }, 'Its life'),
        steps(t),
      ),
      t.error && block('Error', t.error.message, t.error.kind),
      block('Payload', t.payload, 'as it most likely is meant'),
      block('Result', t.result),
      block('Headers', t.headers),
      block('Meta', t.meta),
    ];
  },
};
