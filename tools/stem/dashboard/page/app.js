// The page: which view the address names, when it looks again, and the keys.

import { get, Refused } from './api.js';
import { actOn, closeDialog, showKeys } from './acts.js';
import { followPointer } from './chart.js';
import { h, mend, setNamespace } from './dom.js';
import { overview } from './views/overview.js';
import { tasks } from './views/tasks.js';
import { task } from './views/task.js';
import { dead } from './views/dead.js';
import { workers } from './views/workers.js';
import { schedules } from './views/schedules.js';
import { federation } from './views/federation.js';

const VIEWS = [overview, tasks, dead, workers, schedules, federation];
const byPath = new Map([...VIEWS, task].map((view) => [view.path, view]));
const LOOK_EVERY_MS = 1500;
const HISTORY_MS = 15 * 60 * 1000;

const store = {
  session: null,
  overview: null,
  history: [],
  data: null,
  loadedFor: '',
  fault: null,
  seenAt: 0,
  held: false,
};
const main = document.getElementById('main');

const here = () => byPath.get(location.pathname) ?? overview;
const parameters = () => Object.fromEntries(new URLSearchParams(location.search));

let shownTab = ''; // on a narrow screen the tabs scroll
function draw() {
  const view = here();
  document.title = `${view.title} · ${store.session?.namespace ?? 'Stem'}`;
  document.getElementById('namespace').textContent = store.session?.namespace ?? 'stem';
  const badges = {
    '/dead': store.overview?.queues.reduce((sum, q) => sum + q.dlq, 0) ?? 0,
    '/schedules': store.overview?.beat.overdue ?? 0,
  };
  mend(
    document.getElementById('nav'),
    VIEWS.map((v, i) =>
      h(
        'a',
        {
          key: v.path,
          href: v.path,
          title: `Key ${i + 1}`,
          'aria-current': v === view || (v === tasks && view === task) ? 'page' : null,
        },
        v.title,
        badges[v.path] ? h('span', { class: 'n' }, badges[v.path] > 999 ? '999+' : badges[v.path]) : null,
      ),
    ),
  );
  const tab = `${view.path} ${Object.values(badges)}`;
  if (tab !== shownTab) {
    shownTab = tab;
    document.querySelector('nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }
  const pulse = document.getElementById('pulse');
  pulse.className = `pulse ${store.held ? '' : store.fault ? 'lost' : 'live'}`;
  const word = store.held ? 'held' : store.fault ? 'no figures' : 'live';
  if (pulse.textContent !== word) pulse.textContent = word;
  const fault = document.getElementById('fault');
  fault.hidden = !store.fault;
  const why = store.fault ? `${store.fault.message}${store.fault.hint ? ` — ${store.fault.hint}` : ''}` : '';
  if (fault.textContent !== why) fault.textContent = why;
  mend(main, view.draw({ ...store, data: store.loadedFor === location.href ? store.data : null }, parameters()));
}

async function loadHistory() {
  const { points } = await get('/api/history', { after: store.history.at(-1)?.at ?? 0 });
  const since = Date.now() - HISTORY_MS;
  store.history = [...store.history, ...points].filter((point) => point.at >= since);
}

let looking = null;
async function look() {
  const view = here();
  const href = location.href;
  try {
    if (!store.session) {
      store.session = await get('/api/session');
      setNamespace(store.session.namespace);
    }
    const [seen, data] = await Promise.all([get('/api/overview'), view.load?.(parameters()) ?? null, loadHistory()]);
    store.overview = seen;
    store.fault = null;
    if (href === location.href) [store.data, store.loadedFor] = [data, href];
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) store.session = null;
    // Of what the address names, not of the whole: the view says it in its place.
    if (error.status === 404 || error.status === 400)
      [store.data, store.loadedFor, store.fault] = [{ error }, href, null];
    else store.fault = error;
  }
  if (href === location.href) draw();
}

function lookNow() {
  looking = (looking ?? Promise.resolve()).then(look).finally(() => {
    looking = null;
  });
  return looking;
}

export function go(href, { replace = false } = {}) {
  if (replace) history.replaceState(null, '', href);
  else history.pushState(null, '', href);
  draw();
  if (!replace) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  return lookNow();
}

// ---- what a person does

document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href^="/"]');
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0 && byPath.has(link.pathname)) {
    event.preventDefault();
    go(link.href);
    return;
  }
  const button = event.target.closest?.('button[data-act]');
  if (button) actOn(button.dataset, store, lookNow);
});

// Filters are the address: a search can be sent to a colleague, and the back button takes it back.
let typing = 0;
document.addEventListener('input', (event) => {
  const form = event.target.closest?.('form[data-filter]');
  if (!form) return;
  clearTimeout(typing);
  typing = setTimeout(
    () => {
      const kept = [...new FormData(form)].filter(([, value]) => value !== '');
      go(location.pathname + (kept.length ? `?${new URLSearchParams(kept)}` : ''), { replace: true });
    },
    event.target.matches('select') ? 0 : 250,
  );
});
document.addEventListener('submit', (event) => {
  if (event.target.matches('form[data-filter]')) event.preventDefault();
});
addEventListener('popstate', () => {
  draw();
  lookNow();
});

function hold() {
  store.held = !store.held;
  document.getElementById('hold').setAttribute('aria-pressed', String(store.held));
  draw();
}

const THEMES = ['', 'light', 'dark'];
function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  document.getElementById('theme').textContent = theme ? theme[0].toUpperCase() + theme.slice(1) : 'System';
}
function nextTheme() {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? '') + 1) % THEMES.length];
  localStorage.setItem('stem-theme', next);
  setTheme(next);
}

document.getElementById('hold').addEventListener('click', hold);
document.getElementById('theme').addEventListener('click', nextTheme);
document.getElementById('help').addEventListener('click', showKeys);

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById('dialog').open) return;
  if (event.target.matches?.('input, select, textarea')) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  const view = VIEWS[Number(event.key) - 1];
  if (view) go(view.path);
  else if (event.key === '/') {
    event.preventDefault();
    const field = () => document.querySelector('input[name="q"]');
    if (field()) field().focus();
    else {
      go('/tasks');
      field()?.focus();
    }
  } else if (event.key === 'h') hold();
  else if (event.key === 't') nextTheme();
  else if (event.key === '?') showKeys();
});
document.getElementById('dialog').addEventListener('close', closeDialog);

setTheme(localStorage.getItem('stem-theme') ?? '');
followPointer(main);
draw();
lookNow();
setInterval(() => {
  if (!store.held && !document.hidden && !looking) lookNow();
}, LOOK_EVERY_MS);
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && !store.held) lookNow();
});
