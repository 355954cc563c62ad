/** The kernels' checks against their formulas, on the card that is measured. */
import { CHECKS } from '../../test/tensors/webgpu-checks.js';

export interface CheckResult {
  readonly name: string;
  readonly tolerance: number;
  /** Null where it failed with an error. */
  readonly difference: number | null;
  readonly error?: string;
}

/** Runs them all; none stops the others. */
export async function runChecks(say: (text: string) => void): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const { name, tolerance, run } of CHECKS) {
    try {
      const difference = await run();
      results.push({ name, tolerance, difference: Number.isFinite(difference) ? difference : 1e30 });
      if (!(difference <= tolerance)) say(`WRONG ${name}: differs by ${difference}, allowed ${tolerance}`);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      results.push({ name, tolerance, difference: null, error: message });
      say(`FAILED ${name}: ${message}`);
    }
  }
  say(
    `${results.filter(({ difference, tolerance }) => difference !== null && difference <= tolerance).length} of ${results.length} kernels equal their formula`,
  );
  return results;
}
