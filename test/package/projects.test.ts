/** The packed package in projects of others: the examples, bundlers without configuration, a page in Chromium with and without isolation headers. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import bundledChromium from '@sparticuz/chromium';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(__dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'search-e1-projects-'));
const project = (name: string): string => join(folder, name);
const run = (program: string, args: readonly string[], cwd: string): string =>
  execFileSync(program, args, { cwd, encoding: 'utf8', stdio: 'pipe', env: { ...process.env, SEARCH_E1_THREADS: '2' } });

/** As much of a page's document as is read; this project leaves the DOM's types out. */
interface Dom {
  getElementById(id: string): { readonly textContent: string };
}

/** What README shows under "As a package". */
const README_EXAMPLE =
  /```ts\n(import [\s\S]*?from 'search-e1';\n[\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1] ?? '';
let inNode: readonly number[] = [];

beforeAll(() => {
  execFileSync(process.execPath, [join(root, 'scripts', 'prepare.mjs')], { stdio: 'inherit' });
  const [{ filename }] = JSON.parse(run('npm', ['pack', root, '--json', '--ignore-scripts'], folder)) as [{ filename: string }];
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'projects', private: true, type: 'module' }));
  run('npm', ['install', `./${filename}`, '--omit=optional', '--no-audit', '--no-fund', '--prefer-offline'], folder);
  for (const name of ['scoring', 'own-questions', 'classroom-tab']) {
    cpSync(join(root, 'examples', name), project(name), {
      recursive: true,
      filter: (path) => !/node_modules|dist|public|trained/.test(path.slice(root.length)),
    });
    symlinkSync(join(folder, 'node_modules'), join(project(name), 'node_modules'), 'junction');
  }
  writeFileSync(join(folder, 'readme.mjs'), README_EXAMPLE);
  inNode = run(process.execPath, ['readme.mjs'], folder)
    .trim()
    .split('\n')
    .map((line) => Number(line.split(' ')[1]));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('README’s example takes five steps', () => {
  expect(inNode).toHaveLength(5);
  expect(new Set(inNode).size).toBeGreaterThan(1);
});

describe('the examples', () => {
  it('score attempts and choose siblings in a function of standard requests', async () => {
    const { default: scoring } = (await import(pathToFileURL(join(project('scoring'), 'function.js')).href)) as {
      default: { fetch(request: Request): Promise<Response> };
    };
    const ask = (body: unknown) => scoring.fetch(new Request('http://localhost', { method: 'POST', body: JSON.stringify(body) }));
    const attempts = [
      { answer: 'Lyon', searches: 2, tokens: [4, 9, 9] },
      { answer: 'Paris', searches: 1, tokens: [4, 8] },
    ];
    const reply = await ask({ goldenAnswers: ['Paris'], attempts });
    expect(await reply.json()).toMatchObject({ scores: [{ exactMatch: 0 }, { exactMatch: 1 }], reference: 1, student: 0 });
    const bad = await ask({ goldenAnswers: ['Paris'], attempts: [{ answer: 'Paris', tokens: [4] }] });
    expect([bad.status, await bad.json()]).toEqual([400, { error: expect.stringContaining('searches') }]);
  });

  it('train on own questions in Node, and save what Transformers opens', () => {
    const printed = run(process.execPath, ['train.js', '3'], project('own-questions'));
    expect(printed).toMatch(/step 3 of 3: exact match 0\.\d\d[\s\S]*exact match, greedy: 0\.\d\d before, [01]\.\d\d after/);
    expect(existsSync(join(project('own-questions'), 'trained', 'model.safetensors'))).toBe(true);
  });

  it('save at Ctrl-C', async () => {
    rmSync(join(project('own-questions'), 'trained'), { recursive: true });
    const child = spawn(process.execPath, ['train.js', '1000'], { cwd: project('own-questions') });
    let printed = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (/step 2 of/.test(text) && !child.killed) child.kill('SIGINT');
      printed += text;
    });
    const [code] = await once(child, 'close');
    expect([code, existsSync(join(project('own-questions'), 'trained', 'config.json'))]).toEqual([0, true]);
    expect(printed).not.toMatch(/step 20 of/);
  });
});

describe('a bundle', () => {
  const bundled = async (code: string, platform: 'browser' | 'node') => {
    const { outputFiles, warnings } = await build({
      stdin: { contents: code, resolveDir: folder },
      bundle: true,
      minify: true,
      write: false,
      format: 'esm',
      platform,
      logLevel: 'silent',
    });
    expect(warnings).toEqual([]);
    return outputFiles[0].text;
  };

  it.each([
    "export { exactMatch } from 'search-e1/reward'",
    "export { choosePair } from 'search-e1/siblings'",
    "export { classroomProtocol, parseAction, searchR1Protocol } from 'search-e1/rollout'",
    "export { compareSystems, mcNemar, summarize, wilson } from 'search-e1/benchmarks'",
    "export { exactMatch, extractAnswer, f1 } from 'search-e1'",
  ])('of %s holds no tensors and stays below 20 kB', async (code) => {
    for (const platform of ['browser', 'node'] as const) {
      const text = await bundled(code, platform);
      expect(text).not.toContain('node:');
      expect(text.length).toBeLessThan(20_000);
    }
  });

  it('of the whole package for a browser reaches no module of Node', async () => {
    const doors = Object.keys(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).exports as object).filter(
      (door) => !/json|display/.test(door),
    );
    const text = await bundled(doors.map((door, i) => `export * as door${i} from 'search-e1${door.slice(1)}';`).join('\n'), 'browser');
    expect(text).not.toMatch(/["']node:|require\(/);
  });
});

describe.skipIf(process.platform !== 'linux' || process.arch !== 'x64')('a page built by vite', () => {
  let browser: Browser;
  const servers: Server[] = [];

  /** A static server; its pages are cross-origin isolated or not. */
  async function serve(path: string, isolated: boolean): Promise<string> {
    const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json' };
    const headers = isolated ? { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' } : {};
    const server = createServer(({ url, method }, reply) => {
      const file = join(path, new URL(url ?? '/', 'http://localhost').pathname.replace(/\/$/, '/index.html'));
      const found = existsSync(file) && statSync(file).isFile();
      reply.writeHead(found ? 200 : 404, { 'content-type': types[extname(file)] ?? 'application/octet-stream', ...headers });
      reply.end(found && method !== 'HEAD' ? readFileSync(file) : undefined);
    });
    servers.push(server.listen(0));
    await once(server, 'listening');
    return `http://localhost:${(server.address() as AddressInfo).port}/`;
  }

  const vite = (path: string) => run(process.execPath, [join(root, 'node_modules', 'vite', 'bin', 'vite.js'), 'build'], path);

  beforeAll(async () => {
    run('npm', ['run', '--silent', 'data'], project('classroom-tab'));
    vite(project('classroom-tab'));
    cpSync(join(__dirname, 'readme-page'), project('readme-page'), { recursive: true });
    cpSync(join(project('classroom-tab'), 'public'), join(project('readme-page'), 'public'), { recursive: true });
    symlinkSync(join(folder, 'node_modules'), join(project('readme-page'), 'node_modules'), 'junction');
    const [imports, body] = README_EXAMPLE.split(/(?<=from 'search-e1';\n)/);
    const main = body.replace('startBackend()', 'startBackend(options)').replace('console.log(m.step, ', 'report(m.step, ');
    writeFileSync(join(project('readme-page'), 'example.js'), `${imports}\nexport async function main(options, report) {${main}}\n`);
    vite(project('readme-page'));
    const args = ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];
    browser = await chromium.launch({ executablePath: await bundledChromium.executablePath(), args });
  });
  afterAll(async () => {
    await browser?.close();
    for (const server of servers) server.close();
  });

  const settled = (page: Page, what: RegExp) =>
    page.waitForFunction(
      (source) => new RegExp(source).test((globalThis as unknown as { document: Dom }).document.getElementById('line').textContent),
      what.source,
      {
        timeout: 240_000,
      },
    );

  it.each([
    ['cross-origin isolated, with two threads', true, /2 threads$/],
    [
      'without isolation headers, on one thread, which it says',
      false,
      /one thread; simd: one thread: the page is not cross-origin isolated/,
    ],
  ])('%s, gives the rewards that Node gives', async (_, isolated, backend) => {
    const page = await browser.newPage();
    await page.goto(`${await serve(join(project('readme-page'), 'dist'), isolated)}?threads=2`);
    await settled(page, /^(done|failed)/);
    expect(await page.textContent('#line')).toBe(`done ${inNode.join(' ')}`);
    expect(await page.textContent('#backend')).toMatch(backend);
    await page.close();
  });

  it('runs a round of the loop: GRPO, siblings, self-distillation, with progress, a plot and an episode', async () => {
    const page = await browser.newPage();
    await page.goto(`${await serve(join(project('classroom-tab'), 'dist'), true)}?steps=3`);
    await page.click('#start');
    await settled(page, /^(Done|Failed)/);
    expect(await page.textContent('#line')).toMatch(/^Done\. Exact match of the rollouts/);
    expect(await page.textContent('#pairs')).toMatch(/^\d+ pairs of siblings/);
    expect(await page.textContent('#episode')).toMatch(/<answer>|<search>/);
    expect((await page.getAttribute('polyline', 'points'))?.split(' ')).toHaveLength(3);
    await page.close();
  });

  it('stays responsive while it trains, and stops when it is told', async () => {
    const page = await browser.newPage();
    await page.goto(`${await serve(join(project('classroom-tab'), 'dist'), false)}?steps=1000`);
    await page.click('#start');
    await settled(page, /^GRPO, step [2-9]/);
    const longest = await page.evaluate(async () => {
      const gaps: number[] = [];
      for (let last = performance.now(), end = last + 1000; last < end; ) {
        await new Promise((done) => setTimeout(done, 5));
        gaps.push(performance.now() - last);
        last = performance.now();
      }
      return Math.max(...gaps);
    });
    expect(longest).toBeLessThan(500); // a step takes longer
    await page.click('#stop');
    await settled(page, /^Stopped after \d+ of 1000 steps/);
    expect(await page.isEnabled('#start')).toBe(true);
    await page.close();
  });

  it('answers on WebGPU as on simd, and learns there', async () => {
    const address = await serve(join(project('readme-page'), 'dist'), false);
    const lines: (string | null)[] = [];
    for (const backend of ['simd', 'webgpu']) {
      const page = await browser.newPage();
      await page.goto(`${address}?backend=${backend}&small`);
      await settled(page, /^(done|failed)/);
      lines.push(await page.textContent('#line'));
      if (backend === 'webgpu') expect(await page.textContent('#backend')).toMatch(/^WebGPU \(the browser\)/);
      await page.close();
    }
    expect(lines[0]).toMatch(/^done .+ true$/);
    expect(lines[1]).toBe(lines[0]);
  });
});
