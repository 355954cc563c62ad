import { describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../src/policy/tokenizer.js';
import { random } from '../../src/random.js';
import { classroomProtocol, endsTurn, parseAction } from '../../src/rollout/protocol.js';
import { createSearcher } from '../../src/search/minisearch.js';
import { HELD_OUT_PAIRS } from '../../src/tinypedia/questions.js';
import { CLASSROOM_SEARCH } from '../../src/tinypedia/tinypedia.js';
import { makeTrace, REFERENCE_STYLES, TRACE_KINDS, TRACE_STYLES, type Trace, type TraceStyle } from '../../src/tinypedia/traces.js';
import { lookUp, makePretrainingWorld, type Relation } from '../../src/tinypedia/world.js';

const world = makePretrainingWorld(0);
const tokenizer = await loadTokenizer('datasets/tinypedia/tokenizer');
const traces = Array.from({ length: 6000 }, (_, i) => makeTrace(world, TRACE_KINDS, random(1, 'traces', i)));
const plain = traces.filter((trace) => !trace.privileged);
const privileged = traces.filter((trace) => trace.privileged);

const heldOut = HELD_OUT_PAIRS.map((pair) => pair.join(' '));
const own = (trace: Trace): string[] => trace.segments.filter((segment) => segment.own).map((segment) => segment.text);
const actions = (trace: Trace) => own(trace).map(parseAction);
const finalAnswer = (trace: Trace): string =>
  actions(trace)[own(trace).length - 1].kind === 'answer' ? (actions(trace).at(-1) as { content: string }).content : '';
const isRight = (trace: Trace): boolean => finalAnswer(trace) === trace.question.goldenAnswers[0];
const inStyle = (style: TraceStyle): Trace[] => plain.filter((trace) => trace.style === style);
const share = (some: readonly unknown[], all: readonly unknown[]): number => some.length / all.length;

describe('a trace', () => {
  it('is an episode that the environment could have run: each search answered with what top-1 search finds, each invalid action with feedback', async () => {
    const searcher = createSearcher(world.passages, CLASSROOM_SEARCH);
    for (const { segments } of traces.slice(0, 800)) {
      for (let i = 0; i < segments.length - 1; i += 2) {
        const [written, reply] = [segments[i], segments[i + 1]];
        expect([written.own, reply.own, reply.scored]).toEqual([true, false, false]);
        const action = parseAction(written.text);
        expect(action.kind).not.toBe('answer');
        const expected =
          action.kind === 'search'
            ? classroomProtocol.observation((await searcher.search([action.content], 1))[0])
            : classroomProtocol.invalidFeedback;
        expect(reply.text).toBe(String(expected));
      }
      const last = segments[segments.length - 1];
      expect(parseAction(last.text).kind).toBe('answer');
      expect(last.text.endsWith('</answer>')).toBe(true);
    }
  });

  it('keeps to the budget: four searches or invalid actions, then an answer', () => {
    for (const trace of traces) expect(own(trace).length).toBeLessThanOrEqual(classroomProtocol.maxTurns + 1);
    expect(traces.some((trace) => trace.question.metadata.hops === 4 && trace.style === 'clean' && isRight(trace))).toBe(true);
  });

  it('ends every turn where the environment ends it, and not before', () => {
    for (const text of traces.flatMap(own)) {
      expect(endsTurn(text)).toBe(true);
      expect(endsTurn(text.slice(0, -1))).toBe(false);
    }
  });

  it('fits the limits on turns and passages, and tokenises in pieces as it does whole', () => {
    for (const { prompt, segments } of traces.slice(0, 600)) {
      const pieces = [prompt, ...segments.map((segment) => segment.text)].map((text) => tokenizer.encode(text));
      expect(pieces.flat()).toEqual(tokenizer.encode(prompt + segments.map((segment) => segment.text).join('')));
      for (const [i, segment] of segments.entries()) {
        const limit = segment.own ? classroomProtocol.maxTurnTokens : classroomProtocol.maxObservationTokens;
        expect(pieces[i + 1].length).toBeLessThan(limit);
      }
    }
  });

  it('is drawn in the shares of the prototype', () => {
    expect(share(privileged, traces)).toBeCloseTo(0.4, 1);
    for (const [style, expected] of Object.entries(TRACE_STYLES))
      expect(share(inStyle(style as TraceStyle), plain)).toBeCloseTo(expected, 1);
    for (const [style, expected] of Object.entries(REFERENCE_STYLES)) {
      expect(
        share(
          privileged.filter((trace) => trace.style === style),
          privileged,
        ),
      ).toBeCloseTo(expected, 1);
    }
    for (const [kind, expected] of Object.entries(TRACE_KINDS)) {
      expect(
        share(
          traces.filter((trace) => trace.question.metadata.kind === kind),
          traces,
        ),
      ).toBeCloseTo(expected, 1);
    }
    expect(Object.values(TRACE_KINDS).reduce((a, b) => a + b)).toBeCloseTo(1, 9);
    expect(Object.values(TRACE_STYLES).reduce((a, b) => a + b)).toBeCloseTo(1, 9);
  });

  it('never asks for a held-out pair of relations', () => {
    const pairs = HELD_OUT_PAIRS.map((pair) => pair.join(' of '));
    for (const { question } of traces) {
      const { chain } = question.metadata;
      for (const [i, step] of chain.slice(1).entries()) expect(pairs).not.toContain(`${chain[i].relation} of ${step.relation}`);
    }
  });

  it('never joins one in its searches either, whatever it strays to', () => {
    const worlds = [0, 1, 2, 3].map(makePretrainingWorld);
    for (let i = 0; i < 24_000; i++) {
      const from = worlds[i % worlds.length];
      const trace = makeTrace(from, TRACE_KINDS, random(2, 'traces', i));
      const searches = own(trace)
        .map(parseAction)
        .flatMap((action) => {
          if (action.kind !== 'search') return [];
          const words = action.content.split(' ');
          return [{ entity: words.slice(0, -1).join(' '), relation: words[words.length - 1] }];
        });
      for (const first of searches) {
        const value = lookUp(from, first.entity, first.relation as Relation);
        for (const second of searches)
          if (second.entity === value) expect(heldOut, JSON.stringify(trace)).not.toContain(`${first.relation} ${second.relation}`);
      }
    }
  });

  it('speaks in the wording of the lessons', () => {
    const trace = inStyle('clean').find(({ question }) => question.metadata.kind === 'twoHop');
    if (!trace) throw new Error('no clean trace of two hops');
    const [first, second] = trace.question.metadata.chain;
    expect(own(trace)).toEqual([
      `<think> the ${first.relation} of ${first.entity}</think><search> ${first.entity} ${first.relation}</search>`,
      `<think> ${first.value} . next the ${second.relation} of ${first.value}</think><search> ${first.value} ${second.relation}</search>`,
      `<think> ${second.value} . done</think><answer> ${second.value}</answer>`,
    ]);
    const comparison = inStyle('clean').find(({ question }) => question.metadata.kind === 'comparison');
    if (!comparison) throw new Error('no clean comparison');
    const [a, b] = comparison.question.metadata.chain;
    const answer = comparison.question.goldenAnswers[0];
    expect(own(comparison)[2]).toBe(
      `<think> ${a.entity} ${a.value} , ${b.entity} ${b.value} . ${answer} . done</think><answer> ${answer}</answer>`,
    );
  });
});

describe('the styles of plain traces', () => {
  const searches = (trace: Trace) => actions(trace).filter((action) => action.kind === 'search');

  it('clean: one search a hop, and right', () => {
    for (const trace of inStyle('clean')) expect([isRight(trace), searches(trace).length]).toEqual([true, trace.question.metadata.hops]);
  });

  it('verifier: looks again nine times in ten, is right where the budget allows, and answers with what it knows where not', () => {
    const verifiers = inStyle('verifier');
    const oneHop = verifiers.filter((trace) => trace.question.metadata.hops === 1);
    expect(
      share(
        oneHop.filter((trace) => searches(trace).length === 2),
        oneHop,
      ),
    ).toBeCloseTo(0.9, 1);
    for (const trace of verifiers.filter(({ question }) => question.metadata.hops <= 2)) expect(isRight(trace)).toBe(true);
    const long = verifiers.filter(({ question }) => question.metadata.hops === 4 && question.metadata.kind !== 'comparison');
    expect(share(long.filter(isRight), long)).toBeLessThan(0.05);
    for (const trace of long) expect(trace.question.metadata.chain.map((step) => step.value)).toContain(finalAnswer(trace));
  });

  it('impatient: answers with the first thing found', () => {
    for (const trace of inStyle('impatient'))
      expect([searches(trace).length, finalAnswer(trace)]).toEqual([1, trace.question.metadata.chain[0].value]);
  });

  it('guesser: answers without a search, with something of the right kind', () => {
    for (const trace of inStyle('guesser')) {
      expect(own(trace)).toHaveLength(1);
      const gold = trace.question.goldenAnswers[0];
      expect(world.byName.get(finalAnswer(trace))?.type).toBe(world.byName.get(gold)?.type);
    }
  });

  it('sloppy: hardly ever right', () => {
    expect(share(inStyle('sloppy').filter(isRight), inStyle('sloppy'))).toBeLessThan(0.02);
  });

  it('formatError: one unreadable action, then on as if nothing had been', () => {
    for (const trace of inStyle('formatError')) {
      expect(actions(trace).filter((action) => action.kind === 'invalid')).toHaveLength(1);
      if (trace.question.metadata.hops < 4) expect(isRight(trace)).toBe(true);
    }
  });
});

describe('privileged traces', () => {
  const scored = (trace: Trace) => trace.segments.filter((segment) => segment.scored).map((segment) => segment.text);
  const reference = (trace: Trace): string => /<reference>(.*)<\/reference>$/.exec(trace.prompt)?.[1] ?? '';

  it('show the own text of a reference, without passages, and end with its answer', () => {
    for (const trace of privileged) {
      expect(reference(trace)).not.toContain('<information>');
      expect(reference(trace).endsWith(scored(trace)[scored(trace).length - 1])).toBe(true);
    }
  });

  it('follow it word by word, but for searches in between that carry no loss', () => {
    let whole = 0;
    for (const trace of privileged) {
      // A reference may be cut short only where deviations have used up the budget.
      if (scored(trace).join('') === reference(trace)) whole++;
      else expect(own(trace)).toHaveLength(classroomProtocol.maxTurns + 1);
      let from = 0;
      for (const text of scored(trace)) {
        const at = reference(trace).indexOf(text, from);
        expect(at).toBeGreaterThanOrEqual(from);
        from = at + text.length;
      }
    }
    expect(share(Array(whole), privileged)).toBeGreaterThan(0.85);
  });

  it('deviate before about one action in five, and only they hold own text without loss', () => {
    for (const trace of plain) expect(trace.segments.filter((segment) => segment.own && !segment.scored)).toEqual([]);
    const deviations = privileged.flatMap((trace) => trace.segments.filter((segment) => segment.own && !segment.scored));
    const followed = privileged.flatMap(scored);
    // 0.2 before each action, again after each: 0.25 a followed action; less where the budget is used up.
    expect(deviations.length / followed.length).toBeGreaterThan(0.17);
    expect(deviations.length / followed.length).toBeLessThan(0.26);
    for (const { text } of deviations) expect(parseAction(text).kind).toBe('search');
  });
});
