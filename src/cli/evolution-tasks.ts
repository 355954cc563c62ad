/** The stages of the loop as a list of tasks: what each is doing, how it went, how long the rest will take. */

import { summarize } from '../benchmarks/evaluate.js';
import { duration } from '../display/progress.js';
import type { Evaluation } from '../evolution/evaluation.js';
import type { EvolutionEvent } from '../evolution/evolve.js';
import type { EvolutionSettings } from '../evolution/settings.js';
import { type Stage, stagesOf } from '../evolution/stages.js';
import type { Note, Task } from './tasks.js';

/** Where the run is, and how many questions every evaluation asks. */
export interface Place {
  readonly finished: readonly string[];
  readonly step: number;
  readonly evaluation: number;
}

/** The tasks that `work` stands behind; it is begun with the first of them and hands its events on. */
export function evolutionTasks(
  settings: EvolutionSettings,
  { finished, step, evaluation }: Place,
  work: (onEvent: (event: EvolutionEvent) => void) => Promise<void>,
): Task[] {
  const stages = stagesOf(settings.rounds).filter(({ name }) => !finished.includes(name));
  const open = stages.map(({ name }) => name);
  const kindOf = new Map(stages.map(({ name, kind }) => [name, kind]));
  const clock = timeLeft(stages, settings, evaluation);
  const notes = new Map<string, Note>();
  const outcomes = new Map<string, string>();
  const ends = new Map(open.map((stage) => [stage, deferred()]));
  let current: string | undefined;
  let grpoStep = step;
  if (open.length && kindOf.get(open[0]) === 'grpo') clock.skip(open[0], step / settings.grpo.steps);

  const say = (stage: string, text: string, isNew = false) => notes.get(stage)?.(`${text}${clock.text()}`, { isNew });
  const tell = (stage: string, text: string) => outcomes.set(stage, [outcomes.get(stage), text].filter(Boolean).join(' · '));
  const finish = () => {
    if (current === undefined) return;
    clock.done(current, 1);
    ends.get(current)?.resolve();
  };

  const onEvent = (event: EvolutionEvent) => {
    const { stage } = event;
    switch (event.kind) {
      case 'stage':
        finish();
        current = stage;
        if (kindOf.get(stage) === 'base') say(stage, `evaluating ${evaluation} questions, greedy and sampled`, true);
        break;
      case 'rollouts': {
        const share = event.finished / event.total;
        const grpo = kindOf.get(stage) === 'grpo';
        clock.done(stage, grpo ? (grpoStep + share / 2) / settings.grpo.steps : share / 2);
        const what = grpo ? `step ${grpoStep + 1} of ${settings.grpo.steps}: episode` : 'attempt';
        say(stage, `${what} ${event.finished} of ${event.total}`);
        break;
      }
      case 'grpo': {
        const { step: at, 'reward/mean': reward, 'env/number_of_valid_search': searches } = event.metrics;
        grpoStep = at % event.total;
        clock.done(stage, at / event.total);
        say(stage, `step ${at} of ${event.total}: reward ${reward.toFixed(2)}, ${searches.toFixed(1)} searches`, true);
        if (at === event.total) tell(stage, `reward ${reward.toFixed(2)} in the last step`);
        break;
      }
      case 'pairs': {
        const { pairs, skipped } = event.pairing;
        const none = Object.entries(skipped).map(([why, count]) => `${why} ${count}`);
        const teacher = event.teacher
          ? `; teacher ${event.teacher.teacher.toFixed(2)} against student ${event.teacher.student.toFixed(2)}`
          : '';
        say(stage, `${pairs.length} pairs (${none.join(', ')})${teacher}`, true);
        tell(stage, pairs.length ? `${pairs.length} pairs${teacher}` : `no pairs (${none.join(', ')}), nothing to distil`);
        if (pairs.length && !event.gate.open) tell(stage, `not distilled: ${event.gate.reason}`);
        break;
      }
      case 'ofsd':
        clock.done(stage, 0.5 + event.metrics.step / event.total / 2);
        say(stage, `distillation step ${event.metrics.step} of ${event.total}: KL ${event.metrics.kl_unclamped.toFixed(3)} nats`);
        break;
      case 'evaluation':
        tell(stage, describe(event.evaluation));
        break;
    }
  };

  if (open.length === 0) return [{ title: 'every stage is finished', run: async () => void (await work(onEvent)) }];
  return open.map((stage, index) => ({
    title: stage,
    run: async (note) => {
      notes.set(stage, note);
      if (index === 0) {
        // The stage under way fails, and with it the list; the others are never begun.
        work(onEvent).then(finish, (error: unknown) => ends.get(current ?? stage)?.reject(error));
      }
      await ends.get(stage)?.promise;
      return outcomes.get(stage);
    },
  }));
}

function describe({ greedy, sampled }: Evaluation): string {
  const points = (records: Evaluation['greedy']) => (100 * summarize(records).macroMean.value).toFixed(1);
  const searches = (records: Evaluation['greedy']) =>
    (records.reduce((sum, record) => sum + record.searches, 0) / records.length).toFixed(2);
  return `exact match ${points(greedy)} greedy, ${points(sampled)} sampled; ${searches(greedy)} and ${searches(sampled)} searches`;
}

/** Counts episodes: an evaluated or attempted one as 1, one that is learnt from as 2. */
function timeLeft(stages: readonly Stage[], { grpo, siblings, ofsd }: EvolutionSettings, evaluation: number) {
  const sizes = new Map(
    stages.map(({ name, kind }) => {
      const attempts = siblings.questions * siblings.attempts;
      const distilled = Math.min(1, siblings.attempts / 8) * siblings.questions * (2 + 2 * ofsd.epochs); // most questions give a pair
      const work = { base: 0, grpo: 2 * grpo.steps * grpo.questionsPerStep * grpo.groupSize, ofsd: attempts + distilled }[kind];
      return [name, { size: work + 2 * evaluation, work, done: 0 }];
    }),
  );
  let skipped = 0;
  const started = performance.now();
  return {
    skip(stage: string, share: number) {
      const entry = sizes.get(stage);
      if (!entry?.work) return;
      entry.done = skipped = entry.work * share;
    },
    /** `share` of the stage's own work is done; 1 once its evaluation is, too. */
    done(stage: string, share: number) {
      const entry = sizes.get(stage);
      if (entry) entry.done = share === 1 ? entry.size : Math.min(entry.work, entry.work * share);
    },
    text(): string {
      const all = [...sizes.values()];
      const done = all.reduce((sum, entry) => sum + entry.done, 0);
      const left = all.reduce((sum, entry) => sum + entry.size - entry.done, 0);
      const seconds = (performance.now() - started) / 1000;
      return done - skipped > 0 && seconds > 2 ? ` · about ${duration((seconds / (done - skipped)) * left)} left` : '';
    },
  };
}

function deferred(): { readonly promise: Promise<void>; resolve(): void; reject(error: unknown): void } {
  let resolve = () => {};
  let reject = (_: unknown) => {};
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  promise.catch(() => undefined); // it may be rejected before its task begins
  return { promise, resolve: () => resolve(), reject: (error) => reject(error) };
}
