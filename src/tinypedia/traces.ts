/**
 * Supervised episodes for the base policy, in the words of the classroom protocol.
 *
 * A real language model brings along that it can look things up, that it often stops too early or looks twice, and that it can follow an
 * example in its prompt. A small policy trained from nothing has to be taught all three, so the styles below are mixed on purpose and the
 * text that uses the base policy says so. Shares: classroom prototype.
 */
import type { Random } from '../random.js';
import { classroomProtocol, type Protocol } from '../rollout/protocol.js';
import { drawKind, drawQuestion, earlier, isHeldOut, type QuestionKind, type Step, type TinypediaQuestion } from './questions.js';
import { entityOf, lookUp, passageOf, RELATIONS, type Relation, type World } from './world.js';

/** A piece of an episode after its prompt. */
export interface TraceSegment {
  /** What it says. */
  readonly text: string;
  /** Written by the policy; false for passages and feedback. */
  readonly own: boolean;
  /** Carries loss: own, and not a deviation from the reference that is only there to be recovered from. */
  readonly scored: boolean;
}

/** An episode written by rule, for pretraining. */
export interface Trace {
  /** What is asked. */
  readonly question: TinypediaQuestion;
  /** How it goes about it. */
  readonly style: TraceStyle;
  /** The prompt shows a reference attempt. */
  readonly privileged: boolean;
  /** What the policy reads first. */
  readonly prompt: string;
  /** In order. */
  readonly segments: readonly TraceSegment[];
}

/**
 * clean: every step once. verifier: looks again at what it found. impatient: answers with the first thing found. guesser: answers without a
 * search. sloppy: follows a wrong relation, or copies a wrong field. formatError: writes one action that cannot be read, then goes on.
 */
export type TraceStyle = 'clean' | 'verifier' | 'impatient' | 'guesser' | 'sloppy' | 'formatError';

type Shares<K extends string> = Readonly<Partial<Record<K, number>>>;

/** Kinds of questions in pretraining. The held-out pairs never occur. */
export const TRACE_KINDS: Shares<QuestionKind> = {
  oneHop: 0.22,
  paraphrase: 0.1,
  possessive: 0.1,
  twoHop: 0.33,
  comparison: 0.08,
  threeHop: 0.1,
  fourHop: 0.07,
};

/** How traces are made. */
export interface TraceOptions {
  /** Styles of plain traces. */
  readonly styles?: Shares<TraceStyle>;
  /** Styles of the references that privileged traces follow. */
  readonly referenceStyles?: Shares<TraceStyle>;
  /** Share of traces whose prompt shows a reference; default 0.4. */
  readonly privilegedShare?: number;
  /** Probability before each action of a privileged trace that an unscored search off the reference comes in between; default 0.2. */
  readonly deviationShare?: number;
  /** Probability that a verifier repeats a search; default 0.9. */
  readonly repeatShare?: number;
  /** The words of turns. Default: the classroom's. */
  readonly protocol?: Protocol;
}

/** How often each style is among the traces of pretraining. */
export const TRACE_STYLES: Shares<TraceStyle> = {
  clean: 0.08,
  verifier: 0.26,
  impatient: 0.38,
  guesser: 0.1,
  sloppy: 0.12,
  formatError: 0.06,
};
export const REFERENCE_STYLES: Shares<TraceStyle> = { clean: 0.55, verifier: 0.2, impatient: 0.15, sloppy: 0.1 };

/**
 * One supervised episode about `world`: a question of one of `kinds`, and an attempt at it in one of the styles.
 *
 * @example
 * ```ts
 * import { random } from 'search-e1';
 * import { makeTrace, makeWorld } from 'search-e1/tinypedia';
 *
 * const trace = makeTrace(makeWorld(1), { oneHop: 1 }, random(1, 'trace'), { styles: { clean: 1 } });
 * trace.segments.some(({ text }) => text.includes('<answer>')); // true
 * ```
 */
export function makeTrace(
  world: World,
  kinds: Shares<QuestionKind>,
  source: Random,
  {
    styles = TRACE_STYLES,
    referenceStyles = REFERENCE_STYLES,
    privilegedShare = 0.4,
    deviationShare = 0.2,
    repeatShare = 0.9,
    protocol = classroomProtocol,
  }: TraceOptions = {},
): Trace {
  const question = drawQuestion(world, drawKind(kinds, source), source);
  const privileged = source.uniform() < privilegedShare;
  const style = drawKind(privileged ? referenceStyles : styles, source);
  const actions = attempt(world, question, style, source, { repeatShare, maxTurns: protocol.maxTurns });
  const turns = privileged ? deviate(world, actions, source, deviationShare, protocol.maxTurns) : actions;
  return {
    question,
    style,
    privileged,
    prompt: String(
      privileged
        ? protocol.privilegedPrompt(question.question, actions.map((action) => action.text).join(''))
        : protocol.prompt(question.question),
    ),
    segments: turns.flatMap((action) => segmentsOf(world, action, protocol)),
  };
}

/** One turn of the policy: its own text, and the entity whose passage comes back (a search), or nothing (an answer, an invalid action). */
interface Action {
  readonly kind: 'search' | 'invalid' | 'answer';
  readonly text: string;
  readonly entity?: string;
  readonly relation?: Relation;
  /** Off the reference: no loss. */
  readonly deviation?: boolean;
}

function segmentsOf(world: World, { kind, text, entity, deviation = false }: Action, protocol: Protocol): TraceSegment[] {
  const own = { text, own: true, scored: !deviation };
  if (kind === 'answer') return [own];
  return [
    own,
    {
      text: kind === 'search' ? String(protocol.observation([passageOf(world, entity as string)])) : protocol.invalidFeedback,
      own: false,
      scored: false,
    },
  ];
}

const search = (thought: string, entity: string, relation: Relation): Action => ({
  kind: 'search',
  text: `<think> ${thought}</think><search> ${entity} ${relation}</search>`,
  entity,
  relation,
});

const again = ({ entity, relation }: Action): Action => search('check again', entity as string, relation as Relation);

const answer = (thought: string, text: string): Action => ({ kind: 'answer', text: `<think> ${thought}</think><answer> ${text}</answer>` });

/** An attempt at the question in a style: at most `maxTurns` searches and invalid actions, then an answer from what is known. */
function attempt(
  world: World,
  { metadata: { kind, chain } }: TinypediaQuestion,
  style: TraceStyle,
  source: Random,
  { repeatShare, maxTurns }: { readonly repeatShare: number; readonly maxTurns: number },
): Action[] {
  if (style === 'guesser') {
    const guess = guessed(world, kind, chain, source);
    return [answer('a guess', guess)];
  }
  const steps = style === 'sloppy' ? strayed(world, kind, chain, source) : style === 'impatient' ? chain.slice(0, 1) : chain;
  const invalidBefore = style === 'formatError' ? source.integer(steps.length) : -1;
  const actions: Action[] = [];
  let known: string | null = null;
  let taken = 0;
  for (const [i, step] of steps.entries()) {
    if (actions.length === maxTurns) break;
    const asked = `the ${step.relation} of ${step.entity}`;
    const look = search(known === null ? asked : `${known} . next ${asked}`, step.entity, step.relation);
    if (i === invalidBefore) {
      actions.push(unreadable(look, step, source));
      if (actions.length === maxTurns) break;
    }
    actions.push(look);
    known = step.value;
    taken = i + 1;
    if (style === 'verifier' && actions.length < maxTurns && source.uniform() < repeatShare) actions.push(again(look));
  }
  const found = known ?? chain[0].entity;
  if (kind === 'comparison' && style !== 'sloppy' && taken === 2) {
    const [a, b] = steps;
    const first = earlier(steps).entity;
    return [...actions, answer(`${a.entity} ${a.value} , ${b.entity} ${b.value} . ${first} . done`, first)];
  }
  return [...actions, answer(`${found} . done`, found)];
}

/**
 * The chain as a sloppy reader goes along it: one step by a wrong relation, or at the end a wrong field of the right passage. A wrong relation never joins with the step before or
 * after it into a held-out pair; where that leaves none, the end is misread.
 */
function strayed(world: World, kind: QuestionKind, chain: readonly Step[], source: Random): Step[] {
  const last = chain.length - 1;
  const others = ({ entity, relation }: Step) => entityOf(world, entity).facts.filter((fact) => fact.relation !== relation);
  const wrongWays = (at: number) =>
    others(chain[at]).filter(
      ({ relation }) =>
        !(at > 0 && isHeldOut(chain[at - 1].relation, relation)) && !(at < last && isHeldOut(relation, chain[at + 1].relation)),
    );
  const drawn = source.uniform() < 0.5 ? source.integer(chain.length) : last;
  const at = wrongWays(drawn).length > 0 ? drawn : last;
  const misread = at === last && (source.uniform() < 0.5 || wrongWays(last).length === 0);
  const other = source.pick(misread ? others(chain[at]) : wrongWays(at));
  const strayedStep = { entity: chain[at].entity, relation: misread ? chain[at].relation : other.relation, value: other.value };
  const steps = [...chain.slice(0, at), strayedStep];
  for (const { relation: next } of kind === 'comparison' ? [] : chain.slice(at + 1)) {
    const reached = world.byName.get(steps[steps.length - 1].value);
    const fact = reached?.facts.find((each) => each.relation === next);
    if (!reached || !fact) break;
    steps.push({ entity: reached.name, relation: next, value: fact.value });
  }
  return steps;
}

/** A name of the right type, or a year, without having looked. */
function guessed(world: World, kind: QuestionKind, chain: readonly Step[], source: Random): string {
  if (kind === 'comparison') return source.pick(chain).entity;
  const target = RELATIONS.find((relation) => relation.name === chain[chain.length - 1].relation)?.to;
  if (target === 'year') return String(1900 + source.integer(60));
  return source.pick(world.entities.filter((entity) => entity.type === target)).name;
}

/** The search with its tags spoiled, in one of the ways that end a turn without an action. */
function unreadable({ text }: Action, { entity, relation }: Step, source: Random): Action {
  const thought = text.slice(0, text.indexOf('<search>'));
  const spoiled = source.pick([` ${entity} ${relation}</search>`, `<search> ${entity} ${relation}</answer>`, '<search></search>']);
  return { kind: 'invalid', text: thought + spoiled };
}

/** A trajectory that follows `reference`, with searches of its own in between: a repeat, a wrong relation, or a wrong entity; none joins with another search into a held-out pair. */
function deviate(world: World, reference: readonly Action[], source: Random, share: number, maxTurns: number): Action[] {
  const turns: Action[] = [];
  let last: Action | null = null;
  for (const action of reference) {
    while (turns.length < maxTurns && source.uniform() < share) {
      let off = stray(world, last, source);
      while ([...turns, ...reference].some((other) => joinsHeldOut(world, other, off) || joinsHeldOut(world, off, other)))
        off = stray(world, last, source);
      turns.push({ ...off, deviation: true });
    }
    if (action.kind === 'answer' || turns.length < maxTurns) turns.push(action);
    if (action.kind === 'search') last = action;
  }
  return turns;
}

/** Whether `second` looks up, of what `first` finds, what only Bamboogle-mini asks for. */
function joinsHeldOut(world: World, first: Action, second: Action): boolean {
  if (!first.relation || !second.relation || !isHeldOut(first.relation, second.relation)) return false;
  return lookUp(world, first.entity as string, first.relation) === second.entity;
}

function stray(world: World, last: Action | null, source: Random): Action {
  const way = source.integer(3);
  if (last && way === 0) return again(last);
  const entity = last && way === 1 ? entityOf(world, last.entity as string) : source.pick(world.entities);
  const { relation } = source.pick(entity.facts);
  return search(`the ${relation} of ${entity.name}`, entity.name, relation);
}
