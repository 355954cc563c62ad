/** A whole evolution in miniature: two rounds of GRPO and self-distillation of a tiny policy, with a run on disk. */

import { inProcessEngine } from '../../src/engines/in-process.js';
import { type EvolutionEvent, evolve } from '../../src/evolution/evolve.js';
import { classroomEvolution, type EvolutionSettings } from '../../src/evolution/settings.js';
import { loadPolicy } from '../../src/policy/checkpoint.js';
import { loadTokenizer } from '../../src/policy/tokenizer.js';
import { RunFolder } from '../../src/runs/run-folder.js';
import { tinyEnvironment, tinyQuestions } from '../rollout/shelf.js';

const { grpo, ofsd } = classroomEvolution;

export const tinyEvolution: EvolutionSettings = {
  rounds: 2,
  grpo: { ...grpo, steps: 3, questionsPerStep: 4, groupSize: 4, warmUpSteps: 1, optimizer: { ...grpo.optimizer, learningRate: 0.01 } },
  siblings: { questions: 4, attempts: 4, prefer: 'wrong' },
  gate: null,
  ofsd: { ...ofsd, epochs: 2, batchSize: 2, optimizer: { ...ofsd.optimizer, learningRate: 0.01 } },
  seed: 3,
};

/** Begins or resumes the run at `path` from the policy in `base`, as far as it gets. A backend must be active. */
export async function tinyRun(
  base: string,
  path: string,
  { signal, onEvent }: { readonly signal?: AbortSignal; readonly onEvent?: (event: EvolutionEvent) => void } = {},
): Promise<void> {
  const run = await RunFolder.open(path, tinyEvolution, { resume: true });
  const engine = inProcessEngine(await loadPolicy(base), await loadTokenizer(base), { tokenizerFolder: base });
  try {
    await evolve(engine, tinyEnvironment, tinyQuestions, tinyEvolution, { run, evaluation: tinyQuestions.slice(0, 2), signal, onEvent });
  } finally {
    engine.dispose();
  }
}
