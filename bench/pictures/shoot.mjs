// A picture of a page: of the record in a file, or of a load that serves its own.
// Usage: node shoot.mjs PLAYWRIGHT_FOLDER OUT_FOLDER light|dark WIDTHxHEIGHT PAGE NAME [SECONDS [SELECTOR]]
// SECONDS: waits until the run is so old; SELECTOR: the picture begins at what it finds.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [playwright, out, colorScheme, size, address, name, seconds = '0', selector] = process.argv.slice(2);
const [width, height] = size.split('x').map(Number);
const { chromium } = createRequire(playwright + '/')('playwright-core');
const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
const page = await browser.newPage({ viewport: { width, height }, colorScheme });
await page.goto(address.startsWith('http') ? address : pathToFileURL(address).href);
await page.waitForFunction((seconds) => {
  const record = JSON.parse(document.getElementById('record-0').textContent);
  const samples = (record.hops ?? []).flatMap((hop) => hop.samples);
  const age = Math.max(record.elapsed_s ?? Infinity, ...samples.map((sample) => sample.at_s));
  return age >= seconds && document.documentElement.dataset.drawn === 'all';
}, Number(seconds), { timeout: 100_000 });
if (selector) await page.evaluate((selector) => {
  const found = document.querySelector(selector);
  (found.closest('section') ?? found).scrollIntoView();
}, selector);
await page.waitForTimeout(300);
await page.screenshot({ path: `${out}/${name}.png` });
await browser.close();
