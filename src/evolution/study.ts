/**
 * The claims that the classroom rests on, measured on several seeds.
 *
 * A seed's line of work: base -> GRPO -> pairs -> four ways on from the same GRPO policy and the same pool of attempts. Up to there, and with the arm
 * `ofsd`, it is round one of `evolve` with the same seed, draw for draw; but no gate stands before the arms, as they are to be measured whatever it would say:
 *
 *     ofsd            the paper: wrong sibling preferred, privileged teacher
 *     ofsd-correct    the same, correct sibling preferred
 *     no-reference    the control: the teacher reads the standard prompt, so there is nothing to learn
 *     sft             the other control: cross entropy on the references themselves, same number of steps
 */
import { crossEntropyLoss } from '../engines/cross-entropy.js';
import type { Engine } from '../engines/engine.js';
import { type GrpoMetrics, grpo } from '../grpo/grpo.js';
import { type AdapterSettings, type OfsdMetrics, type OfsdSettings, ofsd, type TrainAdapterOptions, trainAdapter } from '../ofsd/ofsd.js';
import type { Question } from '../rollout/question.js';
import type { Environment } from '../rollout/rollout.js';
import { ownTokens } from '../rollout/scored.js';
import type { Group } from '../rollout/trajectory.js';
import { type Pair, pairSiblings } from '../siblings/siblings.js';
import { evaluateBoth, summaryOf } from './evaluation.js';
import { makePairs } from './pairs.js';
import { checkEvolutionSettings, type EvolutionSettings, type SiblingSettings } from './settings.js';
import { stageSeed } from './stages.js';
import type { TeacherCheck } from './teacher-check.js';

export const STUDY_ARMS = ['ofsd', 'ofsd-correct', 'no-reference', 'sft'] as const;
export type StudyArm = (typeof STUDY_ARMS)[number];

/** A study's settings are those of a round of `evolve`. Which sibling is taken and what the teacher reads is what its arms differ in. */
export interface StudySettings extends Pick<EvolutionSettings, 'grpo' | 'seed'> {
  readonly siblings: Omit<SiblingSettings, 'prefer'>;
  readonly ofsd: Omit<EvolutionSettings['ofsd'], 'privileged'>;
}

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
  /** null where there is no pair, and so no arm. */
  readonly teacher: TeacherCheck | null;
  readonly arms: Readonly<Partial<Record<StudyArm, StudySummary & { readonly steps?: readonly OfsdMetrics[] }>>>;
  readonly seconds: number;
}

export type StudySummary = ReturnType<typeof summaryOf>;

export interface StudyOptions {
  readonly arms?: readonly StudyArm[];
  readonly onProgress?: (what: string, finished: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Runs one seed. `openEngine` gives a fresh engine over the base policy; `scratch` is a folder for the GRPO checkpoint that every arm starts from.
 *
 * @throws RangeError for settings that cannot be meant
 */
export async function study(
  openEngine: () => Promise<Engine>,
  scratch: string,
  environment: Environment,
  train: readonly Question[],
  evaluation: readonly Question[],
  settings: StudySettings,
  { arms = STUDY_ARMS, onProgress, signal }: StudyOptions = {},
): Promise<StudyRecord> {
  const { grpo: grpoSettings, siblings, ofsd: ofsdSettings, seed } = settings;
  const round: EvolutionSettings = {
    rounds: 1,
    grpo: grpoSettings,
    siblings: { ...siblings, prefer: 'wrong' },
    gate: null,
    ofsd: { ...ofsdSettings, privileged: 'reference' },
    seed,
  };
  checkEvolutionSettings(round);
  const unknown = arms.find((arm) => !STUDY_ARMS.includes(arm));
  if (unknown !== undefined) throw new RangeError(`arms: expected some of ${STUDY_ARMS.join(', ')}, got ${unknown}`);
  const started = performance.now();
  const engine = await openEngine();
  try {
    const evaluate = async (what: string) =>
      summaryOf(
        await evaluateBoth(engine, environment, evaluation, {
          seed: stageSeed(seed, 'evaluation'),
          signal,
          onProgress: (done, total) => onProgress?.(`evaluate ${what}`, done, total),
        }),
      );
    const base = await evaluate('base');
    const grpoSteps = await grpo(
      engine,
      environment,
      train,
      { ...round.grpo, seed: stageSeed(seed, '1-grpo') },
      { signal, onStep: ({ step }) => onProgress?.('grpo', step, round.grpo.steps) },
    );
    await engine.save(scratch);
    const afterGrpo = await evaluate('grpo');
    let groups: readonly Group[] = [];
    const { pairing, teacher } = await makePairs(engine, environment, train, round.siblings, {
      seed: stageSeed(seed, '1-pairs'),
      temperature: round.grpo.temperature,
      signal,
      onProgress: (done, total) => onProgress?.('pairs', done, total),
      onGroups: (made) => {
        groups = made;
      },
    });
    const correct = pairSiblings(groups, { prefer: 'correct' });
    const results: Partial<Record<StudyArm, StudySummary & { steps?: readonly OfsdMetrics[] }>> = {};
    for (const arm of pairing.pairs.length ? arms : []) {
      signal?.throwIfAborted();
      await engine.load(scratch);
      const adapter = { ...round.ofsd, seed: stageSeed(seed, '1-ofsd') };
      const distil = (pairs: readonly Pair[], privileged: OfsdSettings['privileged']) =>
        ofsd(
          engine,
          environment.protocol,
          pairs,
          { ...adapter, privileged },
          { signal, onStep: ({ step }, total) => onProgress?.(arm, step, total) },
        );
      const train = {
        ofsd: () => distil(pairing.pairs, 'reference'),
        'ofsd-correct': () => distil(correct.pairs, 'reference'),
        'no-reference': () => distil(pairing.pairs, 'none'),
        sft: () => sftOnReferences(engine, pairing.pairs, adapter, { signal, onStep: ({ step, total }) => onProgress?.(arm, step, total) }),
      } as const;
      const steps = await train[arm]();
      results[arm] = { ...(await evaluate(arm)), ...(steps && { steps }) };
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
  settings: AdapterSettings,
  options: TrainAdapterOptions = {},
): Promise<void> {
  const references = pairs.map(({ reference }) => ownTokens(reference));
  await trainAdapter(engine, references, crossEntropyLoss, settings, options);
}
