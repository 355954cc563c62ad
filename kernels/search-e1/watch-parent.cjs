/**
 * Ends the kernel when its parent has ended, whatever the kernel's main thread is doing.
 *
 * A parent that was killed is noticed in two ways: its process is gone, or this process has been handed to another parent. The second holds
 * also where a dead parent stays in the process table, or its number has been taken by another process.
 */
'use strict';
const { workerData } = require('node:worker_threads');

const INTERVAL = 1000; // ms

const { parent } = workerData;
const child = process.ppid === parent;

setInterval(() => {
  if (isAlive(parent) && (!child || process.ppid === parent)) return;
  // With all that the kernel has started, where it leads a group of its own: as Jupyter and the notebook runner start it.
  if (process.platform === 'win32' || !kill(-process.pid)) kill(process.pid);
}, INTERVAL);

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code !== 'ESRCH';
  }
}

function kill(pid) {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}
