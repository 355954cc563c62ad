/** Measures works on both sides in alternating rounds; what it has is in `record()` at any time. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { notFinite } from './check.js';
import type { Profile, Timing } from './messages.js';
import { type Ahead, type Progress, TimeLeft } from './progress.js';
import { type BenchRecord, isBusy, type MemoryResult, type Peak, type Result, thisMachine } from './record.js';
import { type Command, Side } from './side.js';
import { ALPHA, dimensions, RANK, type Size, trainingWork, type Work, works } from './works.js';

export interface Plan {
  readonly size: Size;
  readonly threads: readonly number[];
  /** Groups of works; empty means all. */
  readonly only: readonly string[];
  /** Ours is measured on each of them, in turns; empty means on the one that the environment or the package chooses. */
  readonly backends: readonly string[];
  readonly rounds: number;
  /** One more repetition of ours, timed kernel by kernel. */
  readonly profile?: boolean;
  readonly ours: Omit<Command, 'threads'>;
  /** Null: ours alone. */
  readonly peer: Omit<Command, 'threads'> | null;
  readonly commit: string | null;
}

/** A side as a running process. */
interface Started {
  readonly side: Side;
  /** What it computes on, in words; the first is the name of the backend. */
  readonly backend: string;
  /** Bytes that were resident before anything was loaded. */
  readonly start: number;
}

/** All of them; ours once a backend. */
interface Sides {
  readonly ours: readonly Started[];
  readonly peer: Started | null;
}

const nameOf = ({ backend }: Started): string => backend.split(' ')[0];

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
  readonly #refused: { name: string; backend: string; threads: number; reason: string }[] = [];
  readonly #asked: readonly Work[];
  readonly #memoryWork: Work;
  readonly #memorySteps: number;
  readonly #timeLeft: TimeLeft;
  #versions: Readonly<Record<string, string>> = {};
  #running: readonly Side[] = [];
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
    const steps = this.#memorySteps * Math.max(1, plan.backends.length);
    const ahead = [...this.#asked.map((work) => [work, this.#rounds(work) + 1] as const), [this.#memoryWork, steps] as const];
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
      const sides = await this.#start(threads, this.plan.backends);
      const { ours, peer } = sides;
      const theirs = peer ? await peer.side.matMul(PEAK_SIZE) : null;
      for (const mine of ours) {
        const backends = [mine, ...(peer ? [peer] : [])].map(({ backend }) => backend);
        this.#peaks.push({ backend: nameOf(mine), threads, ours: await mine.side.matMul(PEAK_SIZE), theirs, backends });
      }
      for (const work of this.#asked) await this.#time(work, threads, sides);
      this.#end();
      if (this.#memorySteps === 0) continue;
      if (this.plan.backends.length === 0) await this.#followMemory(threads, []);
      for (const backend of this.plan.backends) await this.#followMemory(threads, [backend]);
    }
    this.#complete = true;
  }

  async #start(threads: number, backends: readonly string[]): Promise<Sides> {
    this.progress.step(`${threadsOf(threads)}, starting the sides`, this.#timeLeft.seconds);
    const chosen = backends.length > 0 ? backends : [undefined];
    const ours = chosen.map((backend) => new Side({ ...this.plan.ours, threads, backend }));
    const peer = this.plan.peer ? new Side({ ...this.plan.peer, threads }) : null;
    this.#running = [...ours, ...(peer ? [peer] : [])];
    const started: Started[] = [];
    for (const side of this.#running) {
      const { versions, backend, rss } = await side.hello();
      this.#versions = { ...this.#versions, ...versions };
      started.push({ side, backend, start: rss });
    }
    return { ours: started.slice(0, ours.length), peer: started[ours.length] ?? null };
  }

  #end(): void {
    for (const side of this.#running) side.stop();
    this.#running = [];
  }

  #rounds(work: Work): number {
    return work.name.startsWith('sweep') ? Math.min(SWEEP_ROUNDS, this.plan.rounds) : this.plan.rounds;
  }

  /** Prepares a work on all sides; those of ours that may be timed, each with the largest difference between it and the peer. */
  async #prepare(work: Work, threads: number, { ours, peer }: Sides): Promise<{ mine: Started; error: number | null }[]> {
    this.#say(work, threads, 'checking');
    const { model, dtype = 'F32' } = work;
    const folder = join(this.#folder, [dtype, ...Object.values(model)].join('-'));
    await ours[0].side.make({ folder, model, dtype, rank: RANK, alpha: ALPHA });
    const params = work.params(folder);
    const theirs = peer ? await peer.side.prepare({ work: work.runs, folder, params, peer: null }) : null;
    const fine: { mine: Started; error: number | null }[] = [];
    for (const mine of ours) {
      const found = await mine.side.prepare({ work: work.runs, folder, params, peer: theirs });
      const { error, problems } = theirs ? work.agree(found, theirs) : { error: null, problems: notFinite(found) };
      if (problems.length === 0) {
        fine.push({ mine, error });
        continue;
      }
      const backend = nameOf(mine);
      this.#refused.push({ name: work.name, backend, threads, reason: problems.join('; ') });
      this.progress.say(`${work.name}, ${backend}, ${threadsOf(threads)}: not timed, as the results are wrong\n  ${problems.join('\n  ')}`);
    }
    return fine;
  }

  /** Ours on each backend, the peer, ours, the peer, ...; the first round warms all up and is not kept. */
  async #time(work: Work, threads: number, sides: Sides): Promise<void> {
    const { name, title, peer: beside, goals, flops } = work;
    const fine = await this.#prepare(work, threads, sides);
    const theirs: number[] = [];
    const timed = fine.map(({ mine, error }) => {
      const [backend, ours] = [nameOf(mine), [] as number[]];
      const goal = (goals as Readonly<Record<string, number>> | null)?.[backend] ?? null;
      const result: Omit<Result, 'profile'> & { profile?: Profile } = {
        name,
        title,
        peer: beside,
        goal,
        backend,
        threads,
        flops,
        error,
        ours,
        theirs,
      };
      this.#results.push(result);
      return { side: mine.side, ours, result };
    });
    const rounds = timed.length > 0 ? this.#rounds(work) : -1;
    for (let round = 0; round <= rounds; round++) {
      this.#say(work, threads, round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
      const started = performance.now();
      const seconds: number[] = [];
      for (const { side } of timed) seconds.push((await restAfter(side.run())).seconds);
      const other = sides.peer ? (await restAfter(sides.peer.side.run())).seconds : null;
      this.#timeLeft.repeated(`${name} ${threads}`, (performance.now() - started) / 1000);
      if (round === 0) continue;
      timed.forEach(({ ours }, i) => {
        ours.push(seconds[i]);
      });
      if (other !== null) theirs.push(other);
    }
    if (this.plan.profile) {
      this.#say(work, threads, 'profiling');
      for (const { side, result } of timed) result.profile = (await side.run({ profile: true })).profile;
    }
    for (const { side } of sides.ours) await side.drop();
    await sides.peer?.side.drop();
  }

  /** The training step again and again, in fresh processes. */
  async #followMemory(threads: number, backends: readonly string[]): Promise<void> {
    const sides = await this.#start(threads, backends);
    const steps = this.#memorySteps;
    const follow = async ({ side, start }: Started, count: number) => {
      const rss: number[] = [];
      let peak = 0;
      for (let step = 1; step <= count; step++) {
        this.#say(this.#memoryWork, threads, `step ${step} of ${count}`);
        const timing = await side.run();
        if (side === sides.ours[0].side) this.#timeLeft.repeated(`memory ${threads}`, timing.seconds);
        peak = timing.peak - start;
        if (step % Math.ceil(count / 20) === 0) rss.push(timing.rss - start);
      }
      return { peak, rss };
    };
    for (const { mine } of await this.#prepare(this.#memoryWork, threads, sides)) {
      const theirs = sides.peer ? await follow(sides.peer, Math.min(steps, PEER_MEMORY_STEPS)) : null;
      this.#memory.push({ backend: nameOf(mine), threads, steps, ours: await follow(mine, steps), theirs });
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
