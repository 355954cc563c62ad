/**
 * Starts the tslab kernel at the project's root, so that a notebook in any folder imports the package by its own name.
 *
 *     node launch.cjs <connection file>
 *
 * tslab takes its working directory as TypeScript's `rootDir` and resolves packages from there; Jupyter starts a kernel in the notebook's
 * folder. Four things are done first: find the root, make sure that `node_modules/search-e1` is the root itself, say clearly what is missing, and
 * let no request come before the kernel can answer it.
 */
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const connectionFile = process.argv[2];
if (!connectionFile)
  stop('Got no connection file.', 'Jupyter starts this file by itself: choose the kernel "TypeScript (search-e1)" in a notebook.');

const root = findRoot();
const connection = path.resolve(connectionFile);
process.chdir(root);

const tslab = path.join(root, 'node_modules', 'tslab', 'dist', 'main.js');
if (!fs.existsSync(tslab)) stop(`tslab is not installed in ${root}.`, 'Run "npm start" (or "npm install") there.');
linkPackage();
if (!fs.existsSync(path.join(root, require(path.join(root, 'package.json')).main))) {
  stop(`The package is not built in ${root}.`, 'Run "npm start" (or "npm run build") there.');
}
exitWithParent();
bindAtOnce();
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
  setInterval(() => {
    try {
      process.kill(parent, 0);
    } catch (error) {
      if (error.code === 'ESRCH') process.exit(1);
    }
  }, 2000).unref();
}

/**
 * tslab reads from its first socket while threads still bind the others, and zeromq throws on any use of a socket that is being bound: a request
 * that comes in between is never answered. Bound in one turn of the event loop, all sockets are ready before the first request is read.
 */
function bindAtOnce() {
  const { ZmqServer } = require(path.join(path.dirname(tslab), 'jupyter.js'));
  ZmqServer.prototype.bindSocket = async function (socket, port) {
    socket.bindSync(`${this.connInfo.transport}://${this.connInfo.ip}:${port}`);
  };
}

function stop(problem, remedy) {
  process.stderr.write(`search-e1 kernel: ${problem} ${remedy}\n`);
  process.exit(1);
}
