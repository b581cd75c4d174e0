// Opens the page of a running load in Chromium, and watches it being renewed. Prints a JSON line when it
// was, and another one when the load has ended.
// Usage: node live.mjs PLAYWRIGHT_FOLDER URL
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { figures } from './figures.mjs';

const [folder, url] = process.argv.slice(2);
const require = createRequire(folder + '/');
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
const context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
const page = await context.newPage();
const errors = [];
const elsewhere = [];
page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) errors.push(message.text()); });
page.on('pageerror', (error) => errors.push(String(error)));
page.on('request', (request) => { if (!request.url().startsWith(url)) elsewhere.push(request.url()); });
await page.goto(url, { waitUntil: 'load' });

const PATIENT = { timeout: 100_000 };
const record = () => page.evaluate(() => JSON.parse(document.getElementById('record-0').textContent));
/* Waits for seconds of the run, and for the charts. */
const reaches = async (seconds) => {
  await page.waitForFunction((seconds) => {
    const record = JSON.parse(document.getElementById('record-0').textContent);
    return record.elapsed_s >= seconds && document.documentElement.dataset.drawn === 'all';
  }, seconds, PATIENT);
};
await reaches(2);
// What a reader has opened, and has the focus, stays.
await page.evaluate(() => {
  const figure = document.querySelector('figure[data-chart="connections"]');
  figure.marked = figure.plot;
  figure.querySelector('details').open = true;
  figure.querySelector('.plot').focus();
});
const before = await record();
await reaches(before.elapsed_s + 2);
const after = await record();
await page.waitForFunction((slices) => document.querySelector('figure[data-chart="requests"]').plot.data[0].length >= slices,
  after.timeline.slices.length, PATIENT);
const kept = await page.evaluate(() => {
  const figure = document.querySelector('figure[data-chart="connections"]');
  return {
    plot: figure.marked === figure.plot,
    rows: figure.querySelectorAll('details[open] tbody tr').length,
    focused: document.activeElement === figure.querySelector('.plot'),
  };
});
await page.evaluate(axe);
const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
const serious = violations.filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) => one.id);
const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
/* Pictures of what is there now, at desktop and phone width, light and dark. */
const pictures = async (name) => {
  if (!process.env.PICTURES) return;
  for (const [size, width] of [['desktop', 1200], ['phone', 390]]) {
    await page.setViewportSize({ width, height: 900 });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(1500);
      await page.screenshot({ path: `${process.env.PICTURES}/${name}-${size}-${colorScheme}.png`, fullPage: true });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1200, height: 900 });
};
await pictures('live');
console.log(JSON.stringify({ before: before.requests.completed, after: after.requests.completed, kept, serious, overflow, ...await page.evaluate(figures) }));

await page.waitForFunction(() => document.getElementById('live').textContent.includes('has ended'), null, PATIENT);
const said = await page.evaluate(() => [...document.querySelectorAll('.verdict')].length);
const last = await record();
await page.waitForTimeout(1500);
await pictures('live-over');
console.log(JSON.stringify({ errors, elsewhere, said, stopped: last.stopped, ...await page.evaluate(figures) }));
await browser.close();
