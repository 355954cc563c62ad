/** The classroom that commands teach and ask in: Tinypedia, its search, its questions. */
import { classroomProtocol } from '../rollout/protocol.js';
import type { Environment } from '../rollout/rollout.js';
import { createSearcher } from '../search/minisearch.js';
import { MINI_SETS, type TinypediaQuestion } from '../tinypedia/questions.js';
import { CLASSROOM_SEARCH, type Tinypedia, tinypedia } from '../tinypedia/tinypedia.js';
import { givenBy } from './io.js';

/** Questions in each mini set as lessons and records use them; more can be made. */
const QUESTIONS_PER_SET = 100;

export interface Classroom {
  readonly world: Tinypedia;
  readonly environment: Environment;
  /** The first questions of each mini set. */
  evaluation(perSet: number): TinypediaQuestion[];
}

/** World 1, large enough for `perSet` questions a set. */
export async function openClassroom(perSet: number = QUESTIONS_PER_SET): Promise<Classroom> {
  const world = await givenBy('the number of questions', () => tinypedia(1, { questionsPerSet: Math.max(QUESTIONS_PER_SET, perSet) }));
  return {
    world,
    environment: { protocol: classroomProtocol, searcher: createSearcher(world.passages, CLASSROOM_SEARCH) },
    evaluation: (n) => MINI_SETS.flatMap((set) => world.sets[set].slice(0, n)),
  };
}
