/**
 * Starts the tslab kernel in the notebook's folder, with this project's packages beneath the notebook's own.
 *
 *     node launch.cjs <connection file>
 *
 * Jupyter starts a kernel in the notebook's folder, and there it stays: `data.txt`, `./helper` and `node_modules` are the notebook's. What is not
 * found there comes from the clone. The files beside this one mend what tslab 1.0.22 leaves open: `modules.cjs` where imports come from,
 * `cells.cjs` what cells share and how their errors read, `sending.cjs` that all output arrives, `watch-parent.cjs` that the kernel ends with its parent.
 */
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { Worker } = require('node:worker_threads');

const connectionFile = process.argv[2];
if (!connectionFile)
  stop('Got no connection file.', 'Jupyter starts this file by itself: choose the kernel "TypeScript (search-e1)" in a notebook.');

const root = findRoot();
const connection = path.resolve(connectionFile);
const tslab = path.join(root, 'node_modules', 'tslab', 'dist', 'main.js');
if (!fs.existsSync(tslab)) stop(`tslab is not installed in ${root}.`, 'Run "npm start" (or "npm install") there.');
linkPackage();
if (!fs.existsSync(path.join(root, require(path.join(root, 'package.json')).main))) {
  stop(`The package is not built in ${root}.`, 'Run "npm start" (or "npm run build") there.');
}
exitWithParent();
const dist = path.dirname(tslab);
const { mendCells, writtenOut } = require('./cells.cjs');
require('./modules.cjs').fallBackTo(root, dist, writtenOut);
mendCells(dist);
require('./sending.cjs').mendSending(dist);
require(tslab).startKernel({ configPath: connection, enableFindLocal: false, jsKernel: false, globalVersion: '' });

/** An explicit root, else the clone this spec lies in, else the clone the notebook lies in, else the one that installed this copy. */
function findRoot() {
  const explicit = process.env.SEARCH_E1_ROOT;
  if (explicit)
    return isRoot(explicit)
      ? fs.realpathSync(explicit)
      : stop(`SEARCH_E1_ROOT is ${explicit}, which is not a search-e1 checkout.`, 'Correct or unset it.');
  const recorded = path.join(__dirname, 'root.json');
  const found =
    rootAbove(__dirname) ??
    rootAbove(process.cwd()) ??
    (fs.existsSync(recorded) ? JSON.parse(fs.readFileSync(recorded, 'utf8')).root : undefined);
  if (!found)
    stop(
      `Found no search-e1 checkout above ${__dirname} or ${process.cwd()}.`,
      'Run "npm run kernel:install" in the checkout, or set SEARCH_E1_ROOT.',
    );
  if (!isRoot(found))
    stop(
      `This kernel was installed from ${found}, where no search-e1 checkout is any more.`,
      'Run "npm run kernel:install" in the new place.',
    );
  return fs.realpathSync(found);
}

function rootAbove(start) {
  for (let folder = path.resolve(start); ; folder = path.dirname(folder)) {
    if (isRoot(folder)) return folder;
    if (folder === path.dirname(folder)) return undefined;
  }
}

function isRoot(folder) {
  try {
    return JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')).name === 'search-e1';
  } catch {
    return false;
  }
}

/** `npm install` removes links it does not know, so the link is looked after at every start. Two kernels may start at once. */
function linkPackage() {
  const link = path.join(root, 'node_modules', 'search-e1');
  for (let attempt = 0; ; attempt++) {
    const stats = fs.lstatSync(link, { throwIfNoEntry: false });
    if (stats && !stats.isSymbolicLink()) stop(`${link} is a folder, not a link to the checkout.`, 'Remove it and start the kernel again.');
    if (stats && fs.existsSync(link) && fs.realpathSync(link) === root) return;
    try {
      if (stats) fs.unlinkSync(link);
      fs.symlinkSync(root, link, 'junction');
    } catch (error) {
      if (attempt === 3) stop(`Could not link ${link} to the checkout: ${error.message}`, 'Check that node_modules is writable.');
    }
  }
}

/** Jupyter and the notebook runner name their process in JPY_PARENT_PID: without it alive, nobody can stop this kernel. */
function exitWithParent() {
  const parent = Number(process.env.JPY_PARENT_PID);
  if (!Number.isInteger(parent) || parent <= 1) return;
  // In a thread of its own: a cell that computes without a pause lets no timer of this one run.
  new Worker(path.join(__dirname, 'watch-parent.cjs'), { workerData: { parent } }).unref();
}

function stop(problem, remedy) {
  process.stderr.write(`search-e1 kernel: ${problem} ${remedy}\n`);
  process.exit(1);
}
