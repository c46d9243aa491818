// One task: what it is, what happened to it and when, what it carries.

import { get, query, Refused } from '../api.js';
import { badge, duration, empty, h, moment, plural, size, wordsOf } from '../dom.js';

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

const TONES = {
  'task-started': 't-running',
  'task-succeeded': 't-running',
  'task-failed': 't-dead',
  'task-redelivered': 't-dead',
  'task-retry': 't-waiting',
  'task-revoked': 't-waiting',
};

// "task-retry" -> "Retry"
const word = (event) => event.replace(/^task-/, '').replace(/^./, (c) => c.toUpperCase());

// What is remembered of its life, in order; what the segment still says of it fills the gaps.
function steps(t, life) {
  const all = life.map((e) => ({
    at: e.at,
    tone: TONES[e.event] ?? '',
    what: word(e.event),
    text: e.by && !e.text.includes(e.by) ? `${e.text}, by ${e.by}` : e.text,
  }));
  const has = (event) => life.some((e) => e.event === event);
  if (t && !has('task-enqueued'))
    all.push({ at: t.enqueuedAt, tone: '', what: 'Enqueued', text: `in ${t.queue}, priority ${t.priority}` });
  if (t?.error?.at && !has('task-failed') && !has('task-retry'))
    all.push({
      at: t.error.at,
      tone: 't-dead',
      what: t.error.reason ? 'Died' : 'Failed',
      text: `attempt ${t.error.attempts}: ${t.error.kind}`,
    });
  if (t?.worker?.since)
    all.push({
      at: t.worker.since,
      tone: 't-running',
      what: 'Running',
      text: `on ${t.worker.name}, process ${t.worker.pid}`,
    });
  if (t?.dueAt)
    all.push({
      at: t.dueAt,
      tone: 't-delayed',
      what: 'Due',
      text: t.attempts ? 'for its next attempt' : 'for the first time',
    });
  all.sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
  const start = Date.parse(all[0]?.at);
  return h(
    'ol',
    { class: 'steps' },
    all.map((s, i) => {
      const later = Date.parse(s.at) - start;
      const after = later > 0 ? `, ${duration(later * 1e6)} after` : '';
      return h(
        'li',
        { class: s.tone },
        h('b', {}, s.what),
        h('span', {}, s.text, ' ', h('span', { class: 'dim' }, moment(s.at), after)),
      );
    }),
    t?.deaths > 0 && h('li', { class: 't-dead' }, h('b', {}, 'Killed its worker'), plural(t.deaths, 'time')),
    t?.releases > 0 && h('li', {}, h('b', {}, 'Given back'), plural(t.releases, 'time')),
  );
}

// Why it is where it is, and what to do about it.
function reasons(why) {
  if (!why || why.because.length === 0) return null;
  return h(
    'div',
    { class: 'pad' },
    why.because.map((line) => h('p', { class: 'reason' }, line)),
    why.try.map((command) => h('p', { class: 'command' }, h('code', {}, wordsOf(command)))),
  );
}

// It takes two looks and a twentieth of a second: not at every turn.
const WHY_EVERY_MS = 5000;
let known = { id: '', at: 0, why: null };
async function whyOf(id) {
  if (known.id !== id || Date.now() - known.at > WHY_EVERY_MS) {
    const why = await get('/api/task/why', { id }).catch((error) =>
      error instanceof Refused ? null : Promise.reject(error),
    );
    known = { id, at: Date.now(), why };
  }
  return known.why;
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
  async load({ id = '' }) {
    const why = await whyOf(id);
    const found = await get('/api/task', { id }).catch((error) =>
      error instanceof Refused && error.status === 404 && why ? null : Promise.reject(error),
    );
    return { found, why };
  },
  draw({ data }, { id }) {
    if (!data) return h('p', { class: 'dim' }, 'Looking …');
    if (data.error)
      return h(
        'section',
        { class: 'card' },
        empty('This task is not here', data.error.message),
        h('p', { class: 'pad' }, h('a', { href: `/tasks${query({ q: id })}` }, 'Search for it')),
      );
    const { found: t, why } = data;
    if (!t)
      return h(
        'section',
        { class: 'card', key: id },
        h(
          'header',
          {},
          h('h1', {}, why.life[0]?.task ?? 'A task that is over'),
          badge('over'),
          h('code', { class: 'dim' }, id),
        ),
        reasons(why),
        h('h3', { class: 'pad' }, 'Its life, as far as it is remembered'),
        steps(null, why.life),
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
          fact('Failed attempts', `${Math.max(t.attempts, t.error?.attempts ?? 0)} of ${t.maxRetries + 1}`),
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
        t.state !== 'dead' && why?.because.length > 0 && [h('h3', { class: 'pad' }, 'Why it is there'), reasons(why)],
        h('h3', { class: 'pad' }, 'Its life'),
        steps(t, why?.life ?? []),
      ),
      t.error && block('Error', t.error.message, t.error.kind),
      block('Payload', t.payload, 'as it most likely is meant'),
      block('Result', t.result),
      block('Headers', t.headers),
      block('Meta', t.meta),
    ];
  },
};
