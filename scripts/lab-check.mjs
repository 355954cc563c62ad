/**
 * Opens a notebook in JupyterLab in a headless Chromium, runs all its cells and takes a picture: the whole way a reader goes. The notebook on the disk
 * stays as it is. See --help.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join, relative, resolve, sep } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const HELP = `Usage: npm run lab:check -- NOTEBOOK [options]

  --out FILE       where the picture goes; default runs/lab-check.png
  --browser FILE   Chromium or Chrome; default: looked for in the usual places, or $CHROMIUM
  --minutes N      longest time for all cells; default 10
`;

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: 'string', default: join('runs', 'lab-check.png') },
    browser: { type: 'string' },
    minutes: { type: 'string', default: '10' },
    help: { type: 'boolean' },
  },
});
if (values.help || positionals.length !== 1) {
  process.stdout.write(HELP);
  process.exit(values.help ? 0 : 2);
}

const executablePath = [
  values.browser,
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
].find((path) => path && existsSync(path));
if (!executablePath) throw new Error('Found no Chromium. Install it (Debian: apt-get install chromium) or name it with --browser.');

const port = await freePort();
const token = randomBytes(16).toString('hex');
const lab = spawn(
  process.execPath,
  [join(root, 'scripts', 'lab.mjs'), '--no-browser', '--port', String(port), `--IdentityProvider.token=${token}`],
  {
    stdio: ['ignore', 'ignore', 'inherit'],
  },
);
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
try {
  const base = `http://localhost:${port}`;
  await answering(`${base}/api?token=${token}`);
  const page = await browser.newPage({ viewport: { width: 1200, height: 3000 } });
  await page.route(/\/api\/contents(\/|\?|$)/, writeNothing);
  const before = readFileSync(positionals[0]);
  const path = relative(root, resolve(positionals[0])).split(sep).join('/');
  await page.goto(`${base}/lab/tree/${path}?token=${token}&reset`);
  await page.locator('.jp-Notebook .jp-CodeCell').first().waitFor({ timeout: 120_000 });
  // A cell run before the kernel is there makes JupyterLab ask for one.
  await page.locator('.jp-StatusBar-TextItem', { hasText: /\| Idle$/ }).waitFor({ timeout: 120_000 });
  await page.locator('.lm-MenuBar-itemLabel', { hasText: /^Run$/ }).click();
  await page.locator('.lm-Menu-itemLabel', { hasText: /^Run All Cells$/ }).click();
  await page.waitForFunction(allDone, undefined, { timeout: Number(values.minutes) * 60_000, polling: 500 }).catch(async (error) => {
    await page.screenshot({ path: values.out });
    throw error;
  });
  await page.waitForTimeout(2000);
  // A plot is a picture until the mouse comes near.
  for (const picture of await page.locator('.jp-OutputArea img').all()) await picture.hover().catch(() => {});
  await page.waitForTimeout(2000);
  const found = await page.evaluate(summary);
  mkdirSync(dirname(resolve(values.out)), { recursive: true });
  await page.screenshot({ path: values.out });
  process.stdout.write(`${JSON.stringify(found, null, 2)}\n${values.out}\n`);
  if (found.errors.length > 0) process.exitCode = 1;
  if (!readFileSync(positionals[0]).equals(before)) throw new Error(`${positionals[0]} was changed by the check.`);
} finally {
  await browser.close();
  lab.kill('SIGTERM');
}

/** JupyterLab saves by itself, and keeps checkpoints: it is told that it has, and nothing reaches the disk. */
async function writeNothing(route) {
  const request = route.request();
  const [reads, now] = [request.method() === 'GET', new Date().toISOString()];
  // Even to ask for checkpoints makes a folder for them.
  if (/\/checkpoints(\/|\?|$)/.test(request.url()))
    return route.fulfill(reads ? { status: 200, json: [] } : { status: 201, json: { id: 'checkpoint', last_modified: now } });
  if (reads) return route.continue();
  if (request.method() !== 'PUT') return route.abort();
  const address = new URL(request.url());
  address.searchParams.set('content', '0');
  const answer = await route.fetch({ method: 'GET', url: address.href, postData: '' });
  return route.fulfill({ status: 200, json: { ...(await answer.json()), last_modified: now } });
}

/** In the page: every code cell has a number, or one has failed and none is at work. */
function allDone() {
  const prompts = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt')].map((element) => element.textContent);
  const failed = document.querySelector('.jp-OutputArea [data-mime-type="application/vnd.jupyter.stderr"]') !== null;
  return prompts.every((text) => /\[\d+\]/.test(text)) || (failed && !prompts.some((text) => text.includes('*')));
}

/** In the page: what can be seen of the outputs. */
function summary() {
  const all = (selector) => [...document.querySelectorAll(`.jp-Notebook ${selector}`)];
  return {
    kernel: document.querySelector('.jp-KernelName')?.textContent,
    codeCells: all('.jp-CodeCell').length,
    interactivePlots: all('.jp-OutputArea .js-plotly-plot').length,
    pictures: all('.jp-OutputArea img').length,
    tables: all('.jp-OutputArea table').length,
    formulas: all('.MathJax, mjx-container').length,
    errors: all('.jp-OutputArea [data-mime-type="application/vnd.jupyter.stderr"]').map((element) => element.textContent),
  };
}

async function answering(address) {
  for (let attempt = 0; attempt < 240; attempt++) {
    if (lab.exitCode !== null) throw new Error(`JupyterLab ended with exit code ${lab.exitCode}.`);
    const answer = await fetch(address).catch(() => undefined);
    if (answer?.ok) return;
    await new Promise((done) => setTimeout(done, 500));
  }
  throw new Error('JupyterLab did not answer within two minutes.');
}

function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port: free } = server.address();
      server.close(() => done(free));
    });
  });
}
