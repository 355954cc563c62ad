/**
 * A trajectory to be read: own tokens plain, passages shaded, tags coloured, each own token tinted by a number if one is given.
 *
 * Everything in a trajectory is written by a model, a passage or a question's author: all of it is escaped, and control characters are made visible. Tags are coloured only where they count:
 * in own text, and as the frame of what the environment put in; a tag inside a passage is ordinary text.
 */
import { checkObject } from '../arguments.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { Trajectory } from '../rollout/trajectory.js';
import { escapeHtml, showHtml } from './bundle.js';
import { printable } from './printable.js';

/** One number a token of `Trajectory.tokens`, such as an advantage or a token's KL; those of tokens that are not own are not shown. */
export interface TokenValues {
  /** One a token. */
  readonly values: ArrayLike<number>;
  /** What the numbers are, with their unit: `log p (nats)`. */
  readonly name: string;
  /** The numbers that get the full colours; default the smallest and the largest shown. Where they have both signs, white is 0. */
  readonly range?: readonly [number, number];
}

/** What is shown beside the text. */
export interface TrajectoryOptions {
  /** Tints own tokens. */
  readonly values?: TokenValues;
  /** A line above, such as why this sibling was chosen. */
  readonly heading?: string;
}

/** A trajectory beside others of its question, and why it is there. */
export interface Sibling extends TrajectoryOptions {
  /** The attempt. */
  readonly trajectory: Trajectory;
}

/**
 * Shows one trajectory below the running cell; prints it elsewhere.
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, rollout, tinypedia } from 'search-e1';
 * import { showTrajectory } from 'search-e1/display';
 *
 * const { passages, train } = tinypedia(1);
 * const engine = await openEngine();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const [trajectory] = await rollout(engine, environment, train.slice(0, 1), { temperature: 0 });
 * showTrajectory(trajectory, engine.tokenizer, { heading: 'greedy' });
 * ```
 */
export function showTrajectory(trajectory: Trajectory, tokenizer: Tokenizer, options: TrajectoryOptions = {}): void {
  checkObject('showTrajectory', 'trajectory', trajectory, ['question', 'tokens', 'own']);
  checkObject('showTrajectory', 'tokenizer', tokenizer, ['decode']);
  showHtml(trajectoryHtml(trajectory, tokenizer, options), trajectoryText(trajectory, tokenizer, options));
}

/**
 * Shows siblings side by side, such as the reference and the student's attempt, each under its reason.
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, rolloutGroups, tinypedia } from 'search-e1';
 * import { showSiblings } from 'search-e1/display';
 *
 * const { passages, train } = tinypedia(1);
 * const engine = await openEngine();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const [{ trajectories }] = await rolloutGroups(engine, environment, train.slice(0, 1), 2, { seed: 1 });
 * showSiblings(trajectories.map((trajectory) => ({ trajectory })), engine.tokenizer);
 * ```
 */
export function showSiblings(siblings: readonly Sibling[], tokenizer: Tokenizer): void {
  showHtml(
    siblingsHtml(siblings, tokenizer),
    siblings.map(({ trajectory, ...options }) => trajectoryText(trajectory, tokenizer, options)).join('\n\n'),
  );
}

/**
 * See `showTrajectory`. A self-contained piece of HTML without scripts.
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, rollout, tinypedia } from 'search-e1';
 * import { trajectoryHtml } from 'search-e1/display';
 *
 * const { passages, train } = tinypedia(1);
 * const engine = await openEngine();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const [trajectory] = await rollout(engine, environment, train.slice(0, 1), { temperature: 0 });
 * trajectoryHtml(trajectory, engine.tokenizer).includes('<script'); // false
 * ```
 */
export function trajectoryHtml(trajectory: Trajectory, tokenizer: Tokenizer, options: TrajectoryOptions = {}): string {
  return frame(`${question(trajectory)}${attempt(trajectory, tokenizer, options)}`);
}

/**
 * See `showSiblings`. All must answer one question.
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, rolloutGroups, tinypedia } from 'search-e1';
 * import { siblingsHtml } from 'search-e1/display';
 *
 * const { passages, train } = tinypedia(1);
 * const engine = await openEngine();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const [{ trajectories }] = await rolloutGroups(engine, environment, train.slice(0, 1), 2, { seed: 1 });
 * siblingsHtml(trajectories.map((trajectory) => ({ trajectory })), engine.tokenizer).includes('<div'); // true
 * ```
 */
export function siblingsHtml(siblings: readonly Sibling[], tokenizer: Tokenizer): string {
  const ids = [...new Set(siblings.map(({ trajectory }) => trajectory.question.id))];
  if (ids.length !== 1)
    throw new Error(
      `siblingsHtml: expected attempts at one question, got ${siblings.length} attempts at ${ids.length} (${ids.join(', ')}).`,
    );
  const columns = siblings.map(
    ({ trajectory, ...options }) => `<div style="flex:1 1 300px;min-width:0">${attempt(trajectory, tokenizer, options)}</div>`,
  );
  return frame(`${question(siblings[0].trajectory)}<div style="display:flex;flex-wrap:wrap;gap:12px">${columns.join('')}</div>`);
}

/**
 * The same as text, what the environment put in between ⟦ and ⟧.
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, rollout, tinypedia } from 'search-e1';
 * import { trajectoryText } from 'search-e1/display';
 *
 * const { passages, train } = tinypedia(1);
 * const engine = await openEngine();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const [trajectory] = await rollout(engine, environment, train.slice(0, 1), { temperature: 0 });
 * trajectoryText(trajectory, engine.tokenizer).includes(train[0].question); // true
 * ```
 */
export function trajectoryText(trajectory: Trajectory, tokenizer: Tokenizer, { heading }: TrajectoryOptions = {}): string {
  const body = mergeRetrieved(pieces(trajectory, tokenizer))
    // A passage that holds the mark itself could end it, and pass for own text behind it.
    .map(({ text, own }) => {
      const unmarked = text.replace(/[⟦⟧]/g, (mark) => `\\u${mark.charCodeAt(0).toString(16)}`);
      return own ? unmarked : `⟦${unmarked}⟧`;
    })
    .join('');
  return printable([heading, trajectory.question.question, body, outcome(trajectory)].filter(Boolean).join('\n'));
}

const INK = '#1b1f24';
const TAG_COLOURS: Readonly<Record<string, string>> = { think: '#6e5494', search: '#0072b2', answer: '#00724f', information: '#8a5a00' };
const RETRIEVED = 'display:block;background:#eef0f2;color:#57606a;border-left:3px solid #c4cad0;padding-left:8px;margin:2px 0';
const BLUE = [0, 114, 178] as const;
const ORANGE = [213, 94, 0] as const;

/** Text that neither acts as markup nor turns what stands after it around. */
const safe = (text: string): string => escapeHtml(printable(text));

const frame = (content: string) =>
  `<div style="background:#fff;color:${INK};border:1px solid #d0d7de;border-radius:6px;padding:10px 12px;margin:4px 0;line-height:1.65;text-align:left">${content}</div>`;

function question({ question: { question: text, goldenAnswers, dataset } }: Trajectory): string {
  return `<div style="margin-bottom:6px"><b>${safe(text)}</b> <span style="color:#57606a">${safe(dataset)} · gold: ${safe(goldenAnswers.join(' | '))}</span></div>`;
}

function attempt(trajectory: Trajectory, tokenizer: Tokenizer, { values, heading }: TrajectoryOptions): string {
  if (values && values.values.length !== trajectory.tokens.length) {
    throw new Error(
      `expected one value a token of the trajectory (${trajectory.tokens.length}), got ${values.values.length} of "${values.name}".`,
    );
  }
  const scale = values && colourScale(values, trajectory.own);
  const colour = trajectory.reward === 1 ? '#00724f' : '#a33b00';
  return [
    heading ? `<div style="font-weight:600;margin-bottom:4px">${safe(heading)}</div>` : '',
    `<div style="white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,Menlo,Consolas,monospace;font-size:13px">${body(trajectory, tokenizer, values, scale)}</div>`,
    `<div style="margin-top:6px;color:${colour}">${safe(outcome(trajectory))}</div>`,
    scale ? legend(scale) : '',
  ].join('');
}

function outcome({ reward, searches, finish, answer, own }: Trajectory): string {
  const tokens = own.filter(Boolean).length;
  const ends = { answer: 'answered', turns: 'turns used up', length: 'cut at the token limit', end: 'ended without an answer' }[finish];
  return `${reward === 1 ? '✓ exact match' : '✗ no match'} · answer: ${answer ?? 'none'} · ${searches} ${searches === 1 ? 'search' : 'searches'} · ${tokens} own tokens · ${ends}`;
}

function body(trajectory: Trajectory, tokenizer: Tokenizer, values: TokenValues | undefined, scale: Scale | undefined): string {
  const all = mergeRetrieved(pieces(trajectory, tokenizer));
  const kinds = tagKinds(all);
  let at = 0;
  return all
    .map(({ text, own, start, end }) => {
      const value = own && values ? mean(values.values, start, end) : Number.NaN;
      const tinted = scale !== undefined && Number.isFinite(value);
      const runs = splitRuns(text, kinds.slice(at, at + text.length));
      at += text.length;
      const inner = runs
        .map(({ text: run, kind }) => {
          if (kind === '') return safe(run);
          const [tag, part] = kind.split(' ');
          // On a tint, ink is what can be read.
          const style = `color:${tinted ? INK : TAG_COLOURS[tag]}${part === 'tag' ? ';font-weight:600' : ''}`;
          return `<span style="${style}">${safe(run)}</span>`;
        })
        .join('');
      if (!own) return `<span style="${RETRIEVED}">${inner}</span>`;
      if (!tinted) return inner;
      return `<span style="background:${scale.colour(value)}" title="${safe(`token ${start}: ${values?.name} ${number(value)}`)}">${inner}</span>`;
    })
    .join('');
}

/** What the environment put in at once, as one piece. */
function mergeRetrieved(all: readonly Piece[]): Piece[] {
  const merged: Piece[] = [];
  for (const piece of all) {
    const last = merged.at(-1);
    if (last && !last.own && !piece.own) merged[merged.length - 1] = { ...last, text: last.text + piece.text, end: piece.end };
    else merged.push(piece);
  }
  return merged;
}

interface Piece {
  readonly text: string;
  readonly own: boolean;
  /** Tokens [start, end) that make up the text: several where a character spans them. */
  readonly start: number;
  readonly end: number;
}

/** Each token's text. Bytes of one character may be spread over several tokens: such tokens stay together. */
function pieces({ tokens, own }: Trajectory, tokenizer: Tokenizer): Piece[] {
  const result: Piece[] = [];
  for (let start = 0; start < tokens.length; ) {
    let end = start + 1;
    let text = tokenizer.decode(tokens.slice(start, end));
    while (text.includes('\ufffd') && end < tokens.length && end - start < 4 && own[end] === own[start]) {
      const longer = tokenizer.decode(tokens.slice(start, end + 1));
      end++;
      text = longer;
    }
    result.push({ text, own: own[start], start, end });
    start = end;
  }
  return result;
}

/** What each character belongs to: `search tag`, `search text`, ..., or nothing. */
function tagKinds(all: readonly Piece[]): string[] {
  const kinds: string[] = [];
  for (let at = 0; at < all.length; ) {
    let end = at;
    while (end < all.length && all[end].own === all[at].own) end++;
    const text = all.slice(at, end).reduce((joined, piece) => joined + piece.text, '');
    const stretch = new Array<string>(text.length).fill('');
    if (all[at].own) {
      for (const match of text.matchAll(/<(think|search|answer)>([\s\S]*?)<\/\1>/g)) {
        const [whole, tag, content] = match;
        const start = match.index ?? 0;
        stretch.fill(`${tag} tag`, start, start + whole.length);
        stretch.fill(`${tag} text`, start + tag.length + 2, start + tag.length + 2 + content.length);
      }
    } else {
      const [open, close] = ['<information>', '</information>'];
      const first = text.indexOf(open);
      const last = text.lastIndexOf(close);
      if (first >= 0) stretch.fill('information tag', first, first + open.length);
      if (last >= 0) stretch.fill('information tag', last, last + close.length);
    }
    kinds.push(...stretch);
    at = end;
  }
  return kinds;
}

function splitRuns(text: string, kinds: readonly string[]): { text: string; kind: string }[] {
  const runs: { text: string; kind: string }[] = [];
  for (let at = 0; at < text.length; at++) {
    const last = runs.at(-1);
    if (last?.kind === kinds[at]) last.text += text[at];
    else runs.push({ text: text[at], kind: kinds[at] });
  }
  return runs;
}

interface Scale {
  readonly low: number;
  readonly high: number;
  readonly name: string;
  colour(value: number): string;
}

/** Orange below 0, blue above; white at 0, or at the lower end where all have one sign. */
function colourScale({ values, name, range }: TokenValues, own: readonly boolean[]): Scale | undefined {
  const shown = Array.from(values).filter((value, index) => own[index] && Number.isFinite(value));
  if (shown.length === 0) return undefined;
  const [low, high] = range ?? [shown.reduce((a, b) => Math.min(a, b)), shown.reduce((a, b) => Math.max(a, b))];
  const colour = (value: number) => {
    const clamped = Math.min(high, Math.max(low, value));
    const negative = clamped < 0;
    const extent = negative ? Math.abs(low) : high;
    const strength = extent === 0 ? 0 : (0.75 * Math.abs(clamped)) / extent;
    const mixed = (negative ? ORANGE : BLUE).map((channel) => Math.round(255 + (channel - 255) * strength));
    return `rgb(${mixed.join(',')})`;
  };
  return { low, high, name, colour };
}

function legend({ low, high, name, colour }: Scale): string {
  const stops = Array.from({ length: 9 }, (_, index) => colour(low + ((high - low) * index) / 8)).join(',');
  const bar = `display:inline-block;width:120px;height:10px;vertical-align:middle;border:1px solid #d0d7de;background:linear-gradient(to right,${stops})`;
  return `<div style="margin-top:4px;font-size:12px">${safe(name)} ${number(low)} <span style="${bar}"></span> ${number(high)}</div>`;
}

function mean(values: ArrayLike<number>, start: number, end: number): number {
  let sum = 0;
  for (let at = start; at < end; at++) sum += values[at];
  return sum / (end - start);
}

const number = (value: number) => String(Number(value.toPrecision(3))).replace('-', '−');
