// Another program that shares a queue with our hosts: it knows the keys and fields of the wire and nothing of our code.
// One command a run; prints one JSON document. Every word of the wire stands here in full, on purpose.
'use strict';

const crypto = require('node:crypto');
const Redis = require('ioredis');

const LANES = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0];
const PATIENCE_MS = 60000;

const stream = (ns, queue, lane) => `${ns}:stream:${queue}` + (lane > 0 ? `:p${lane}` : '');
const group = (ns, queue) => `${ns}:group:${queue}`;
const lane = (priority) => Math.min(9, Math.max(0, priority));

// All twelve fields, as every program of the other side writes them.
function envelope(id, queue, args, more = {}) {
  return {
    id, name: 'count', args, headers: {}, enqueuedAt: new Date().toISOString(), notBefore: null, priority: 0,
    attempt: 0, maxRetries: 3, visibilityTimeout: null, queue, meta: {}, ...more,
  };
}

function fields(e) {
  return [
    'id', e.id, 'name', e.name, 'args', JSON.stringify(e.args), 'headers', JSON.stringify(e.headers),
    'enqueuedAt', e.enqueuedAt, 'notBefore', e.notBefore ?? '', 'priority', String(e.priority),
    'attempt', String(e.attempt), 'maxRetries', String(e.maxRetries),
    'visibilityTimeout', e.visibilityTimeout === null ? '' : String(e.visibilityTimeout), 'queue', e.queue,
    'meta', JSON.stringify(e.meta),
  ];
}

function parse(list) {
  const text = {};
  for (let i = 0; i + 1 < list.length; i += 2) text[list[i]] = list[i + 1];
  return {
    ...text, args: JSON.parse(text.args), headers: JSON.parse(text.headers), meta: JSON.parse(text.meta),
    notBefore: text.notBefore === '' ? null : text.notBefore, priority: Number(text.priority),
    attempt: Number(text.attempt), maxRetries: Number(text.maxRetries),
    visibilityTimeout: text.visibilityTimeout === '' ? null : Number(text.visibilityTimeout),
    names: Object.keys(text),
  };
}

// What is signed, by the description in docs/federation.md.
function canonical(e) {
  const sorted = (value) => {
    if (Array.isArray(value)) return value.map(sorted);
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
  };
  const { 'stem-signature': _, 'stem-signature-key': __, ...headers } = e.headers;
  return JSON.stringify(sorted({
    args: e.args, attempt: e.attempt, enqueuedAt: e.enqueuedAt, headers, id: e.id, maxRetries: e.maxRetries,
    meta: e.meta, name: e.name, notBefore: e.notBefore, priority: e.priority, queue: e.queue,
    visibilityTimeoutMs: e.visibilityTimeout,
  }));
}

const signature = (e, secret) =>
  crypto.createHmac('sha256', Buffer.from(secret, 'base64')).update(canonical(e)).digest('base64');

function sign(e, key, secret) {
  return { ...e, headers: { ...e.headers, 'stem-signature': signature(e, secret), 'stem-signature-key': key } };
}

async function until(question) {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end;) {
    const answer = await question();
    if (answer !== null) return answer;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it did not happen');
}

const commands = {
  // FROM TO [KEY SECRET]: tasks {n} with these numbers, priority n % 10.
  async enqueue(redis, ns, queue, from, to, key, secret) {
    const ids = [];
    for (let n = Number(from); n < Number(to); ++n) {
      let e = envelope(`node-${n}`, queue, { n, text: 'Zürich 😀 "\n', big: 9007199254740991 }, { priority: n % 10 });
      if (key) e = sign(e, key, secret);
      await redis.xadd(stream(ns, queue, lane(e.priority)), '*', ...fields(e));
      ids.push(e.id);
    }
    return ids;
  },

  // FROM TO DELAY_MS [KEY SECRET]: the same, into the delayed set.
  async delay(redis, ns, queue, from, to, delayMs, key, secret) {
    const ids = [];
    for (let n = Number(from); n < Number(to); ++n) {
      const due = Date.now() + Number(delayMs);
      let e = envelope(`node-${n}`, queue, { n },
        { priority: n % 10, notBefore: new Date(due).toISOString() });
      if (key) e = sign(e, key, secret);
      await redis.zadd(`${ns}:delayed:${queue}`, due, JSON.stringify(e));
      ids.push(e.id);
    }
    return ids;
  },

  // ID...: their results, when they are there.
  async results(redis, ns, _queue, ...ids) {
    const found = [];
    for (const id of ids) found.push(JSON.parse(await until(() => redis.get(`${ns}:result:${id}`))));
    return found;
  },

  // COUNT [SECRET]: takes so many tasks, stores a result of each, acknowledges and deletes it. With a secret, says
  // whether each was signed with it.
  async consume(redis, ns, queue, count, secret) {
    for (const l of LANES) {
      await redis.xgroup('CREATE', stream(ns, queue, l), group(ns, queue), '0', 'MKSTREAM').catch((error) => {
        if (!String(error).includes('BUSYGROUP')) throw error;
      });
    }
    const taken = [];
    for (const end = Date.now() + PATIENCE_MS; taken.length < Number(count) && Date.now() < end;) {
      const streams = await redis.xreadgroup('GROUP', group(ns, queue), 'node', 'COUNT', 10, 'BLOCK', 100, 'STREAMS',
        ...LANES.map((l) => stream(ns, queue, l)), ...LANES.map(() => '>'));
      for (const [key, entries] of streams ?? []) {
        for (const [id, list] of entries) {
          const e = parse(list);
          const now = new Date().toISOString();
          const status = {
            id: e.id, state: 'succeeded', payload: { doubled: e.args.n * 2 }, error: null, meta: {},
            attempt: e.attempt, createdAt: e.enqueuedAt, updatedAt: now,
          };
          await redis.multi().set(`${ns}:result:${e.id}`, JSON.stringify(status), 'PX', 60000)
            .xack(key, group(ns, queue), id).xdel(key, id).exec();
          taken.push({ key, ...e, signed: secret ? e.headers['stem-signature'] === signature(e, secret) : null });
        }
      }
    }
    return taken;
  },

  async dead(redis, ns, queue) {
    return (await redis.lrange(`${ns}:dead:${queue}`, 0, -1)).map((text) => JSON.parse(text));
  },

  // ID: from the dead letters back to its lane, as it is, in one transaction.
  async replay(redis, ns, queue, id) {
    const key = `${ns}:dead:${queue}`;
    const text = await until(async () => (await redis.lrange(key, 0, -1)).find((one) => JSON.parse(one).envelope.id === id) ?? null);
    const e = { ...JSON.parse(text).envelope, attempt: 0 };
    await redis.multi().lrem(key, 1, text).xadd(stream(ns, queue, lane(e.priority)), '*', ...fields(e)).exec();
    return e;
  },

  // How much of a queue is left anywhere.
  async left(redis, ns, queue) {
    let entries = 0;
    for (const l of LANES) entries += await redis.xlen(stream(ns, queue, l));
    return { entries, delayed: await redis.zcard(`${ns}:delayed:${queue}`), dead: await redis.llen(`${ns}:dead:${queue}`) };
  },
};

async function main([socket, command, ns, queue, ...rest]) {
  const redis = new Redis({ path: socket, maxRetriesPerRequest: 1 });
  try {
    console.log(JSON.stringify(await commands[command](redis, ns, queue, ...rest)));
  } finally {
    redis.disconnect();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(String(error));
  process.exit(1);
});
