/** `npm run measure:browser`: a classroom GRPO step in headless Chromium beside the same step in this Node. See --help. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { dirname, extname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import bundledChromium from '@sparticuz/chromium';
import { chromium } from 'playwright-core';
import { build } from 'vite';

const HELP = `Usage: npm run measure:browser -- [options]

The classroom's GRPO on the simd backend, in a Web Worker of headless Chromium and in Node, in turn: the same steps, threads and rewards.

  --steps N      GRPO steps a run; the first is not timed; default 10
  --rounds N     runs of each, one after the other; default 3
  --threads L    default 1 and, where there are more processors, 2, such as 1,2
  --browser FILE another Chromium or Chrome than the one of the tests (Linux on x64)
  --json         the figures as JSON
`;
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: availableParallelism() > 1 ? '1,2' : '1' },
    browser: { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean' },
  },
});
if (values.help) {
  process.stdout.write(HELP);
  process.exit();
}
const [steps, rounds] = [values.steps, values.rounds].map(Number);
const threadCounts = values.threads.split(',').map(Number);
for (const [name, value, least] of [['steps', steps, 2], ['rounds', rounds, 1], ...threadCounts.map((count) => ['threads', count, 1])])
  if (!Number.isInteger(value) || value < least) {
    console.error(`measure:browser: --${name}: expected a whole number of at least ${least}, got ${values[name]}`);
    process.exit(2);
  }

/** The work, the same text for both. */
const WORK = `
import { CLASSROOM_SEARCH, classroomGrpo, classroomProtocol, createSearcher, datasetsAt, grpo, openEngine, startBackend, tinypedia } from 'search-e1';

export async function work({ steps, threads, datasets }) {
  if (datasets) datasetsAt(datasets);
  const { description } = await startBackend({ backend: 'simd', threads });
  const world = tinypedia(1);
  const environment = { protocol: classroomProtocol, searcher: createSearcher(world.passages, CLASSROOM_SEARCH) };
  const engine = await openEngine();
  const rewards = [];
  const seconds = [];
  let began = performance.now();
  await grpo(engine, environment, world.train, { ...classroomGrpo, steps }, {
    onStep(metrics) {
      rewards.push(metrics['reward/mean']);
      seconds.push((performance.now() - began) / 1000);
      began = performance.now();
    },
  });
  return { description, rewards, seconds: seconds.slice(1) };
}
`;
// Beside node_modules, where it finds the package and what it stands on.
const cache = join(root, 'node_modules', '.cache');
mkdirSync(cache, { recursive: true });
const folder = mkdtempSync(join(cache, 'measure-browser-'));
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const say = (text) => process.stderr.write(`${text}\n`);
let browser;
let server;
try {
  writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
  writeFileSync(join(folder, 'work.js'), WORK);
  writeFileSync(
    join(folder, 'node.js'),
    "import { work } from './work.js';\nconsole.log(JSON.stringify(await work(JSON.parse(process.argv[2]))));\n",
  );
  writeFileSync(
    join(folder, 'worker.js'),
    "import { work } from './work.js';\nonmessage = ({ data }) => work(data).then((done) => postMessage({ done }), (error) => postMessage({ error: error.message }));\n",
  );
  writeFileSync(
    join(folder, 'page.js'),
    `globalThis.run = (settings) => new Promise((resolve, reject) => {
       const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
       worker.onmessage = ({ data }) => { worker.terminate(); data.error ? reject(new Error(data.error)) : resolve(data.done); };
       worker.postMessage(settings);
     });`,
  );
  writeFileSync(join(folder, 'index.html'), '<!doctype html><script type="module" src="./page.js"></script>');
  await build({ root: folder, logLevel: 'error' });
  symlinkSync(join(root, 'datasets'), join(folder, 'dist', 'datasets'), 'junction');
  const types = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json' };
  const headers = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };
  server = createServer(({ url, method }, reply) => {
    const { pathname } = new URL(url, 'http://localhost');
    const file = join(folder, 'dist', pathname === '/' ? 'index.html' : pathname);
    const found = existsSync(file);
    reply.writeHead(found ? 200 : 404, { 'content-type': types[extname(file)] ?? 'application/octet-stream', ...headers });
    reply.end(found && method !== 'HEAD' ? readFileSync(file) : undefined);
  });
  await new Promise((done) => server.listen(0, done));
  const address = `http://localhost:${server.address().port}/`;
  browser = await chromium.launch({ executablePath: values.browser ?? (await bundledChromium.executablePath()), args: ['--no-sandbox'] });
  const results = [];
  for (const threads of threadCounts) {
    const times = { node: [], chromium: [] };
    let rewards;
    for (let round = 0; round < rounds; round++) {
      const { status, stdout, stderr } = spawnSync(process.execPath, ['node.js', JSON.stringify({ steps, threads })], {
        cwd: folder,
        encoding: 'utf8',
      });
      if (status !== 0) throw new Error(`Node's run failed:\n${stderr}`);
      const node = JSON.parse(stdout);
      const page = await browser.newPage();
      await page.goto(address);
      await page.waitForFunction(() => 'run' in globalThis);
      const tab = await page.evaluate((settings) => globalThis.run(settings), { steps, threads, datasets: `${address}datasets` });
      await page.close();
      times.node.push(...node.seconds);
      times.chromium.push(...tab.seconds);
      rewards ??= node.rewards;
      for (const [where, run] of [
        ['Node', node],
        ['Chromium', tab],
      ])
        if (run.rewards.join() !== rewards.join()) throw new Error(`${where} gave other rewards: ${run.rewards}, not ${rewards}`);
      say(
        `${threads} thread(s), round ${round + 1} of ${rounds}: Node ${median(node.seconds).toFixed(3)} s a step, Chromium ${median(tab.seconds).toFixed(3)} s`,
      );
    }
    const [inNode, inChromium] = [median(times.node), median(times.chromium)];
    results.push({ threads, node: inNode, chromium: inChromium, ratio: inChromium / inNode });
  }
  const machine = `${cpus()[0]?.model.trim()}, ${cpus().length} processors, ${new Date().toISOString().slice(0, 10)}; Node ${process.versions.node}, Chromium ${browser.version()}; load ${loadavg()[0].toFixed(1)}`;
  if (values.json) console.log(JSON.stringify({ machine, steps, rounds, results }, null, 2));
  else {
    console.log(machine);
    for (const { threads, node, chromium, ratio } of results)
      console.log(
        `${threads} thread(s): Node ${node.toFixed(3)} s a GRPO step, Chromium ${chromium.toFixed(3)} s: ${ratio.toFixed(2)} times as long`,
      );
  }
} finally {
  await browser?.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
}
