// Adds all tasks, in bulk.
'use strict';

const { Queue } = require('bullmq');
const { queueName, connection, taskCount, dataOf, fail, readyAndGo } = require('./endpoint');

const kAtOnce = 1000;

async function main() {
  const queue = new Queue(queueName, { connection });
  await queue.waitUntilReady();
  await readyAndGo();
  for (let from = 0; from < taskCount; from += kAtOnce) {
    const jobs = [];
    for (let n = from; n < Math.min(taskCount, from + kAtOnce); ++n)
      jobs.push({ name: 'bench', data: dataOf(n), opts: { removeOnComplete: true } });
    await queue.addBulk(jobs);
  }
  console.log('done', taskCount);
  process.exit(0);
}

main().catch(fail);
