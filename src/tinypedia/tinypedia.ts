/** Tinypedia in one call: the encyclopedia, the training questions and the seven mini sets. */
import { checkOptions } from '../arguments.js';
import type { SearcherOptions } from '../search/minisearch.js';
import { MINI_SETS, type MiniSet, makeQuestions, type TinypediaQuestion } from './questions.js';
import { makeWorld, type World } from './world.js';

/** A world with its questions. */
export interface Tinypedia extends World {
  /** 400 one-hop (nq-mini) and 400 two-hop (hotpotqa-mini) questions about the train half, in turn. */
  readonly train: readonly TinypediaQuestion[];
  /** The seven evaluation sets, all about the eval half. */
  readonly sets: Readonly<Record<MiniSet, readonly TinypediaQuestion[]>>;
}

/** Search in the classroom: plain BM25 over whole words, each of which means something, title counted double. Show one passage (top-1). */
export const CLASSROOM_SEARCH: SearcherOptions = { k1: 1.2, b: 0.75, delta: 0, titleBoost: 1, stem: false, stopWords: new Set() };

/** How many questions are made. */
export interface TinypediaOptions {
  /** Questions in each evaluation set; default 100, the classroom prototype's. */
  readonly questionsPerSet?: number;
  /** Training questions of each of the two kinds; default 400, the classroom prototype's. */
  readonly trainPerSet?: number;
}

/**
 * The classroom world. World 1 is the one that lessons and records use; base policies are trained on other worlds (`makePretrainingWorld`).
 *
 * @example
 * ```ts
 * import { tinypedia } from 'search-e1/tinypedia';
 *
 * const { passages, train, sets } = tinypedia(1); // the same for everybody
 * passages[0].title.length > 0; // true
 * [train.length, Object.keys(sets).length]; // [ 800, 7 ]
 * ```
 */
export function tinypedia(seed = 1, options: TinypediaOptions = {}): Tinypedia {
  checkOptions('tinypedia', options, ['questionsPerSet', 'trainPerSet'] satisfies (keyof TinypediaOptions)[]);
  const { questionsPerSet = 100, trainPerSet = 400 } = options;
  const world = makeWorld(seed);
  const oneHop = makeQuestions(world, 'nq-mini', 'train', trainPerSet);
  const twoHop = makeQuestions(world, 'hotpotqa-mini', 'train', trainPerSet);
  const sets = Object.fromEntries(MINI_SETS.map((set) => [set, makeQuestions(world, set, 'eval', questionsPerSet)])) as Record<
    MiniSet,
    TinypediaQuestion[]
  >;
  return { ...world, train: oneHop.flatMap((question, i) => [question, twoHop[i]]), sets };
}
