/**
 * The claims that the classroom rests on, measured on several seeds.
 *
 * A seed's line of work: base -> GRPO -> pairs -> four ways on from the same GRPO policy and the same pool of attempts:
 *
 *     ofsd            the paper: wrong sibling preferred, privileged teacher
 *     ofsd-correct    the same, correct sibling preferred
 *     no-reference    the control: the teacher reads the standard prompt, so there is nothing to learn
 *     sft             the other control: cross entropy on the references themselves, same number of steps
 */
import { crossEntropyLoss } from '../engines/cross-entropy.js';
import type { Engine } from '../engines/engine.js';
import { type GrpoMetrics, grpo } from '../grpo/grpo.js';
import { type OfsdMetrics, type OfsdSettings, ofsd, type TrainAdapterOptions, trainAdapter } from '../ofsd/ofsd.js';
import { random } from '../random.js';
import type { Question } from '../rollout/question.js';
import { type Environment, rolloutGroups } from '../rollout/rollout.js';
import { ownTokens } from '../rollout/scored.js';
import { type Pair, pairSiblings } from '../siblings/siblings.js';
import { type EvolutionSettings, evaluateBoth, summaryOf } from './evolve.js';
import { checkTeacher, type TeacherCheck } from './teacher-check.js';

export const STUDY_ARMS = ['ofsd', 'ofsd-correct', 'no-reference', 'sft'] as const;
export type StudyArm = (typeof STUDY_ARMS)[number];

/** One seed's results. */
export interface StudyRecord {
  readonly seed: number;
  readonly base: StudySummary;
  readonly grpo: StudySummary;
  readonly grpoSteps: readonly GrpoMetrics[];
  readonly pairs: {
    readonly count: number;
    readonly skipped: Readonly<Record<string, number>>;
    readonly searchGap: number;
    readonly wrongStudents: number;
  };
  readonly teacher: TeacherCheck;
  readonly arms: Readonly<Partial<Record<StudyArm, StudySummary & { readonly steps?: readonly OfsdMetrics[] }>>>;
  readonly seconds: number;
}

export type StudySummary = ReturnType<typeof summaryOf>;

export interface StudyOptions {
  readonly arms?: readonly StudyArm[];
  readonly onProgress?: (what: string, finished: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Runs one seed. `openEngine` gives a fresh engine over the base policy; `scratch` is a folder for the GRPO checkpoint that every arm starts from. */
export async function study(
  openEngine: () => Promise<Engine>,
  scratch: string,
  environment: Environment,
  train: readonly Question[],
  evaluation: readonly Question[],
  settings: EvolutionSettings,
  { arms = STUDY_ARMS, onProgress, signal }: StudyOptions = {},
): Promise<StudyRecord> {
  const started = performance.now();
  const { seed } = settings;
  const engine = await openEngine();
  try {
    const evaluate = async (what: string) =>
      summaryOf(
        await evaluateBoth(engine, environment, evaluation, {
          seed,
          signal,
          onProgress: (done, total) => onProgress?.(`evaluate ${what}`, done, total),
        }),
      );
    const base = await evaluate('base');
    const grpoSteps = await grpo(
      engine,
      environment,
      train,
      { ...settings.grpo, seed },
      { signal, onStep: ({ step }) => onProgress?.('grpo', step, settings.grpo.steps) },
    );
    await engine.save(scratch);
    const afterGrpo = await evaluate('grpo');
    const questions = random(seed, 'siblings').shuffle(train).slice(0, settings.siblings.questions);
    const groups = await rolloutGroups(engine, environment, questions, settings.siblings.attempts, {
      seed: random(seed, 'attempts').integer(2 ** 31),
      signal,
      onProgress: (done, total) => onProgress?.('siblings', done, total),
    });
    const pairing = pairSiblings(groups, { prefer: 'wrong' });
    const correct = pairSiblings(groups, { prefer: 'correct' });
    const teacher = await checkTeacher(engine, environment, pairing.pairs, { seed, signal });
    const results: Record<string, StudySummary & { steps?: readonly OfsdMetrics[] }> = {};
    for (const arm of arms) {
      signal?.throwIfAborted();
      await engine.load(scratch);
      const onStep = ({ step }: OfsdMetrics, total: number) => onProgress?.(arm, step, total);
      const distil = (pairs: readonly Pair[], privileged: OfsdSettings['privileged']) =>
        ofsd(engine, environment.protocol, pairs, { ...settings.ofsd, seed, privileged }, { signal, onStep });
      if (arm === 'sft') {
        await sftOnReferences(
          engine,
          pairing.pairs,
          { ...settings.ofsd, seed },
          { signal, onStep: ({ step, total }) => onProgress?.(arm, step, total) },
        );
        results[arm] = await evaluate(arm);
      } else {
        const steps = await distil(arm === 'ofsd-correct' ? correct.pairs : pairing.pairs, arm === 'no-reference' ? 'none' : 'reference');
        results[arm] = { ...(await evaluate(arm)), steps };
      }
    }
    return {
      seed,
      base,
      grpo: afterGrpo,
      grpoSteps,
      pairs: {
        count: pairing.pairs.length,
        skipped: pairing.skipped,
        searchGap: pairing.searchGap,
        wrongStudents: pairing.pairs.filter(({ student }) => student.reward !== 1).length,
      },
      teacher,
      arms: results,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    engine.dispose();
  }
}

/** Supervised fine-tuning (SFT) on the references, with OFSD's adapter, optimiser and schedule: what of OFSD's effect is the data's, what the loss's. */
export async function sftOnReferences(
  engine: Engine,
  pairs: readonly Pair[],
  settings: OfsdSettings,
  options: TrainAdapterOptions = {},
): Promise<void> {
  const references = pairs.map(({ reference }) => ownTokens(reference));
  await trainAdapter(engine, references, crossEntropyLoss, settings, options);
}
