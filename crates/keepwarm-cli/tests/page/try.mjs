// Opens pages in Chromium, and holds them against their records. Prints one JSON line a page.
// Usage: node try.mjs PLAYWRIGHT_FOLDER PAGE...
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { figures } from './figures.mjs';

const [folder, ...pages] = process.argv.slice(2);
const require = createRequire(folder + '/');
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });

for (const path of pages) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
  const page = await context.newPage();
  const errors = [];
  const requests = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) errors.push(message.text()); });
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('dialog', (dialog) => { errors.push('dialog: ' + dialog.message()); dialog.dismiss(); });
  page.on('request', (request) => { if (!/^(file|blob|data):/.test(request.url())) requests.push(request.url()); });
  const before = Date.now();
  await page.goto(pathToFileURL(path).href, { waitUntil: 'load' });
  const opened_ms = Date.now() - before;
  await page.waitForFunction(() => document.documentElement.dataset.drawn === 'all', null, { timeout: 100_000 });
  const drawn_ms = Date.now() - before;
  const held = await page.evaluate(figures);
  const charts = await page.evaluate(() => [...document.querySelectorAll('figure[data-chart]')]
    .map((figure) => ({ name: figure.dataset.chart, lines: figure.plot?.series.length - 1, points: figure.plot?.data[0].length })));

  // Keys read a chart, and a table has the numbers.
  const keys = await page.evaluate(() => {
    const figure = document.querySelector('figure[data-chart]');
    if (!figure) return null;
    const box = figure.querySelector('.plot');
    box.focus();
    const press = (key) => box.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
    press('Home');
    press('ArrowRight');
    return { focused: document.activeElement === box, at: figure.plot.cursor.idx };
  });
  await page.evaluate(() => document.querySelectorAll('figure details').forEach((one) => { one.open = true; }));
  await page.waitForTimeout(100);
  const tables = await page.evaluate(() => [...document.querySelectorAll('figure details')]
    .every((one) => one.querySelectorAll('tbody tr').length > 0));

  // The record that is saved is the record of the page.
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('button[data-save]')]);
  const saved = JSON.parse(readFileSync(await download.path(), 'utf8'));
  const same = await page.evaluate((saved) =>
    JSON.stringify(JSON.parse(document.getElementById('record-0').textContent)) === JSON.stringify(saved), saved);

  // axe is injected by the debugger, which the page's policy does not bind.
  await page.evaluate(axe);
  const found = {};
  // A long run has the same page, and axe looks at every mark of it.
  for (const scheme of path.includes('hour') ? [] : ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme });
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    found[scheme] = violations.filter((one) => ['serious', 'critical'].includes(one.impact))
      .map((one) => `${one.id}: ${one.nodes[0].html.slice(0, 160)}`);
  }
  const phone = await context.newPage();
  await phone.setViewportSize({ width: 390, height: 800 });
  await phone.goto(pathToFileURL(path).href);
  const overflow = await phone.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (process.env.PICTURES) {
    const name = path.split('/').pop().replace('.html', '');
    for (const scheme of ['light', 'dark']) {
      for (const [size, one] of [['desktop', page], ['phone', phone]]) {
        await one.emulateMedia({ colorScheme: scheme });
        await one.reload();
        await one.waitForFunction(() => document.documentElement.dataset.drawn === 'all', null, { timeout: 100_000 });
        await one.waitForTimeout(200);
        await one.screenshot({ path: `${process.env.PICTURES}/${name}-${size}-${scheme}.png`, fullPage: true });
      }
    }
  }
  console.log(JSON.stringify({ path, errors, requests, opened_ms, drawn_ms, ...held, charts, keys, tables, same, axe: found, overflow }));
  await context.close();
}
await browser.close();
