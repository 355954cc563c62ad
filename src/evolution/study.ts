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
import type { Summary } from '../benchmarks/evaluate.js';
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

/**
 * A way on from the same GRPO policy and the same attempts:
 *
 * - `ofsd`: the paper, wrong sibling preferred, privileged teacher.
 * - `ofsd-correct`: the same, correct sibling preferred.
 * - `no-reference`: the control whose teacher reads the standard prompt, so that there is nothing to learn.
 * - `sft`: the other control, cross entropy on the references, the same number of steps.
 */
export type StudyArm = 'ofsd' | 'ofsd-correct' | 'no-reference' | 'sft';

export const STUDY_ARMS: readonly StudyArm[] = ['ofsd', 'ofsd-correct', 'no-reference', 'sft'];

/** A study's settings are those of a round of `evolve`. Which sibling is taken and what the teacher reads is what its arms differ in. */
export interface StudySettings extends Pick<EvolutionSettings, 'grpo' | 'seed'> {
  /** How many questions are attempted, how often. */
  readonly siblings: Omit<SiblingSettings, 'prefer'>;
  /** The adapter's settings in every arm, `sft` too. */
  readonly ofsd: Omit<EvolutionSettings['ofsd'], 'privileged'>;
}

/** One seed's results. */
export interface StudyRecord {
  /** That of its settings. */
  readonly seed: number;
  /** Evaluation of the policy that it began with. */
  readonly base: StudySummary;
  /** Evaluation after GRPO: what every arm starts from. */
  readonly grpo: StudySummary;
  /** Metrics of every GRPO step. */
  readonly grpoSteps: readonly GrpoMetrics[];
  /** The pairs of the arm `ofsd`: how many, how many groups gave none, searches of students less those of references, and how many students were wrong. */
  readonly pairs: {
    readonly count: number;
    readonly skipped: Readonly<Record<string, number>>;
    readonly searchGap: number;
    readonly wrongStudents: number;
  };
  /** What the reference is worth to the teacher; null where there is no pair, and so no arm. */
  readonly teacher: TeacherCheck | null;
  /** Evaluation after each arm, with the metrics of its steps; `sft` has none. */
  readonly arms: Readonly<Partial<Record<StudyArm, StudySummary & { readonly steps?: readonly OfsdMetrics[] }>>>;
  /** Wall clock of all of it. */
  readonly seconds: number;
}

/** An evaluation as a study keeps it. */
export interface StudySummary {
  /** Of the likeliest episode of each question. */
  readonly greedy: Summary;
  /** Of one episode of each, sampled at temperature 1. */
  readonly sampled: Summary;
}

/** Options of `study`. */
export interface StudyOptions {
  /** Which are run, in this order; default all four. */
  readonly arms?: readonly StudyArm[];
  /** Called as work goes on; `what` is `evaluate base`, `grpo`, `pairs`, the name of an arm, … */
  readonly onProgress?: (what: string, finished: number, total: number) => void;
  /** Ends the study: the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Measures on one seed what distilling brings: base -> GRPO -> pairs -> up to four ways on from the same GRPO policy and the same attempts (`StudyArm`), each
 * evaluated.
 *
 * Up to the arms, and with the arm `ofsd`, it is round one of `evolve` with the same seed, draw for draw; but no gate stands before the arms, as they are to
 * be measured whatever it would say.
 *
 * @param openEngine gives a fresh engine over the base policy; the study disposes it
 * @param scratch a folder for the GRPO checkpoint that every arm starts from
 * @throws RangeError for settings that cannot be meant, and an arm that there is not
 *
 * @example
 * ```ts
 * import { mkdtempSync } from 'node:fs';
 * import { tmpdir } from 'node:os';
 * import { CLASSROOM_SEARCH, classroomEvolution, classroomProtocol, createSearcher, openEngine, tinypedia } from 'search-e1';
 * import { study } from 'search-e1/evolution';
 *
 * const { passages, sets, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const { grpo, ofsd } = classroomEvolution;
 * const settings = { seed: 1, grpo: { ...grpo, steps: 1, questionsPerStep: 4 }, siblings: { questions: 8, attempts: 5 }, ofsd };
 * const [scratch, few] = [mkdtempSync(`${tmpdir()}/study-`), sets['nq-mini'].slice(0, 4)];
 * const record = await study(() => openEngine(), scratch, environment, train, few, settings, { arms: ['ofsd', 'sft'] });
 * Object.keys(record.arms); // [ 'ofsd', 'sft' ]
 * ```
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

/**
 * Supervised fine-tuning (SFT) on the references, with OFSD's adapter, optimiser and schedule: the control that tells what of OFSD's effect is the data's,
 * what the loss's.
 *
 * The loss is cross entropy, mean over the references' own tokens. Trains the engine's policy in place; errors are those of `trainAdapter`.
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomOfsd, classroomProtocol, createSearcher, makePairs, openEngine, tinypedia } from 'search-e1';
 * import { sftOnReferences } from 'search-e1/evolution';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const engine = await openEngine();
 * const { pairing } = await makePairs(engine, environment, train, { questions: 8, attempts: 5, prefer: 'wrong' }, { seed: 1 });
 * const steps: number[] = [];
 * await sftOnReferences(engine, pairing.pairs, classroomOfsd, { onStep: ({ step }) => void steps.push(step) });
 * steps; // [ 1 ]
 * ```
 */
export async function sftOnReferences(
  engine: Engine,
  pairs: readonly Pair[],
  settings: AdapterSettings,
  options: TrainAdapterOptions = {},
): Promise<void> {
  const references = pairs.map(({ reference }) => ownTokens(reference));
  await trainAdapter(engine, references, crossEntropyLoss, settings, options);
}
