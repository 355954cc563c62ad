/** The options that set the method, shared by `evolve` and `study`, and the settings they stand for. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { classroomEvolution, type EvolutionSettings, type GateSettings, type SiblingSettings } from '../evolution/settings.js';
import type { Question } from '../rollout/question.js';
import { UsageError } from './io.js';
import { integer, positive } from './options.js';

export interface EvolutionFlags {
  readonly grpoSteps: number;
  readonly questionsPerStep: number;
  readonly groupSize: number;
  readonly learningRate: number;
  readonly siblingQuestions: number;
  readonly attempts: number;
  readonly ofsdLearningRate: number;
  /** Nats; `none` is no clamp. */
  readonly clamp: number | 'none';
}

const { grpo, siblings, ofsd, gate } = classroomEvolution as typeof classroomEvolution & { readonly gate: GateSettings };

export function addEvolutionOptions(command: Command): Command {
  return command
    .option('--grpo-steps <n>', 'GRPO: optimisation phases a round', integer(1), grpo.steps)
    .option('--questions-per-step <n>', 'GRPO: questions a step', integer(1), grpo.questionsPerStep)
    .option('--group-size <n>', 'GRPO: attempts at a question', integer(2), grpo.groupSize)
    .option('--learning-rate <rate>', 'GRPO: peak learning rate', positive(), grpo.optimizer.learningRate)
    .option('--sibling-questions <n>', 'pairs: training questions attempted afresh', integer(1), siblings.questions)
    .option('--attempts <n>', 'pairs: attempts at each of them', integer(2), siblings.attempts)
    .option('--ofsd-learning-rate <rate>', 'self-distillation: peak learning rate', positive(), ofsd.optimizer.learningRate)
    .option('--clamp <nats|none>', 'self-distillation: bound of one vocabulary entry’s contribution', clamp, ofsd.clamp);
}

/** @throws UsageError where more questions are to be attempted, each once, than there are */
export function checkSiblingQuestions({ siblingQuestions }: Pick<EvolutionFlags, 'siblingQuestions'>, train: readonly Question[]): void {
  if (siblingQuestions > train.length)
    throw new UsageError(
      `--sibling-questions ${siblingQuestions}: expected at most ${train.length}, as many as there are training questions`,
    );
}

/** Which sibling the student is. */
export const preferOption = () =>
  new Option('--prefer <kind>', 'pairs: which sibling to distil on').choices(['wrong', 'correct', 'only-correct']).default(siblings.prefer);

/** When a round distils. */
export interface GateFlags {
  readonly gateTeacherGain: number;
  readonly gateSearchGap: number;
  /** false: distil whatever the pairs say. */
  readonly gate: boolean;
}

export function addGateOptions(command: Command): Command {
  return command
    .option(
      '--gate-teacher-gain <share>',
      'gate: distil only if the teacher’s exact match (0 to 1) is above its student’s by more than this',
      share,
      gate.teacherGain,
    )
    .option(
      '--gate-search-gap <n>',
      'gate: distil only if students search more often than their references, a pair, by more than this',
      finite,
      gate.searchGap,
    )
    .option('--no-gate', 'distil whatever the pairs say');
}

/** The classroom's settings with the flags in their places. */
export function evolutionSettings(
  flags: EvolutionFlags &
    Partial<GateFlags> & { readonly seed: number; readonly rounds?: number; readonly prefer?: SiblingSettings['prefer'] },
): EvolutionSettings {
  return {
    rounds: flags.rounds ?? classroomEvolution.rounds,
    grpo: {
      ...grpo,
      steps: flags.grpoSteps,
      questionsPerStep: flags.questionsPerStep,
      groupSize: flags.groupSize,
      optimizer: { ...grpo.optimizer, learningRate: flags.learningRate },
    },
    siblings: { questions: flags.siblingQuestions, attempts: flags.attempts, prefer: flags.prefer ?? siblings.prefer },
    gate:
      flags.gate === false
        ? null
        : { teacherGain: flags.gateTeacherGain ?? gate.teacherGain, searchGap: flags.gateSearchGap ?? gate.searchGap },
    ofsd: {
      ...ofsd,
      clamp: flags.clamp === 'none' ? Number.POSITIVE_INFINITY : flags.clamp,
      optimizer: { ...ofsd.optimizer, learningRate: flags.ofsdLearningRate },
    },
    seed: flags.seed,
  };
}

/** A difference of two shares: above 1 the gate would never open, below −1 never shut. */
function share(text: string): number {
  const value = finite(text);
  if (Math.abs(value) <= 1) return value;
  throw new InvalidArgumentError('Expected a number from -1 to 1; --no-gate distils always.');
}

function finite(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('Expected a finite number.');
}

function clamp(text: string): number | 'none' {
  if (text === 'none') return 'none';
  try {
    return positive()(text);
  } catch {
    throw new InvalidArgumentError('Expected a number above 0, in nats, or none.');
  }
}
