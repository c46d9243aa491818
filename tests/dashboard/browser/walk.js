// An operator's walk through the dashboard in a real browser, in front of real workers: node walk.js URL TOKEN PICTURES.
// Prints what it has seen as JSON; ends with 1 and a reason when something is not as it should be. Started by
// tests/dashboard/browser_test.cpp, which has made the tasks that it meets.
'use strict';

const assert = require('node:assert/strict');
const path = require('node:path');
const { chromium } = require('playwright-core');

const [url, token, pictures] = process.argv.slice(2);
const PATIENCE_MS = 20_000;

const LOOKS = {
  light: { viewport: { width: 1360, height: 900 }, colorScheme: 'light' },
  dark: { viewport: { width: 1360, height: 900 }, colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: 'light', isMobile: true, hasTouch: true },
};
const VIEWS = ['/', '/tasks', '/dead', '/workers', '/schedules', '/federation'];

// What must never happen, on any page: a request to somebody else, a script of a task's, a policy or script error.
function watch(page, seen) {
  page.setDefaultTimeout(PATIENCE_MS);
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) seen.faults.push(`a request to ${request.url()}`);
  });
  page.on('pageerror', (error) => seen.faults.push(`script error: ${error.message}`));
  page.on('dialog', (dialog) => {
    seen.faults.push(`a dialog of a task's: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('console', (message) => {
    const expected = /status of (400|401|403|404|503)/.test(message.text());
    if (message.type() === 'error' && !expected) seen.faults.push(`console: ${message.text()}`);
  });
}

async function picture(page, look, view) {
  await page.screenshot({ path: path.join(pictures, `${look}-${view}.png`), fullPage: true });
}

// Every view in light, dark and on a phone: there, labelled, and no wider than the screen.
async function looks(browser, seen) {
  for (const [look, options] of Object.entries(LOOKS)) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    watch(page, seen);
    for (const view of VIEWS) {
      await page.goto(url + view);
      await page.locator('#pulse.live').waitFor();
      await page.locator('main h1').first().waitFor({ state: 'attached' });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${look} ${view} is ${wide} pixels wider than the screen`);
      const cut = await page.evaluate(() =>
        [...document.querySelectorAll('.scroll')]
          .filter((e) => e.scrollWidth > e.clientWidth)
          .map((e) => e.querySelector('caption').textContent),
      );
      assert.deepEqual(cut, [], `${look} ${view}: columns are out of sight`);
      const unnamed = await page.evaluate(() =>
        [...document.querySelectorAll('button, a, input, select, svg[role=img]')]
          .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label')))
          .map((e) => e.outerHTML),
      );
      assert.deepEqual(unnamed, [], `${look} ${view}: no name for a screen reader`);
      await picture(page, look, view.slice(1) || 'overview');
      seen.pictures += 1;
    }
    const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const [red] = ground.match(/\d+/g).map(Number);
    assert.ok(look === 'dark' ? red < 60 : red > 200, `${look} has the ground ${ground}`);
    await context.close();
  }
}

async function overview(page, seen) {
  await page.goto(url);
  const queues = page.locator('section', { has: page.getByRole('heading', { name: 'Queues', exact: true }) });
  await queues.getByRole('row', { name: /^work/ }).waitFor();
  assert.match(await page.getByLabel('Needs attention').textContent(), /held is paused/);
  await page.getByRole('figure').first().locator('path.line').first().waitFor({ state: 'attached' });
  // Figures move by themselves.
  const done = async () =>
    Number(
      (await (await fetch(`${url}/api/overview`)).json()).queues.find((q) => q.queue === 'work').counters.succeeded,
    );
  const before = await done();
  for (const end = Date.now() + PATIENCE_MS; (await done()) === before; ) assert.ok(Date.now() < end, 'no task ran');
  seen.moved = true;
}

async function search(page, seen) {
  await page.keyboard.press('/');
  await page.locator('input[name=q]').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.name), 'q', '/ goes to the search');
  await page.keyboard.type('img/src');
  await page.waitForURL(/\/tasks\?q=img%2Fsrc/);
  const hostile = page.getByRole('row', { name: /<img\/src=x/ });
  await hostile.first().waitFor();
  await page.locator('select[name=state]').selectOption('dead');
  await page.waitForURL(/state=dead/);
  await page.reload();
  await hostile.first().waitFor();
  assert.equal(await page.locator('select[name=state]').inputValue(), 'dead', 'the filter is in the address');
  await hostile.first().getByRole('link').click();
  await page.waitForURL(/\/task\?id=/);
  await page.locator('pre', { hasText: '<script>' }).first().waitFor();
  assert.equal(await page.locator('main script, main img, main b > b').count(), 0, 'markup of a task came alive');
  await picture(page, 'light', 'task');
  await page.goBack();
  await page.waitForURL(/\/tasks\?/);
  seen.searched = true;
}

async function replay(page, seen) {
  await page.goto(`${url}/dead`);
  const group = page.locator('.group', { hasText: 'fails' });
  await group.getByRole('button', { name: /^Replay/ }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('Replay 5 dead letters?').waitFor();
  await picture(page, 'light', 'replay');
  await dialog.getByLabel(/^Token/).fill('not the token, but as long');
  await dialog.getByRole('button', { name: /^Replay/ }).click();
  await dialog.getByText('The token was wrong.').waitFor();
  await dialog.getByLabel(/^Token/).fill(token);
  await dialog.getByRole('button', { name: /^Replay/ }).click();
  await page.getByText('Replayed 5 dead letters.').waitFor();
  seen.replayed = 5;

  await page.goto(url);
  await page.getByRole('button', { name: 'Resume queue held' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click();
  await page.getByRole('button', { name: 'Pause queue held' }).waitFor();
  seen.resumed = true;
}

// Without a mouse: views by number, a dialog that is left by Escape and gives the focus back, a skip link that works.
async function keyboard(page, seen) {
  await page.goto(url);
  await page.locator('#pulse.live').waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  for (const [key, view] of [
    ['4', '/workers'],
    ['3', '/dead'],
    ['1', '/'],
  ]) {
    await page.keyboard.press(key);
    await page.waitForURL(url + view);
  }
  const button = page.getByRole('button', { name: 'Pause queue work' });
  await button.focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').getByText('Pause queue work?').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Pause queue work');
  await page.keyboard.press('h');
  await page.locator('#pulse', { hasText: 'held' }).waitFor();
  seen.keyboard = true;
}

(async () => {
  const seen = { faults: [], pictures: 0 };
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  try {
    await looks(browser, seen);
    const page = await (await browser.newContext(LOOKS.light)).newPage();
    watch(page, seen);
    await overview(page, seen);
    await search(page, seen);
    await replay(page, seen);
    await keyboard(page, seen);
  } finally {
    await browser.close();
  }
  assert.deepEqual(seen.faults, []);
  console.log(JSON.stringify(seen));
})().catch((error) => {
  console.error(error.stack);
  process.exitCode = 1;
});
