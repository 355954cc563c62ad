/**
 * `npm run setup:tensorflow`: a TensorFlow of this year under @tensorflow/tfjs-node-gpu, for the CPU or for CUDA; see --help.
 *
 * The package by itself downloads TensorFlow 2.9.1 of 2022 (CUDA 11.2). Its JavaScript and its C++ binding call TensorFlow's C interface only, which the
 * libraries inside TensorFlow's Python wheel export: so the wheel is unpacked (no Python code of it runs) and the binding is compiled against it, together
 * with this project's kernels for the CPU (src/tensors/tensorflow/kernels), for the processor it is compiled on.
 * Everything lies in .tensorflow/ and node_modules/; each step leaves a finished result or none, so it may be interrupted and started again.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { fetchWheel, unpackWheel } from './setup-tensorflow-wheel.mjs';

const HELP = `Usage: npm run setup:tensorflow -- [--cpu | --cuda] [--wheel <file>] [--stock] [--undo]

Gives the backend "tensorflow" a current TensorFlow: at native speed on the CPU, or on an NVIDIA GPU.

  --cpu            the build for the CPU (274 MB download, 870 MB on disk)
  --cuda           the build for NVIDIA GPUs (572 MB, 1.3 GB on disk; with a GPU in the machine also CUDA's own libraries,
                   2.7 GB more, 5.7 GB on disk). Without either option: --cuda if there is an NVIDIA driver, else --cpu
  --wheel <file>   take TensorFlow from this wheel instead of downloading it (its checksum must be the pinned one)
  --stock          the package's own download instead: TensorFlow 2.9.1, CUDA 11.2
  --undo           take everything away again
  --help           this text

Needs Linux on x64, a C++ compiler (Debian and Ubuntu: apt-get install g++), and for the download Python 3 with pip.
Nothing is written outside this folder. After "npm ci" or "npm install" run it again: what was downloaded is still there, so it takes seconds.
`;

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const pins = JSON.parse(readFileSync(join(root, 'scripts', 'setup-tensorflow-pins.json'), 'utf8'));
const home = join(root, '.tensorflow');
const packageFolder = join(root, 'node_modules', '@tensorflow', 'tfjs-node-gpu');
const binding = join(packageFolder, 'lib', 'napi-v8', 'tfjs_binding.node');
const bindingStamp = `${binding}.built-from`;

const kernels = join(root, 'src', 'tensors', 'tensorflow', 'kernels');

/** The two libraries, and what the binding and the kernels include of the thousands of headers in the wheel. */
const TENSORFLOW =
  /^tensorflow\/(libtensorflow_(cc|framework)\.so\.2$|include\/(tensorflow\/c\/|tensorflow\/core\/platform\/ctstring|tsl\/platform\/(ctstring|platform\.h)|xla\/tsl\/c\/))/;
const CUDA = /^nvidia\/[^/]+\/(lib|bin|nvvm)\//;

class Problem extends Error {}

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    say('interrupted; start it again to go on');
    interrupt.abort();
    process.exit(130);
  });
}

await main(process.argv.slice(2)).catch(async (error) => {
  await new Promise((resolve) => setTimeout(resolve, 100)); // Ctrl-C ends pip, npm and the compiler too: then the handler above says what happened
  say(error instanceof Problem ? error.message : (error.stack ?? String(error)));
  process.exitCode = 1;
});

async function main(args) {
  const wheelAt = args.indexOf('--wheel');
  const wheel = wheelAt >= 0 ? args[wheelAt + 1] : undefined;
  const flags = args.filter((_, at) => wheelAt < 0 || (at !== wheelAt && at !== wheelAt + 1));
  const unknown = flags.find((flag) => !['--cpu', '--cuda', '--stock', '--undo', '--help'].includes(flag));
  if (flags.includes('--help')) return void process.stdout.write(HELP);
  if (unknown) throw new Problem(`unknown option ${unknown}; --help lists the options`);
  if (wheelAt >= 0 && !wheel) throw new Problem('--wheel needs the path of a file');
  if (flags.includes('--cpu') && flags.includes('--cuda')) throw new Problem('--cpu and --cuda exclude each other');
  if (flags.includes('--undo')) return undo();
  if (flags.includes('--stock')) return stock();

  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Problem(`built for Linux on x64, this is ${process.platform} on ${process.arch}. The backends webgpu and simd run here.`);
  }
  const compiler = findCompiler();
  const gpus = nvidiaGpus();
  const flavour = flags.includes('--cuda') ? 'cuda' : flags.includes('--cpu') || gpus.length === 0 ? 'cpu' : 'cuda';
  say(`TensorFlow ${pins.tensorflow} for ${flavour === 'cuda' ? 'CUDA' : 'the CPU'}; NVIDIA GPUs: ${gpus.join(', ') || 'none'}`);
  await installLibraries(flavour, wheel, gpus.length > 0);
  installPackage();
  compileBinding(flavour, compiler);
  return check(flavour, gpus);
}

/** The wheel's libraries and headers in .tensorflow/<flavour>/tensorflow, CUDA's in .tensorflow/<flavour>/nvidia, where the former look for them. */
async function installLibraries(flavour, givenWheel, withGpu) {
  const { wheels, cudaLibraries } = pins;
  const wanted = [{ ...wheels[flavour], take: TENSORFLOW }];
  if (flavour === 'cuda' && withGpu) {
    for (const library of cudaLibraries) wanted.push({ ...library, take: CUDA });
  } else if (flavour === 'cuda') {
    say('no GPU here: CUDA\u2019s own libraries are left out (start it again on a machine with one)');
  }
  for (const { file, sha256, name, version, take } of wanted) {
    const stamp = join(home, flavour, `${file}.unpacked`);
    const unpacked = `${sha256} ${take}`;
    if (existsSync(stamp) && readFileSync(stamp, 'utf8') === unpacked) continue;
    const given = name.startsWith('tensorflow') ? givenWheel : undefined;
    const started = Date.now();
    const path = given ? resolve(given) : join(home, 'downloads', file);
    try {
      await fetchWheel({ path, given: Boolean(given), name, version, file, sha256, say, signal: interrupt.signal });
      const taken = await unpackWheel(path, join(home, flavour), (member) => take.test(member), interrupt.signal);
      if (taken === 0) throw new Error(`${file} holds none of the files that are needed`);
    } catch (error) {
      throw new Problem(error.message);
    }
    writeFileSync(stamp, unpacked);
    if (!given) rmSync(path, { force: true });
    say(`${name} ${version}: checksum right, unpacked (${seconds(started)})`);
  }
}

/** The package is no dependency, as its install script downloads a TensorFlow of 2022: taken here, without that script. */
function installPackage() {
  const { name, version } = pins.package;
  const found = existsSync(join(packageFolder, 'package.json'))
    ? JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')).version
    : undefined;
  if (found === version && existsSync(join(root, 'node_modules', 'node-api-headers'))) return;
  say(`${name} ${version} from npm, without its own download`);
  addPackage('--ignore-scripts');
}

/** Into node_modules alone: neither package.json nor the lock file changes. As it is an optional peer too, npm leaves it out unless told what kind it shall be. */
function addPackage(...options) {
  const { name, version, integrity } = pins.package;
  npm('install', `${name}@${version}`, '--no-save', '--save-dev', '--no-audit', '--no-fund', ...options);
  runNode('scripts/prepare.mjs'); // npm takes this project's link to itself away
  const installed = JSON.parse(readFileSync(join(root, 'node_modules', '.package-lock.json'), 'utf8')).packages[`node_modules/${name}`];
  if (installed?.integrity === integrity) return;
  rmSync(packageFolder, { recursive: true, force: true });
  throw new Problem(`npm installed ${name} ${version} with the checksum ${installed?.integrity}, expected ${integrity}; it was removed`);
}

/** The package's two C++ files and the kernels against the libraries, with Node's C headers from npm: no node-gyp. */
function compileBinding(flavour, compiler) {
  const headers = dirname(createRequire(join(root, 'package.json')).resolve('node-api-headers/package.json'));
  const version = JSON.parse(readFileSync(join(headers, 'package.json'), 'utf8')).version;
  const sources = readdirSync(kernels).sort();
  const hash = createHash('sha256');
  for (const file of sources) hash.update(readFileSync(join(kernels, file)));
  const builtFrom = `${pins.wheels[flavour].sha256} node-api-headers ${version} kernels ${hash.digest('hex')} ${cpus()[0]?.model}`;
  if (existsSync(binding) && existsSync(bindingStamp) && readFileSync(bindingStamp, 'utf8') === builtFrom) return;
  const started = Date.now();
  const libraries = join(home, flavour, 'tensorflow');
  mkdirSync(dirname(binding), { recursive: true });
  const partial = `${binding}.part`;
  const { status, stderr, error } = spawnSync(
    compiler,
    [
      // IS_SLIM_BUILD leaves out headers of TensorFlow's that need its C++ ones
      ...[
        '-shared',
        '-fPIC',
        '-O3',
        '-march=native',
        '-ffp-contract=fast',
        '-std=c++17',
        '-w',
        '-pthread',
        '-DNAPI_VERSION=8',
        '-DIS_SLIM_BUILD',
      ],
      ...[join(headers, 'include'), join(libraries, 'include'), packageFolder].map((folder) => `-I${folder}`),
      ...['tfjs_backend.cc', 'tfjs_binding.cc'].map((file) => join(packageFolder, 'binding', file)),
      ...sources.filter((file) => file.endsWith('.cc')).map((file) => join(kernels, file)),
      ...['-o', partial, `-L${libraries}`, '-l:libtensorflow_cc.so.2', '-l:libtensorflow_framework.so.2'],
      `-Wl,-rpath,$ORIGIN/${relative(dirname(binding), libraries)}`,
    ],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Problem(`${compiler} could not compile the binding:\n${stderr || error?.message}`);
  renameSync(partial, binding);
  writeFileSync(bindingStamp, builtFrom);
  say(`binding and kernels compiled with ${compiler} (${seconds(started)})`);
}

/** A process of its own loads the package, names the devices and multiplies: what it finds is what a user will. */
function check(flavour, gpus) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'scripts', 'setup-tensorflow-check.mjs')], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: '1' },
  });
  const report = status === 0 ? JSON.parse(stdout.trim().split('\n').pop()) : undefined;
  if (!report) throw new Problem(`the package does not load:\n${lastLines(stderr, 12)}`);
  const { tensorflow, gpu, gigaflops, largestError } = report;
  if (!(largestError < 1e-4)) throw new Problem(`a matrix product is wrong by ${largestError}`);
  say(
    `TensorFlow ${tensorflow} under Node ${process.versions.node}, on the ${gpu ? 'GPU' : 'CPU'}: 1024 x 1024 x 1024 matMul ${gigaflops} GFLOP/s, right to ${largestError}`,
  );
  if (flavour === 'cuda' && !gpu) {
    const why = stderr.split('\n').filter((line) => /cuda|gpu|dlopen|cudnn/i.test(line));
    say(`CUDA\u2019s build computes on the CPU${gpus.length ? '; TensorFlow says:' : ', as there is no NVIDIA GPU here'}`);
    if (gpus.length) for (const line of why.slice(0, 8)) say(`  ${stripVTControlCharacters(line)}`);
    if (gpus.length) process.exitCode = 1;
  }
  say('undo with: npm run setup:tensorflow -- --undo');
}

function stock() {
  rmSync(packageFolder, { recursive: true, force: true });
  try {
    addPackage('--foreground-scripts');
  } catch (error) {
    throw new Problem(`the package\u2019s own download failed: ${error.message}. Without --stock another source is used`);
  }
  return check('stock', nvidiaGpus());
}

function undo() {
  const there = [home, packageFolder].filter((path) => existsSync(path));
  for (const path of there) rmSync(path, { recursive: true, force: true });
  say(there.length ? `removed ${there.map((path) => relative(root, path)).join(' and ')}` : 'nothing was set up');
}

function findCompiler() {
  const candidates = [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean);
  const found = candidates.find((command) => spawnSync(command, ['--version']).status === 0);
  if (found) return found;
  throw new Problem(
    `no C++ compiler (tried ${candidates.join(', ')}). Debian and Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++`,
  );
}

/** Names of the GPUs that the driver lists; empty without a driver. */
function nvidiaGpus() {
  const { status, stdout } = spawnSync('nvidia-smi', ['--query-gpu=name', '--format=csv,noheader'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n').filter(Boolean) : [];
}

function npm(...args) {
  const own = process.env.npm_execpath;
  const [command, before] = own?.endsWith('.js') ? [process.execPath, [own]] : ['npm', []];
  const { status } = spawnSync(command, [...before, ...args], { cwd: root, stdio: ['ignore', process.stderr, process.stderr] });
  if (status !== 0) throw new Problem(`npm ${args[0]} failed; its messages are above`);
}

function runNode(script) {
  spawnSync(process.execPath, [join(root, script)], { cwd: root, stdio: 'inherit' });
}

function seconds(started) {
  return `${((Date.now() - started) / 1000).toFixed(1)} s`;
}

function lastLines(text, count) {
  return stripVTControlCharacters(text).trim().split('\n').slice(-count).join('\n');
}

function say(text) {
  process.stderr.write(`setup: ${text}\n`);
}
