/** Measures works on both sides in alternating rounds; what it has is in `record()` at any time. */

import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { notFinite } from './check.js';
import type { Timing } from './messages.js';
import type { Progress } from './progress.js';
import { type BenchRecord, type MemoryResult, type Peak, type Result, thisMachine } from './record.js';
import { type Command, Side } from './side.js';
import { ALPHA, dimensions, RANK, type Size, trainingWork, type Work, works } from './works.js';

export interface Plan {
  readonly size: Size;
  readonly threads: readonly number[];
  /** Groups of works; empty means all. */
  readonly only: readonly string[];
  readonly rounds: number;
  readonly ours: Omit<Command, 'threads'>;
  /** Null: ours alone. */
  readonly peer: Omit<Command, 'threads'> | null;
  readonly commit: string | null;
}

/** Rest between two sides, so that one's threads have stopped spinning when the other begins. */
const REST_MS = 250;
/** Edge of the square matrices whose product is the peak. */
const PEAK_SIZE = 1024;

export class Measurement {
  #peaks: Peak[] = [];
  #results: Result[] = [];
  #memory: MemoryResult[] = [];
  #refused: { name: string; threads: number; reason: string }[] = [];
  #versions: Record<string, string> = {};
  #complete = false;
  #sides: Side[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), 'search-e1-bench-'));
  readonly #started = new Date().toISOString();
  readonly #spent = performance.now();
  #done = 0;

  constructor(
    private readonly plan: Plan,
    private readonly progress: Progress,
  ) {}

  record(): BenchRecord {
    return {
      date: this.#started,
      commit: this.plan.commit,
      machine: thisMachine(),
      versions: this.#versions,
      size: this.plan.size,
      rounds: this.plan.rounds,
      peaks: this.#peaks,
      results: this.#results.filter(({ ours }) => ours.length > 0),
      memory: this.#memory,
      refused: this.#refused,
      complete: this.#complete,
    };
  }

  /** Ends both sides at once; `run` then rejects. */
  async stop(): Promise<void> {
    for (const side of this.#sides) side.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async run(): Promise<void> {
    const { size, threads, only } = this.plan;
    const asked = works(size).filter(({ name }) => only.length === 0 || only.includes(name.split(':')[0]));
    const wantsMemory = only.length === 0 || only.includes('memory');
    const units = threads.length * (asked.length + (wantsMemory ? 1 : 0));
    for (const count of threads) {
      const { ours, peer } = await this.#start(count);
      this.#say(`matMul peak, ${count} threads`, units);
      this.#peaks.push({ threads: count, ours: await ours.matMul(PEAK_SIZE), theirs: peer ? await peer.matMul(PEAK_SIZE) : null });
      for (const work of asked) {
        await this.#work(work, count, ours, peer, units);
        this.#done++;
      }
      await this.#end();
      if (wantsMemory) {
        await this.#memoryOf(count, units);
        this.#done++;
      }
    }
    this.#complete = true;
  }

  async #start(threads: number) {
    const { side: ours, hello } = await Side.start({ ...this.plan.ours, threads });
    this.#sides.push(ours);
    const theirs = this.plan.peer ? await Side.start({ ...this.plan.peer, threads }) : null;
    if (theirs) this.#sides.push(theirs.side);
    this.#versions = { ...hello.versions, ...theirs?.hello.versions };
    return { ours, peer: theirs?.side ?? null, startOfOurs: hello.rss, startOfPeer: theirs?.hello.rss ?? 0 };
  }

  async #end(): Promise<void> {
    for (const side of this.#sides) side.stop();
    this.#sides = [];
  }

  /** A folder with a model's weights and an adapter, written by ours for both. */
  async #modelFolder(ours: Side, { model }: Work): Promise<string> {
    const folder = join(this.#folder, Object.values(model).join('-'));
    await ours.make({ folder, model, rank: RANK, alpha: ALPHA });
    return folder;
  }

  /** Prepares a work on both sides; the reason why it may not be timed, or the largest difference. */
  async #prepare(work: Work, ours: Side, peer: Side | null): Promise<{ error: number | null; problems: readonly string[] }> {
    const folder = await this.#modelFolder(ours, work);
    const params = work.params(folder);
    const theirs = peer ? await peer.prepare({ work: work.runs, folder, params, peer: null }) : null;
    const found = await ours.prepare({ work: work.runs, folder, params, peer: theirs });
    return theirs ? work.agree(found, theirs) : { error: null, problems: notFinite(found) };
  }

  async #work(work: Work, threads: number, ours: Side, peer: Side | null, units: number): Promise<void> {
    const { name, title, peer: beside, goal, flops } = work;
    this.#say(`${name}, ${threads} threads: checking`, units);
    const { error, problems } = await this.#prepare(work, ours, peer);
    if (problems.length) {
      this.#refused.push({ name, threads, reason: problems.join('; ') });
      this.progress.say(`${name}, ${threads} threads: not timed, as the two sides differ\n  ${problems.join('\n  ')}`);
    } else {
      const timings = { ours: [] as number[], theirs: [] as number[] };
      this.#results.push({ name, title, peer: beside, goal, threads, flops, error, ...timings });
      const rounds = name.startsWith('sweep') ? Math.min(3, this.plan.rounds) : this.plan.rounds;
      for (let round = 0; round <= rounds; round++) {
        this.#say(`${name}, ${threads} threads: round ${round} of ${rounds}`, units);
        const mine = (await this.#timed(ours)).seconds;
        const other = peer ? (await this.#timed(peer)).seconds : null;
        if (round === 0) continue; // warms both up
        timings.ours.push(mine);
        if (other !== null) timings.theirs.push(other);
      }
    }
    await ours.drop();
    await peer?.drop();
  }

  async #timed(side: Side): Promise<Timing> {
    const timing = await side.run();
    await pause(REST_MS);
    return timing;
  }

  /** The training step again and again, in processes of their own. */
  async #memoryOf(threads: number, units: number): Promise<void> {
    const { memorySteps: steps, ...shape } = dimensions(this.plan.size);
    const work = trainingWork(shape);
    this.#say(`memory, ${threads} threads: checking`, units);
    const { ours, peer, startOfOurs, startOfPeer } = await this.#start(threads);
    const { problems } = await this.#prepare(work, ours, peer);
    if (problems.length) {
      this.#refused.push({ name: 'memory', threads, reason: problems.join('; ') });
      return this.#end();
    }
    const follow = async (side: Side, start: number, count: number) => {
      const rss: number[] = [];
      let peak = 0;
      for (let step = 1; step <= count; step++) {
        this.#say(`memory, ${threads} threads: step ${step} of ${count}`, units);
        const timing = await side.run();
        peak = timing.peak - start;
        if (step % Math.ceil(count / 20) === 0) rss.push(timing.rss - start);
      }
      return { peak, rss };
    };
    // The peer is there for its size alone: twenty steps show it.
    const theirs = peer ? await follow(peer, startOfPeer, Math.min(steps, 20)) : null;
    this.#memory.push({ threads, steps, ours: await follow(ours, startOfOurs, steps), theirs });
    await this.#end();
  }

  #say(what: string, units: number): void {
    const spent = (performance.now() - this.#spent) / 1000;
    const left = this.#done > 0 ? (spent / this.#done) * (units - this.#done) : units * 30;
    this.progress.step(what, left);
  }
}
