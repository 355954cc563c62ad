/**
 * Imports modules one after the other in one process, and says what each did: `node run-examples.mjs results.json a.mjs b.mjs …`.
 *
 * A module tells `checked(line, value, expected)` what a line gave. `…` in what is expected stands for anything.
 */
import { writeFileSync } from 'node:fs';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';

const [results, ...modules] = process.argv.slice(2);

let failures = [];
globalThis.checked = (line, value, expected) => {
  const forms = [inspect(value, { compact: true, breakLength: Infinity, depth: Infinity }), JSON.stringify(value) ?? 'undefined'];
  if (!forms.some((form) => matches(form, expected))) failures.push(`line ${line} gives ${forms[0]}, and its comment says ${expected}`);
};

/** Of any white space one is as good as another. */
const matches = (form, expected) => {
  const parts = expected.split('…').map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&').replace(/\s+/g, '\\s+'));
  return new RegExp(`^${parts.join('.*')}$`, 's').test(form);
};

const said = [];
for (const module of modules) {
  failures = [];
  const started = performance.now();
  try {
    await import(pathToFileURL(module).href);
  } catch (error) {
    failures.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  said.push({ module, failures, seconds: (performance.now() - started) / 1000 });
  writeFileSync(results, JSON.stringify(said));
}
process.exit(0); // whatever threads, servers and timers the examples have left
