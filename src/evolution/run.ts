/**
 * Where a loop keeps what it does, as the loop sees it: `RunFolder` (`search-e1/runs`) keeps it on a disk; in a tab, which has none, a page may keep it as it
 * likes, or not at all.
 */
import type { Group } from '../rollout/trajectory.js';
import type { Evaluation } from './evaluation.js';
import type { MadePairs } from './pairs.js';

/** How far a run is. */
export interface RunProgress {
  /** Stages that are finished, in order, such as `1-grpo`. */
  readonly finished: readonly string[];
  /** Steps done in the stage under way. */
  readonly step: number;
  /** Name of the checkpoint with the weights as they are now, or with the adapter on those of the last finished stage; null at the very start. */
  readonly checkpoint: string | null;
  /** The stage under way whose pairs are made and kept. */
  readonly pairs?: string;
}

/**
 * What `evolve` writes to, and goes on from. What is added counts once it is committed. `RunFolder` keeps it on a disk; where there is none, write your own.
 */
export interface Run {
  /** As of the last commit. */
  readonly state: RunProgress;
  /** Where the engine saves a checkpoint of this name, and loads it from. */
  checkpoint(name: string): string;
  /** A line of numbers of a stage. */
  addMetrics(stage: string, metrics: object): Promise<void>;
  /** What an evaluation after a stage found, question by question. */
  addEvaluation(stage: string, evaluation: Evaluation): Promise<void>;
  /** The episodes of a step. */
  addTrajectories(stage: string, step: number, groups: readonly Group[]): Promise<void>;
  /** A stage's pairs, with the attempts that they are made of, and their teacher check. */
  keepPairs(stage: string, made: MadePairs): Promise<void>;
  /** A stage's pairs as they were kept; null where they were not committed. */
  pairs(stage: string): Promise<MadePairs | null>;
  /** Says that everything written so far belongs together. */
  commit(progress: RunProgress): Promise<void>;
}
