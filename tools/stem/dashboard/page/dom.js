// Makes and mends the page's tree. Everything that comes from tasks becomes text or an attribute's value, never markup:
// there is no way to write markup here.

const SVG = 'http://www.w3.org/2000/svg';
const SVG_TAGS = new Set(['svg', 'path', 'rect', 'line', 'g', 'text', 'circle', 'polyline']);

// h('td', {class: 'number'}, 'text', h('b', {}, 'more')). null, undefined and false are left out. `key` names a node
// among its siblings, so that it stays the same node when others come and go.
export function h(tag, attributes = {}, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on') || name === 'style')
      throw new Error(`no attribute ${name}: scripts and styles have files`);
    node.setAttribute(name === 'key' ? 'data-key' : name, value === true ? '' : String(value));
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

// Makes `to` of the children of `parent`, keeping the nodes that can stay: focus, selection and what is open survive.
export function mend(parent, ...children) {
  const wanted = document.createDocumentFragment();
  append(wanted, children);
  mendChildren(parent, [...wanted.childNodes]);
}

function mendChildren(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.childNodes) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let at = parent.firstChild;
  for (const next of wanted) {
    const key = next.dataset?.key;
    const same = key ? keyed.get(key) : at && !at.dataset?.key && alike(at, next) ? at : null;
    if (!same || !alike(same, next)) {
      parent.insertBefore(next, at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else parent.insertBefore(same, at);
    mendNode(same, next);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName;

function mendNode(node, next) {
  if (node.nodeType === Node.TEXT_NODE) {
    if (node.data !== next.data) node.data = next.data;
    return;
  }
  for (const { name } of [...node.attributes])
    if (!next.hasAttribute(name) && !(name === 'open' && node.nodeName === 'DETAILS')) node.removeAttribute(name);
  for (const { name, value } of next.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  // What a person is typing is theirs.
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(node.nodeName)) {
    if (node.nodeName === 'SELECT') mendChildren(node, [...next.childNodes]);
    if (node !== document.activeElement && node.value !== next.value) node.value = next.value;
    return;
  }
  mendChildren(node, [...next.childNodes]);
}

// ---- words for figures

export function count(value) {
  if (value === null || value === undefined) return '–';
  if (value < 10_000) return String(value);
  for (const [unit, size] of [
    ['T', 1e12],
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ])
    if (value >= size) return (value / size).toFixed(value / size < 10 ? 2 : value / size < 100 ? 1 : 0) + unit;
  return String(value);
}

export function rate(perSecond) {
  if (!perSecond) return '0';
  return perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond));
}

export function duration(ns) {
  if (ns === null || ns === undefined) return '–';
  for (const [unit, size] of [
    ['d', 864e11],
    ['h', 36e11],
    ['m', 6e10],
    ['s', 1e9],
    ['ms', 1e6],
    ['µs', 1e3],
  ])
    if (ns >= size) return (ns / size).toFixed(ns / size < 10 ? 1 : 0).replace(/\.0$/, '') + ' ' + unit;
  return `${Math.round(ns)} ns`;
}

export function size(bytes) {
  for (const [unit, step] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ])
    if (bytes >= step) return (bytes / step).toFixed(bytes / step < 10 ? 1 : 0) + ' ' + unit;
  return `${bytes} B`;
}

export const share = (part) => (part === 0 ? '0' : part < 0.001 ? '<0.1 %' : `${(part * 100).toFixed(1)} %`);

// "3 m ago" with the exact time for who points at it.
export function moment(iso, now = Date.now()) {
  if (!iso) return h('span', { class: 'dim' }, '–');
  const ahead = Date.parse(iso) - now;
  const text =
    Math.abs(ahead) < 1000 ? 'now' : ahead > 0 ? `in ${duration(ahead * 1e6)}` : `${duration(-ahead * 1e6)} ago`;
  return h('time', { datetime: iso, title: iso.replace('T', ' ') }, text);
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

// A table whose head names its columns; `wide` columns leave on a narrow screen.
export function table(caption, columns, rows) {
  const head = columns.map((c) => h('th', { scope: 'col', class: c.class, title: c.title }, c.name));
  return h(
    'div',
    { class: 'scroll' },
    h(
      'table',
      {},
      h('caption', { class: 'unseen' }, caption),
      h('thead', {}, h('tr', {}, head)),
      h(
        'tbody',
        {},
        rows.map((row) =>
          h(
            'tr',
            { key: row.key, class: row.class },
            row.cells.map((cell, i) =>
              h(i === 0 ? 'th' : 'td', { scope: i === 0 ? 'row' : null, class: columns[i].class }, cell),
            ),
          ),
        ),
      ),
    ),
  );
}

export const badge = (state) => h('span', { class: `badge ${/^[a-z]+$/.test(state) ? state : ''}` }, state);

export const asWord = (text) => (/^[\w.@:/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

// A command as it is to be typed for the segment that is shown.
let namespace = 'stem';
export const setNamespace = (name) => {
  namespace = name;
};
export const inNamespace = (command) =>
  namespace === 'stem' ? command : `${command} --namespace ${asWord(namespace)}`;

// A command that is broken between its words, and not at a hyphen.
export const wordsOf = (command) => command.split(' ').map((word, i) => [i > 0 && ' ', h('span', { class: 'word' }, word)]);

// Nothing to show, and what would change that.
export const empty = (title, text, command) =>
  h('div', { class: 'empty' }, h('h2', {}, title), h('p', {}, text), command && h('p', {}, h('code', {}, wordsOf(inNamespace(command)))));
