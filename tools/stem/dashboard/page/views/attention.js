// What a person should know first: each line one thing that is wrong or will be, and where to look.

import { count, duration, h, plural, share } from '../dom.js';

const SECOND = 1e9;
const line = (bad, title, text, href, link) => ({ bad, title, text, href, link });

// Queues from which nothing is taken: one line for all of them, or other lines would not be seen.
function standing(queues) {
  if (queues.length === 0) return [];
  const oldest = duration(Math.max(...queues.map((q) => q.oldestAgeNs)));
  const names = queues.slice(0, 3).map((q) => q.queue);
  const title =
    queues.length === 1 ? `${names[0]} stands still` : `${plural(queues.length, 'queue')} stand still`;
  const which = queues.length === 1 ? '' : `${names.join(', ')}${queues.length > 3 ? ' and others. ' : '. '}`;
  const text = `${which}The oldest task has waited ${oldest}, and nothing is taken: does a worker serve ${queues.length === 1 ? 'this queue' : 'them'}?`;
  return [line(true, title, text, '/workers', 'Workers')];
}

function ofQueues(seen, alive) {
  const still = (q) =>
    !q.paused &&
    q.ready > 0 &&
    alive.length > 0 &&
    q.oldestAgeNs > 60 * SECOND &&
    q.rateOutPerSecond === 0 &&
    q.inflight === 0;
  const lines = standing(seen.queues.filter(still));
  for (const q of seen.queues) {
    if (q.paused && q.ready > 0)
      lines.push(
        line(
          false,
          `${q.queue} is paused`,
          `${plural(q.ready, 'task')} ${q.ready === 1 ? 'waits' : 'wait'} behind the pause.`,
        ),
      );
    if (q.maxLength > 0 && q.ready > 0.8 * q.maxLength)
      lines.push(
        line(
          q.ready >= q.maxLength,
          `${q.queue} is ${q.ready >= q.maxLength ? 'full' : 'nearly full'}`,
          `${count(q.ready)} of ${count(q.maxLength)} tasks.`,
        ),
      );
  }
  const waiting = seen.queues.reduce((sum, q) => sum + (q.paused ? 0 : q.ready), 0);
  if (waiting > 0 && alive.length === 0)
    lines.push(
      line(
        true,
        'No workers',
        `${plural(waiting, 'task')} ${waiting === 1 ? 'waits' : 'wait'}, and nobody runs tasks: stem worker start.`,
      ),
    );
  return lines;
}

function ofWorkers(alive, dead) {
  const lines = [];
  for (const w of alive.filter((one) => one.heartbeat.ageNs > 30 * SECOND))
    lines.push(
      line(
        true,
        `${w.worker} gives no sign of life`,
        `Its heartbeat has stood still for ${duration(w.heartbeat.ageNs)}; process ${w.pid}.`,
        '/workers',
        'Workers',
      ),
    );
  if (dead.length > 0)
    lines.push(
      line(
        false,
        plural(dead.length, 'dead worker'),
        'Their tasks were given to others; their rows wait for the keeper.',
        '/workers',
        'Workers',
      ),
    );
  return lines;
}

function ofSegment(segment, seen) {
  const lines = [];
  const parts = [
    ['task slots', segment.tasksUsed, segment.tasksCapacity],
    ['roster rows', segment.participantsUsed, segment.participantsCapacity],
  ];
  for (const [what, used, room] of parts)
    if (used > 0.8 * room)
      lines.push(
        line(
          used > 0.95 * room,
          `${share(used / room)} of the ${what} are in use`,
          `${count(used)} of ${count(room)}; producers are refused when none is left.`,
        ),
      );
  if (segment.bytesAvailable !== null && segment.bytesAvailable < 256 * 2 ** 20)
    lines.push(line(true, 'Little memory left', 'The file system of the segment is nearly full.'));
  const delayed = seen.queues.reduce((sum, q) => sum + q.delayed, 0);
  if (!segment.keeper && (delayed > 0 || seen.workers.length > 0))
    lines.push(
      line(
        true,
        'No keeper',
        'Nobody promotes delayed tasks or recovers the dead. A worker, gateway or beat takes the role.',
      ),
    );
  return lines;
}

export function attention({ overview: seen }) {
  const dead = seen.workers.filter((w) => w.state === 'dead');
  const alive = seen.workers.filter((w) => w.state !== 'dead');
  const lines = [...ofQueues(seen, alive), ...ofWorkers(alive, dead), ...ofSegment(seen.segment, seen)];
  if (seen.beat.overdue > 0)
    lines.push(
      line(
        true,
        plural(seen.beat.overdue, 'overdue schedule'),
        seen.beat.holder ? 'They are more than a second late.' : 'Nobody fires schedules: stem beat start.',
        '/schedules',
        'Schedules',
      ),
    );
  if (seen.gateway && seen.gateway.state === 'ended')
    lines.push(
      line(
        true,
        'The gateway is gone',
        'It ended without taking leave; local work goes on.',
        '/federation',
        'Federation',
      ),
    );
  else if (seen.gateway && !seen.gateway.connected)
    lines.push(line(true, 'The gateway has no Redis', seen.gateway.lastFault, '/federation', 'Federation'));
  const letters = seen.queues.reduce((sum, q) => sum + q.dlq, 0);
  if (letters > 0)
    lines.push(
      line(
        false,
        plural(letters, 'dead letter'),
        'Tasks that failed for good wait for a decision.',
        '/dead',
        'Dead letters',
      ),
    );
  lines.sort((a, b) => b.bad - a.bad);
  if (lines.length === 0) return h('div', { class: 'card calm', key: 'attention' }, 'Nothing needs attention.');
  return h(
    'ul',
    { class: `card attention ${lines[0].bad ? 'has-bad' : ''}`, key: 'attention', 'aria-label': 'Needs attention' },
    lines
      .slice(0, 8)
      .map((l) =>
        h(
          'li',
          { class: l.bad ? 'bad' : '' },
          h('b', {}, h('span', { class: 'unseen' }, l.bad ? 'Problem: ' : 'Note: '), l.title),
          h('span', { class: 'dim' }, l.text),
          l.href && h('a', { href: l.href }, l.link),
        ),
      ),
    lines.length > 8 && h('li', { class: 'dim' }, `and ${lines.length - 8} more`),
  );
}
