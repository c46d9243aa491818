// What a person can do from the page: each act first says what it would touch, and is done only by who has the token.

import { get, post, Refused, token } from './api.js';
import { asWord, count, h, inNamespace, mend, moment, plural, wordsOf } from './dom.js';

const dialog = document.getElementById('dialog');
let returnTo = null;

function open(...content) {
  if (!dialog.open) returnTo = document.activeElement;
  mend(dialog, h('div', { key: String(++dialogs) }, content));
  if (!dialog.open) dialog.showModal();
}
let dialogs = 0;

export function closeDialog() {
  dialog.replaceChildren();
  returnTo?.focus?.();
  returnTo = null;
}

function say(text) {
  const line = h('p', {}, text);
  document.getElementById('said').append(line);
  setTimeout(() => line.remove(), 6000);
}

// Asks, with the token where none was given in this tab yet. `run` gets the form's values.
function confirm({ title, body, fields = [], button, danger = false, command, session, run }) {
  const buttons = (able) =>
    h(
      'div',
      { class: 'row' },
      h('button', { type: 'button', 'data-close': true }, able ? 'Cancel' : 'Close'),
      able && h('button', { type: 'submit', class: danger ? 'danger' : 'main' }, button),
    );
  const asks = session.writes && !token.get();
  open(
    h('h2', { id: 'dialog-title' }, title),
    body,
    h(
      'form',
      { method: 'dialog' },
      session.writes ? fields : null,
      asks &&
        h(
          'label',
          {},
          'Token (kept until this tab is closed)',
          h('input', { type: 'password', name: 'token', required: true, autocomplete: 'off' }),
        ),
      !session.writes &&
        h(
          'p',
          { class: 'dim' },
          'This dashboard only shows. Start it with ',
          h('code', {}, '--token-file FILE'),
          ' to act from here, or use the command.',
        ),
      command &&
        h(
          'div',
          { class: 'command' },
          command.endsWith('--dry-run') ? 'In a terminal, as a dry run' : 'The same in a terminal',
          h('code', {}, wordsOf(inNamespace(command))),
        ),
      h('p', { class: 'bad', id: 'dialog-fault', role: 'alert', hidden: true }),
      buttons(session.writes),
    ),
  );
  dialog.querySelector('[data-close]').addEventListener('click', () => dialog.close());
  dialog.querySelector('form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    if (values.token) token.set(values.token.trim());
    const submit = dialog.querySelector('[type="submit"]');
    submit.disabled = true;
    try {
      say(await run(values));
      dialog.close();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const fault = document.getElementById('dialog-fault');
      fault.textContent = error.message;
      fault.hidden = false;
      submit.disabled = false;
      if (error.status === 401) {
        token.set('');
        confirm({ title, body, fields, button, danger, command, session, run });
        document.getElementById('dialog-fault').textContent = 'The token was wrong.';
        document.getElementById('dialog-fault').hidden = false;
      }
    }
  });
}

function fail(error) {
  if (!(error instanceof Refused)) throw error;
  say(error.message);
}

// ---- dead letters

const counts = (object) => Object.entries(object).map(([name, n]) => h('div', {}, `${count(n)} × ${name}`));

function radius(found) {
  return h(
    'dl',
    {},
    h('dt', {}, 'Tasks'),
    h('dd', {}, counts(found.byTask)),
    h('dt', {}, 'Queues'),
    h('dd', {}, counts(found.byQueue)),
    h('dt', {}, 'Reasons'),
    h('dd', {}, counts(found.byReason)),
    h('dt', {}, 'Died'),
    h('dd', {}, moment(found.oldest), ' to ', moment(found.newest)),
  );
}

async function onLetters(verb, { queue, fingerprint }, store, done) {
  const found = await get('/api/dlq/radius', { queue, fingerprint });
  if (found.count === 0) return say('Nothing there any more.');
  const letters = plural(found.count, 'dead letter');
  const replays = verb === 'replay';
  confirm({
    title: replays ? `Replay ${letters}?` : `Purge ${letters}?`,
    body: [
      h(
        'p',
        {},
        replays
          ? 'They are queued again, oldest first, with all their attempts.'
          : 'They are gone for good, payloads and errors.',
      ),
      radius(found),
    ],
    fields: replays
      ? [
          h(
            'label',
            {},
            'At most so many a second (empty: all at once)',
            h('input', { type: 'number', name: 'perSecond', min: '0.01', step: 'any', placeholder: 'all at once' }),
          ),
        ]
      : [],
    button: replays ? `Replay ${letters}` : `Purge ${letters}`,
    danger: !replays,
    command: `stem dlq ${verb} -q ${asWord(queue)} --fingerprint ${fingerprint} --dry-run`,
    session: store.session,
    run: async ({ perSecond }) => {
      const answer = await post(`/api/dlq/${verb}`, {
        queue,
        fingerprint,
        upTo: found.upTo,
        ...(perSecond ? { perSecond: Number(perSecond) } : {}),
      });
      await done();
      const gone = answer.skipped ? `; ${count(answer.skipped)} could not be` : '';
      return `${replays ? 'Replayed' : 'Purged'} ${plural(answer.replayed ?? answer.purged, 'dead letter')}${gone}.`;
    },
  });
}

// ---- queues and tasks

function onQueue(verb, { queue }, store, done) {
  confirm({
    title: verb === 'pause' ? `Pause queue ${queue}?` : `Resume queue ${queue}?`,
    body: h(
      'p',
      {},
      verb === 'pause'
        ? 'Workers finish what they run and take nothing more from it; producers go on.'
        : 'Workers take its tasks again.',
    ),
    button: verb === 'pause' ? 'Pause' : 'Resume',
    command: `stem queue ${verb} ${asWord(queue)}`,
    session: store.session,
    run: async () => {
      await post(`/api/queue/${verb}`, { queue });
      await done();
      return `Queue ${queue} is ${verb === 'pause' ? 'paused' : 'running again'}.`;
    },
  });
}

const OUTCOMES = {
  cancelled: 'It is cancelled and will not run.',
  asked: 'Its worker has been asked to stop it.',
  running: 'It is running and was left alone.',
  exported: 'It has left for another host; the gateway has been asked.',
  over: 'It was over already.',
  replayed: 'It is queued again.',
  refused: 'It could not be queued again: delivered too often, or its key is taken.',
};

function onTask(verb, { id, running }, store, done) {
  const revokes = verb === 'revoke';
  confirm({
    title: revokes ? (running ? 'Stop this task?' : 'Cancel this task?') : 'Replay this task?',
    body: h(
      'p',
      {},
      revokes
        ? running
          ? 'Its stop token is set; a handler that looks at it ends early.'
          : 'It will not run.'
        : 'It is queued again with all its attempts.',
      ' ',
      h('code', {}, id),
    ),
    button: revokes ? (running ? 'Stop it' : 'Cancel it') : 'Replay',
    danger: revokes,
    command: revokes ? `stem task revoke ${id}${running ? ' --terminate' : ''}` : `stem task retry ${id}`,
    session: store.session,
    run: async () => {
      const { outcome } = await post(`/api/task/${verb}`, revokes ? { id, terminate: Boolean(running) } : { id });
      await done();
      return OUTCOMES[outcome] ?? outcome;
    },
  });
}

// Of a dashboard that shows itself to who has the token alone.
function askToken(done) {
  confirm({
    title: 'The token, please',
    body: h('p', {}, 'It is in the file that the dashboard was started with.'),
    button: 'Show me',
    session: { writes: true, namespace: 'stem' },
    run: async () => {
      await get('/api/session');
      await done();
      return 'Welcome.';
    },
  });
}

export function actOn(data, store, done) {
  const [what, verb] = data.act.split(' ');
  if (what === 'session') return askToken(done);
  if (!store.session) return;
  if (what === 'dlq') onLetters(verb, data, store, done).catch(fail);
  else if (what === 'queue') onQueue(verb, data, store, done);
  else if (what === 'task') onTask(verb, data, store, done);
}

export function showKeys() {
  const keys = [
    ['1 … 6', 'views, from the left'],
    ['/', 'search tasks'],
    ['h', 'hold the figures still'],
    ['t', 'light, dark, or as the system says'],
    ['Esc', 'leave a field or a dialog'],
    ['?', 'these keys'],
  ];
  open(
    h('h2', { id: 'dialog-title' }, 'Keys'),
    h(
      'dl',
      {},
      keys.map(([key, text]) => [h('dt', {}, h('kbd', {}, key)), h('dd', {}, text)]),
    ),
    h('form', { method: 'dialog' }, h('div', { class: 'row' }, h('button', {}, 'Close'))),
  );
}
