// Small line charts over the last minutes, drawn as SVG. The scale is the reader's: rates from nought, times by powers of
// ten, since a queue's waiting time may be microseconds or hours.

import { duration, h, rate } from './dom.js';

// Text in a picture shrinks with it: a narrow screen gets a narrower picture.
const narrow = matchMedia('(max-width: 960px)');
const width = () => (narrow.matches ? 350 : 640);
const HEIGHT = 150,
  LEFT = 52,
  RIGHT = 8,
  TOP = 8,
  BOTTOM = 18;
const WINDOW_MS = 15 * 60 * 1000;

const charts = new Map(); // by id: what a pointer over the chart reads

function ticks(values, logarithmic) {
  if (logarithmic) {
    const low = Math.floor(Math.log10(Math.max(Math.min(...values), 1)));
    const high = Math.max(Math.ceil(Math.log10(Math.max(...values, 10))), low + 1);
    const step = Math.ceil((high - low) / 4);
    const all = [];
    for (let power = low; power <= high; power += step) all.push(10 ** power);
    if (all.at(-1) < 10 ** high) all.push(10 ** (low + step * all.length));
    return all;
  }
  const most = Math.max(...values, 1);
  const rough = most / 3;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough);
  return [0, 1, 2, 3, 4].map((n) => n * step).filter((value, i, all) => i === 0 || all[i - 1] < most);
}

// Lines are broken where nothing was measured for a while; a value alone is a dash.
const BREAK_MS = 15_000;
function path(points, x, y) {
  const known = points.filter(([, value]) => value !== null);
  const joined = (i) => i > 0 && i < known.length && known[i][0] - known[i - 1][0] <= BREAK_MS;
  return known
    .map(([at, value], i) => {
      const place = `${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      if (joined(i)) return `L${place}`;
      return joined(i + 1) ? `M${place}` : `M${place}m-2 0h4`;
    })
    .join('');
}

// `series`: [{name, tone, points: [[ms, value or null], ...]}]
export function chart({ id, title, series, logarithmic = false, format = rate, suffix = '' }) {
  const values = series.flatMap((s) => s.points.map(([, value]) => value)).filter((value) => value !== null);
  const times = series.flatMap((s) => s.points.map(([at]) => at));
  const latest = (s) => s.points.at(-1)?.[1] ?? null;
  const text = (value) => (value === null ? '–' : format(value) + suffix);
  const legend = series.map((s) =>
    h('span', { class: `key ${s.tone}` }, s.name, ' ', h('b', { 'data-read': `${id}/${s.name}` }, text(latest(s)))),
  );
  const head = h(
    'figcaption',
    {},
    h('span', { class: 'title' }, title),
    legend,
    h('span', { class: 'dim at', 'data-read': `${id}/at` }, ''),
  );
  if (values.length === 0)
    return h(
      'figure',
      { class: 'chart', key: id },
      head,
      h('p', { class: 'dim quiet' }, 'Nothing in the last minutes.'),
    );

  const W = width();
  const end = Math.max(...times);
  const begin = Math.max(Math.min(...times), end - WINDOW_MS);
  const span = Math.max(end - begin, 60_000);
  const marks = ticks(values, logarithmic);
  const scale = logarithmic ? (v) => Math.log10(Math.max(v, marks[0])) : (v) => v;
  const [low, high] = [scale(marks[0]), scale(marks.at(-1))];
  const x = (at) => W - RIGHT - ((end - at) / span) * (W - LEFT - RIGHT);
  const y = (v) => TOP + (1 - (scale(v) - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  charts.set(id, { series, x, text, width: W });

  const grid = marks.map((mark) =>
    h(
      'g',
      { class: 'grid' },
      h('line', { x1: LEFT, x2: W - RIGHT, y1: y(mark), y2: y(mark) }),
      h('text', { x: LEFT - 6, y: y(mark) + 3.5, 'text-anchor': 'end' }, format(mark)),
    ),
  );
  const minutes = [...Array(Math.floor(span / 60_000) + 1).keys()].filter((m) => span <= 300_000 || m % 5 === 0);
  const axis = minutes.map((m) =>
    h(
      'text',
      { class: 'axis', x: x(end - m * 60_000), y: HEIGHT - 4, 'text-anchor': m === 0 ? 'end' : 'middle' },
      m === 0 ? 'now' : `−${m} m`,
    ),
  );
  const lines = series.map((s) => h('path', { class: `line ${s.tone}`, d: path(s.points, x, y) }));
  const label = `${title}: ${series.map((s) => `${s.name} ${text(latest(s))}`).join(', ')}`;
  return h(
    'figure',
    { class: 'chart', key: id },
    head,
    h(
      'svg',
      { viewBox: `0 0 ${W} ${HEIGHT}`, role: 'img', 'aria-label': label, 'data-chart': id },
      grid,
      axis,
      lines,
      h('line', { class: 'hair', 'data-hair': id, x1: -9, x2: -9, y1: TOP, y2: HEIGHT - BOTTOM }),
    ),
  );
}

// The figures under the pointer.
export function followPointer(root) {
  root.addEventListener('pointermove', (event) => {
    const svg = event.target.closest?.('svg[data-chart]');
    const known = svg && charts.get(svg.dataset.chart);
    if (!known) return;
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * known.width;
    let nearest = null;
    for (const [ms] of known.series[0].points)
      if (nearest === null || Math.abs(known.x(ms) - at) < Math.abs(known.x(nearest) - at)) nearest = ms;
    if (nearest === null) return;
    const id = svg.dataset.chart;
    svg.querySelector('[data-hair]').setAttribute('transform', `translate(${known.x(nearest) + 9} 0)`);
    for (const s of known.series) {
      const value = s.points.find(([ms]) => ms === nearest)?.[1] ?? null;
      set(`${id}/${s.name}`, known.text(value));
    }
    set(`${id}/at`, `${duration((Date.now() - nearest) * 1e6)} ago`);
  });
}

function set(name, text) {
  const node = document.querySelector(`[data-read="${CSS.escape(name)}"]`);
  if (node) node.textContent = text;
}

// A bar of parts of a whole: [{tone, value}].
export function ribbon(parts, label, most = 0) {
  const whole = Math.max(
    parts.reduce((sum, part) => sum + part.value, 0),
    most,
    1,
  );
  let at = 0;
  const rects = parts
    .filter((part) => part.value > 0)
    .map((part) => {
      const width = (part.value / whole) * 100;
      const rect = h('rect', { class: part.tone, x: at, y: 0, width: Math.max(width, 0.8), height: 10 });
      at += width;
      return rect;
    });
  return h(
    'svg',
    { class: 'ribbon', viewBox: '0 0 100 10', preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    h('rect', { class: 'void', x: 0, y: 0, width: 100, height: 10 }),
    rects,
  );
}
