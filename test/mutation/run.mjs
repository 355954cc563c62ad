/**
 * `npm run test:mutation`: StrykerJS changes the sources of the method, one place at a time, and the tests beside them must notice.
 *
 * A mutant is held to the tests of its own folder alone: a law that only another folder's tests know of is not written down where it belongs. `--folder grpo`
 * (again for more) mutates one folder, else all; what is found goes into `report.json`, with every mutant that survived. Mutants whose file and tests are as in
 * the run before keep its result (`.stryker/`, not committed); `--fresh` asks all of them. `--check` only compares the report with the sources of today.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative, sep } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));
const reportPath = join(root, 'test/mutation/report.json');
/** Of each folder the files that the method is in; all of them where none are named. */
const FOLDERS = {
  reward: undefined,
  siblings: undefined,
  rollout: undefined,
  grpo: undefined,
  ofsd: undefined,
  benchmarks: ['evaluate.ts', 'intervals.ts', 'report.ts'],
  evolution: undefined,
  runs: undefined,
};
/** Killed mutants of a hundred, of each folder. */
const LEAST_SCORE = 85;

const { values: options } = parseArgs({
  options: {
    folder: { type: 'string', multiple: true },
    fresh: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    concurrency: { type: 'string', default: String(Math.min(availableParallelism(), 8)) },
  },
});
const chosen = options.folder ?? Object.keys(FOLDERS);
for (const folder of chosen) if (!(folder in FOLDERS)) fail(`--folder ${folder}: expected one of ${Object.keys(FOLDERS).join(', ')}`);
if (!/^[1-9]\d?$/.test(options.concurrency)) fail(`--concurrency ${options.concurrency}: expected an integer from 1 to 99`);

const report = existsSync(reportPath) ? JSON.parse(readFileSync(reportPath, 'utf8')) : {};
const faults = options.check ? [] : await mutate();
for (const folder of chosen) faults.push(...faultsOf(folder));
for (const fault of faults) console.error(fault);
if (faults.length > 0) process.exitCode = 1;

async function mutate() {
  const { Stryker } = await import('@stryker-mutator/core');
  for (const folder of chosen) {
    const started = Date.now();
    console.log(`== ${folder}`);
    process.env.SEARCH_E1_MUTATED_FOLDER = folder; // test/mutation/vitest.config.ts reads it, in the runner's processes
    const incrementalFile = join('.stryker', `${folder}.json`);
    mkdirSync(join(root, '.stryker'), { recursive: true });
    const mutants = await new Stryker({
      testRunner: 'vitest',
      vitest: { configFile: 'test/mutation/vitest.config.ts', related: false },
      plugins: ['@stryker-mutator/vitest-runner', './test/mutation/words-of-errors.mjs'],
      ignorers: ['words-of-errors'],
      mutate: sourcesOf(folder),
      coverageAnalysis: 'perTest',
      concurrency: Number(options.concurrency),
      incremental: true,
      incrementalFile,
      force: options.fresh,
      timeoutMS: 20_000, // beside one and a half times what the tests take: other work on the machine must not look like an endless loop
      tempDirName: '.stryker/sandbox',
      ignorePatterns: ['/dist', '/book', '/bench', '/runs', '/notebooks', '/.stryker', '/.tensorflow', '.venv', '.venv-vllm'],
      disableTypeChecks: false,
      reporters: ['progress-append-only'],
      allowConsoleColors: false,
      logLevel: 'warn',
      warnings: { slow: false },
    }).runMutationTest();
    report[folder] = summary(folder, mutants, Math.round((Date.now() - started) / 1000));
    const ordered = Object.fromEntries(Object.keys(FOLDERS).flatMap((name) => (report[name] ? [[name, report[name]]] : [])));
    writeFileSync(reportPath, `${JSON.stringify(ordered, null, 1)}\n`);
    console.table(Object.fromEntries(report[folder].files.map(({ file, ...counts }) => [file, counts])));
    for (const { place, was, is } of report[folder].survivors) console.log(`${place}\n  - ${was}\n  + ${is}`);
  }
  return [];
}

function summary(folder, mutants, seconds) {
  const git = (...args) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
  const files = sourcesOf(folder).map((file) => {
    const own = mutants.filter(({ fileName }) => relative(root, fileName).split(sep).join('/') === file);
    const count = (...statuses) => own.filter(({ status }) => statuses.includes(status)).length;
    const [killed, timeout, survived] = [count('Killed', 'RuntimeError'), count('Timeout'), count('Survived', 'NoCoverage')];
    return { file, killed, timeout, survived, score: score(killed + timeout, survived) };
  });
  const total = (key) => files.reduce((sum, file) => sum + file[key], 0);
  return {
    date: new Date().toISOString(),
    command: `npm run test:mutation -- --folder ${folder}`,
    commit:
      git('rev-parse', '--short', 'HEAD') +
      (git('status', '--porcelain', '--', 'src', 'test', ':!test/mutation/report.json') ? ', with changes' : ''),
    versions: { node: process.version, stryker: versionOf('@stryker-mutator/core'), vitest: versionOf('vitest') },
    seconds,
    sources: fingerprint(folder),
    score: score(total('killed') + total('timeout'), total('survived')),
    files,
    survivors: mutants.filter(({ status }) => status === 'Survived' || status === 'NoCoverage').map(survivor),
  };
}

/** Of a hundred mutants, those that were noticed. */
function score(noticed, survived) {
  return noticed + survived ? Math.round((1000 * noticed) / (noticed + survived)) / 10 : 100;
}

/** Where a mutant is, the lines it changes and what it puts there. Lines and columns count from 1. */
function survivor({ fileName, location: { start, end }, replacement, mutatorName, status }) {
  const lines = readFileSync(fileName, 'utf8')
    .split('\n')
    .slice(start.line - 1, end.line);
  const before = lines[0].slice(0, start.column - 1);
  const after = lines.at(-1).slice(end.column - 1);
  const oneLine = (text) => text.trim().replace(/\s+/g, ' ');
  return {
    place: `${relative(root, fileName).split(sep).join('/')}:${start.line}:${start.column}`,
    mutator: mutatorName,
    ...(status === 'NoCoverage' && { covered: false }),
    was: oneLine(lines.join('\n')),
    is: oneLine(before + replacement + after),
  };
}

/** What keeps a folder's report from being one of the sources as they are, or good enough. */
function faultsOf(folder) {
  const again = `run: npm run test:mutation -- --folder ${folder}`;
  if (!report[folder]) return [`${folder}: test/mutation/report.json does not speak of it; ${again}`];
  if (report[folder].sources !== fingerprint(folder))
    return [`${folder}: the sources are not those of test/mutation/report.json; ${again}`];
  const low = report[folder].score < LEAST_SCORE;
  return low ? [`${folder}: ${report[folder].score} % of the mutants are noticed, expected ${LEAST_SCORE} % at least`] : [];
}

function sourcesOf(folder) {
  const names = FOLDERS[folder] ?? readdirSync(join(root, 'src', folder)).filter((name) => name.endsWith('.ts'));
  return names.sort().map((name) => `src/${folder}/${name}`);
}

/** Of the code of a folder, its comments left out. */
function fingerprint(folder) {
  const hash = createHash('sha256');
  const compilerOptions = { removeComments: true, target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext };
  for (const file of sourcesOf(folder)) {
    const { outputText } = ts.transpileModule(readFileSync(join(root, file), 'utf8'), { compilerOptions });
    hash.update(`${file}\0${outputText}\0`);
  }
  return hash.digest('hex').slice(0, 16);
}

function versionOf(name) {
  return JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')).version;
}

function fail(message) {
  console.error(message);
  process.exit(2);
}
