/** The backend and the policy that a command works with, said on stderr before anything is computed. */
import type { Engine } from '../engines/engine.js';
import { type BackendReport, startBackend } from '../tensors/backend.js';
import { openPolicy } from '../tinypedia/base-policy.js';
import { givenBy, type Io } from './io.js';
import type { CommonFlags } from './options.js';
import { printable } from './printable.js';

/** Starts the chosen backend and says which it is, with the reasons for every fallback. */
export async function openBackend(io: Io, { backend }: Pick<CommonFlags, 'backend'>): Promise<BackendReport> {
  // The variable is the option's default, and the option wins over it; `startBackend` itself looks at the variable first.
  if (process.env.SEARCH_E1_BACKEND) process.env.SEARCH_E1_BACKEND = backend;
  const report = await givenBy(`--backend ${backend}`, () => startBackend({ backend }));
  const kernels = report.kernels === 'none' ? '' : `, own kernels (${report.kernels})`;
  io.stderr.write(`backend: ${printable(`${report.name}: ${report.description}${kernels}`)}\n`);
  for (const note of report.notes) io.stderr.write(`  not used: ${printable(note)}\n`);
  return report;
}

/** An engine over a checkpoint folder; without one the base policy that comes with the package. */
export const openEngine = (folder: string | undefined): Promise<Engine> => givenBy('--policy', () => openPolicy(folder));

/** How the policy is called in results. */
export const policyName = (folder: string | undefined): string => folder ?? 'base policy';
