// Runs all tasks, each once; handlers do nothing. Done when BullMQ says so of the last one.
'use strict';

const { Worker } = require('bullmq');
const { queueName, connection, taskCount, dataOf, fail, readyAndGo } = require('./endpoint');

const kConcurrency = 100;

async function main() {
  const seen = new Uint8Array(taskCount);
  let completed = 0;
  const handler = async (job) => {
    const { n, text } = job.data;
    if (!(n >= 0 && n < taskCount) || text !== dataOf(n).text) fail(`task ${n} came with other data than was sent`);
    if (seen[n]) fail(`task ${n} came twice`);
    seen[n] = 1;
  };
  const worker = new Worker(queueName, handler, { connection, concurrency: kConcurrency, autorun: false });
  worker.on('error', fail);
  worker.on('failed', (job, error) => fail(error));
  await worker.waitUntilReady();
  await readyAndGo();
  const all = new Promise((resolve) => {
    worker.on('completed', () => {
      if (++completed === taskCount) resolve();
    });
  });
  worker.run().catch(fail);
  await all;
  console.log('done', completed);
  process.exit(0);
}

main().catch(fail);
