// What producer and consumer share: where Redis is, and how they talk with stem-bench. They connect, print "ready",
// and begin when a line comes.
'use strict';

const readline = require('node:readline');
const IORedis = require('ioredis');

const [socketPath, taskCount, payloadBytes] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];

const connection = new IORedis({ path: socketPath, maxRetriesPerRequest: null });

// The data of a task: as JSON as long as the payloads of the other peers.
function dataOf(n) {
  const bare = JSON.stringify({ n, text: '' }).length;
  return { n, text: 'x'.repeat(Math.max(0, payloadBytes - bare)) };
}

function fail(error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(70);
}

async function readyAndGo() {
  console.log('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) return line;
  throw new Error('stem-bench has gone');
}

module.exports = { queueName: 'bench', connection, taskCount, dataOf, fail, readyAndGo };
