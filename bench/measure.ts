/** Measures works on both sides in alternating rounds; what it has is in `record()` at any time. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { notFinite } from './check.js';
import type { Timing } from './messages.js';
import { type Ahead, type Progress, TimeLeft } from './progress.js';
import { type BenchRecord, isBusy, type MemoryResult, type Peak, type Result, thisMachine } from './record.js';
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

/** Both sides as running processes; `startOf...` is what was resident before anything was loaded. */
interface Sides {
  readonly ours: Side;
  readonly peer: Side | null;
  readonly backends: readonly string[];
  readonly startOfOurs: number;
  readonly startOfPeer: number;
}

/** Rest between two sides, so that one's threads have stopped spinning when the other begins. */
const REST_MS = 250;
/** Edge of the square matrices whose product is the peak. */
const PEAK_SIZE = 1024;
/** The sweep compares ours with itself; three rounds do. */
const SWEEP_ROUNDS = 3;
/** The peer's memory is for comparison only: twenty steps show it. */
const PEER_MEMORY_STEPS = 20;

export class Measurement {
  readonly #folder = mkdtempSync(join(tmpdir(), 'search-e1-bench-'));
  readonly #date = new Date().toISOString();
  readonly #machine = thisMachine();
  readonly #peaks: Peak[] = [];
  readonly #results: Result[] = [];
  readonly #memory: MemoryResult[] = [];
  readonly #refused: { name: string; threads: number; reason: string }[] = [];
  readonly #asked: readonly Work[];
  readonly #memoryWork: Work;
  readonly #memorySteps: number;
  readonly #timeLeft: TimeLeft;
  #versions: Readonly<Record<string, string>> = {};
  #sides: Sides | null = null;
  #complete = false;

  constructor(
    private readonly plan: Plan,
    private readonly progress: Progress,
  ) {
    const { size, only, threads } = plan;
    const { memorySteps, ...shapes } = dimensions(size);
    const wanted = (group: string) => only.length === 0 || only.includes(group);
    this.#asked = works(size).filter(({ name }) => wanted(name.split(':')[0]));
    this.#memoryWork = { ...trainingWork(shapes), name: 'memory' };
    this.#memorySteps = wanted('memory') ? memorySteps : 0;
    const ahead = [...this.#asked.map((work) => [work, this.#rounds(work) + 1] as const), [this.#memoryWork, this.#memorySteps] as const];
    this.#timeLeft = new TimeLeft(
      new Map(
        threads.flatMap((count) =>
          ahead.map(([{ name, flops }, repetitions]): [string, Ahead] => [`${name} ${count}`, { flops, repetitions }]),
        ),
      ),
    );
  }

  record(): BenchRecord {
    return {
      date: this.#date,
      commit: this.plan.commit,
      machine: this.#machine,
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

  /** Ends both sides at once; a `run` under way rejects. */
  stop(): void {
    this.#end();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async run(): Promise<void> {
    if (isBusy(this.#machine)) this.progress.say(`the machine is busy (load ${this.#machine.load.toFixed(1)}): timings will be noise`);
    for (const threads of this.plan.threads) {
      const { ours, peer, backends } = await this.#start(threads);
      this.#peaks.push({ threads, ours: await ours.matMul(PEAK_SIZE), theirs: peer ? await peer.matMul(PEAK_SIZE) : null, backends });
      for (const work of this.#asked) await this.#time(work, threads, ours, peer);
      this.#end();
      if (this.#memorySteps > 0) await this.#followMemory(threads);
    }
    this.#complete = true;
  }

  async #start(threads: number): Promise<Sides> {
    this.progress.step(`${threadsOf(threads)}, starting both sides`, this.#timeLeft.seconds);
    const ours = new Side({ ...this.plan.ours, threads });
    const peer = this.plan.peer ? new Side({ ...this.plan.peer, threads }) : null;
    this.#sides = { ours, peer, backends: [], startOfOurs: 0, startOfPeer: 0 };
    const hello = await ours.hello();
    const other = await peer?.hello();
    this.#versions = { ...hello.versions, ...other?.versions };
    this.#sides = {
      ours,
      peer,
      backends: [hello.backend, ...(other ? [other.backend] : [])],
      startOfOurs: hello.rss,
      startOfPeer: other?.rss ?? 0,
    };
    return this.#sides;
  }

  #end(): void {
    this.#sides?.ours.stop();
    this.#sides?.peer?.stop();
    this.#sides = null;
  }

  #rounds(work: Work): number {
    return work.name.startsWith('sweep') ? Math.min(SWEEP_ROUNDS, this.plan.rounds) : this.plan.rounds;
  }

  /** Prepares a work on both sides; the largest difference between them, and the reasons why it may not be timed. */
  async #prepare(work: Work, threads: number, ours: Side, peer: Side | null): Promise<{ error: number | null; fine: boolean }> {
    this.#say(work, threads, 'checking');
    const folder = join(this.#folder, Object.values(work.model).join('-'));
    await ours.make({ folder, model: work.model, rank: RANK, alpha: ALPHA });
    const params = work.params(folder);
    const theirs = peer ? await peer.prepare({ work: work.runs, folder, params, peer: null }) : null;
    const found = await ours.prepare({ work: work.runs, folder, params, peer: theirs });
    const { error, problems } = theirs ? work.agree(found, theirs) : { error: null, problems: notFinite(found) };
    if (problems.length > 0) {
      this.#refused.push({ name: work.name, threads, reason: problems.join('; ') });
      this.progress.say(`${work.name}, ${threadsOf(threads)}: not timed, as the results are wrong\n  ${problems.join('\n  ')}`);
    }
    return { error, fine: problems.length === 0 };
  }

  /** Ours, the peer, ours, the peer, ...; the first round warms both up and is not kept. */
  async #time(work: Work, threads: number, ours: Side, peer: Side | null): Promise<void> {
    const { name, title, peer: beside, goal, flops } = work;
    const { error, fine } = await this.#prepare(work, threads, ours, peer);
    if (fine) {
      const times = { ours: [] as number[], theirs: [] as number[] };
      this.#results.push({ name, title, peer: beside, goal, threads, flops, error, ...times });
      const rounds = this.#rounds(work);
      for (let round = 0; round <= rounds; round++) {
        this.#say(work, threads, round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
        const started = performance.now();
        const { seconds: mine } = await restAfter(ours.run());
        const { seconds: other } = peer ? await restAfter(peer.run()) : { seconds: null };
        this.#timeLeft.repeated(`${name} ${threads}`, (performance.now() - started) / 1000);
        if (round === 0) continue;
        times.ours.push(mine);
        if (other !== null) times.theirs.push(other);
      }
    }
    await ours.drop();
    await peer?.drop();
  }

  /** The training step again and again, in fresh processes. */
  async #followMemory(threads: number): Promise<void> {
    const { ours, peer, startOfOurs, startOfPeer } = await this.#start(threads);
    const steps = this.#memorySteps;
    const follow = async (side: Side, start: number, count: number) => {
      const rss: number[] = [];
      let peak = 0;
      for (let step = 1; step <= count; step++) {
        this.#say(this.#memoryWork, threads, `step ${step} of ${count}`);
        const timing = await side.run();
        if (side === ours) this.#timeLeft.repeated(`memory ${threads}`, timing.seconds);
        peak = timing.peak - start;
        if (step % Math.ceil(count / 20) === 0) rss.push(timing.rss - start);
      }
      return { peak, rss };
    };
    if ((await this.#prepare(this.#memoryWork, threads, ours, peer)).fine) {
      const theirs = peer ? await follow(peer, startOfPeer, Math.min(steps, PEER_MEMORY_STEPS)) : null;
      this.#memory.push({ threads, steps, ours: await follow(ours, startOfOurs, steps), theirs });
    }
    this.#end();
  }

  #say({ name }: Work, threads: number, what: string): void {
    this.progress.step(`${threadsOf(threads)}, ${name.replace(':', '')}: ${what}`, this.#timeLeft.seconds);
  }
}

async function restAfter(run: Promise<Timing>): Promise<Timing> {
  const timing = await run;
  await pause(REST_MS);
  return timing;
}

const threadsOf = (n: number): string => `${n} ${n === 1 ? 'thread' : 'threads'}`;
