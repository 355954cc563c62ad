/**
 * A kernel as a child process: started from a kernelspec folder, spoken to over ZeroMQ, ended for certain.
 *
 * What jupyter_client does for Python, as far as running a notebook needs it: shell requests, iopub messages, SIGINT, and an end that leaves no
 * process behind, Ctrl-C included. Unix sockets where there are any (no ports to race for), TCP elsewhere.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { optionalPackage } from '../display/optional-package.js';
import { decodeMessage, encodeRequest, type Message } from './wire.js';

export interface KernelOptions {
  /** The kernel's working directory, as Jupyter sets it: the notebook's folder. */
  readonly cwd: string;
  /** Called with every published message: streams, displays, status. */
  readonly onMessage: (message: Message) => void;
  /** Gets what the kernel process itself writes, which is not part of any cell. Not shown by default. */
  readonly onLog?: (text: string) => void;
  /** Milliseconds until the kernel must have answered for the first time. */
  readonly startTimeout?: number;
  /** Environment variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** `ipc` (Unix sockets) everywhere but on Windows. */
  readonly transport?: 'ipc' | 'tcp';
}

export interface Kernel {
  /** The kernel's answer to `kernel_info_request`: its language, its versions. */
  readonly info: Readonly<Record<string, unknown>>;
  /** Resolves with the reply. Rejects when the kernel dies first. */
  request(type: string, content: object): Promise<Message>;
  /** Runs code as a cell; resolves with the reply once all that the cell published has arrived too. `onSent` gets the id its publications name. */
  execute(code: string, onSent: (id: string) => void): Promise<Message>;
  /** SIGINT. */
  interrupt(): void;
  /** The process's end, with a sentence that says how; pending until then. */
  readonly died: Promise<string>;
  /** Ends the kernel, with force after `grace` milliseconds, and waits for its end. */
  stop(grace?: number): Promise<void>;
}

/** Starts the kernel of the spec in folder `spec` and waits until it answers and its publications arrive. */
export async function startKernel(spec: string, options: KernelOptions): Promise<Kernel> {
  const { cwd, onMessage, onLog, startTimeout = 180_000, env = {}, transport = process.platform === 'win32' ? 'tcp' : 'ipc' } = options;
  const zmq = await optionalPackage<typeof import('zeromq')>('zeromq', 'Running a notebook');
  const folder = await mkdtemp(join(tmpdir(), 'kernel-'));
  const [shell_port, iopub_port, stdin_port, control_port, hb_port] = transport === 'ipc' ? [1, 2, 3, 4, 5] : await freePorts(5);
  const ip = transport === 'ipc' ? join(folder, 's') : '127.0.0.1';
  const key = randomUUID();
  const connection = join(folder, 'connection.json');
  const ports = { shell_port, iopub_port, stdin_port, control_port, hb_port };
  await writeFile(connection, JSON.stringify({ transport, ip, key, signature_scheme: 'hmac-sha256', kernel_name: '', ...ports }), {
    mode: 0o600,
  });

  const { argv, env: specEnv } = await readSpec(spec, connection);
  const child = spawn(argv[0], argv.slice(1), {
    cwd,
    env: { ...process.env, ...specEnv, JPY_PARENT_PID: String(process.pid), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Its own process group: Ctrl-C in the terminal reaches this process alone, which then ends the kernel with all its children.
    detached: process.platform !== 'win32',
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-4000);
      onLog?.(text);
    });
  }
  let alive = true;
  const died = new Promise<string>((resolveDied) => {
    const end = (how: string) => {
      alive = false;
      forget(child);
      resolveDied(`The kernel ${how}.${log.trim() ? ` Its last words: ${log.trim()}` : ''}`);
    };
    child.once('error', (error) => end(`could not be started (${argv[0]}): ${error.message}`));
    child.once('close', (code, signal) => end(signal ? `was ended by ${signal}` : `ended by itself with exit code ${code}`));
  });
  remember(child);

  const shell = new zmq.Dealer({ linger: 0 });
  // Without a limit: zeromq drops what it cannot keep.
  const iopub = new zmq.Subscriber({ linger: 0, receiveHighWaterMark: 0 });
  const replies = new Map<string, (message: Message) => void>();
  const idles = new Map<string, () => void>();
  let published = () => {};
  const firstPublication = new Promise<void>((resolveFirst) => {
    published = resolveFirst;
  });
  const address = (port: number) => `${transport}://${ip}:${port}`;
  shell.connect(address(shell_port));
  iopub.connect(address(iopub_port));
  iopub.subscribe();
  const listening = Promise.all([
    listen(shell, (parts) => {
      const message = decodeMessage(parts, key);
      replies.get(message.parent.msg_id ?? '')?.(message);
    }),
    listen(iopub, (parts) => {
      published();
      const message = decodeMessage(parts, key);
      onMessage(message);
      if (message.header.msg_type === 'status' && message.content.execution_state === 'idle') idles.get(message.parent.msg_id ?? '')?.();
    }),
  ]);

  const deadOr = <T>(work: Promise<T>): Promise<T> =>
    Promise.race([
      work,
      died.then((how) => {
        throw new KernelDied(how);
      }),
    ]);
  const send = async (
    type: string,
    content: object,
    { onSent, untilIdle = false }: { onSent?: (id: string) => void; untilIdle?: boolean } = {},
  ) => {
    const { id, parts } = encodeRequest(type, content, { key, session: key });
    const reply = new Promise<Message>((resolveReply) => replies.set(id, resolveReply));
    const idle = untilIdle && new Promise<void>((resolveIdle) => idles.set(id, resolveIdle));
    onSent?.(id);
    try {
      await shell.send(parts);
      const [message] = await deadOr(Promise.all([reply, idle]));
      return message;
    } finally {
      replies.delete(id);
      idles.delete(id);
    }
  };
  const request: Kernel['request'] = (type, content) => send(type, content);
  const execute: Kernel['execute'] = (code, onSent) =>
    send(
      'execute_request',
      { code, silent: false, store_history: true, user_expressions: {}, allow_stdin: false, stop_on_error: true },
      { onSent, untilIdle: true },
    );
  const stop = async (grace = 0) => {
    if (alive && grace > 0) {
      request('shutdown_request', { restart: false }).catch(() => {});
      await Promise.race([died, delay(grace)]);
    }
    if (alive) kill(child, 'SIGKILL');
    await died;
    // Workers and other children of a kernel that ended by itself.
    kill(child, 'SIGKILL');
    shell.close();
    iopub.close();
    await listening;
    await rm(folder, { recursive: true, force: true });
  };

  try {
    const info = await within(startTimeout, async () => {
      const reply = await request('kernel_info_request', {});
      // A subscription takes effect some time after `connect`: ask again until a publication came through.
      for (let arrived = false; !arrived; ) {
        arrived = await Promise.race([firstPublication.then(() => true), delay(100).then(() => false)]);
        if (!arrived) await request('kernel_info_request', {});
      }
      return reply.content;
    });
    return { info, request, execute, interrupt: () => void kill(child, 'SIGINT', { group: false }), died, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The kernel process ended before it answered. */
export class KernelDied extends Error {
  override readonly name = 'KernelDied';
}

async function readSpec(spec: string, connection: string): Promise<{ argv: string[]; env: Record<string, string> }> {
  const folder = resolve(spec);
  const { argv, env = {} } = JSON.parse(await readFile(join(folder, 'kernel.json'), 'utf8')) as {
    argv: string[];
    env?: Record<string, string>;
  };
  const filled = argv.map((part) => part.replaceAll('{resource_dir}', folder).replaceAll('{connection_file}', connection));
  // The same Node that runs the notebook runner, not whichever comes first in PATH.
  if (filled[0] === 'node') filled[0] = process.execPath;
  return { argv: filled, env };
}

async function listen(socket: AsyncIterable<Buffer[]>, onParts: (parts: Buffer[]) => void): Promise<void> {
  for await (const parts of socket) onParts(parts);
}

async function within<T>(milliseconds: number, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`The kernel did not answer within ${milliseconds / 1000} s of its start.`)), milliseconds);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolveListening, reject) => {
        server.once('error', reject);
        server.listen(0, '127.0.0.1', resolveListening);
      });
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}

const delay = (milliseconds: number) => new Promise<void>((done) => setTimeout(done, milliseconds));

const living = new Set<ChildProcess>();
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** While a kernel lives, the end of this process, in any way it can notice, is the kernel's end. */
function remember(child: ChildProcess): void {
  if (living.size === 0) {
    process.on('exit', killAll);
    for (const signal of SIGNALS) process.on(signal, onSignal);
  }
  living.add(child);
}

function forget(child: ChildProcess): void {
  if (!living.delete(child) || living.size > 0) return;
  process.off('exit', killAll);
  for (const signal of SIGNALS) process.off(signal, onSignal);
}

function killAll(): void {
  for (const child of living) kill(child, 'SIGKILL');
}

/** A handler takes the signal's default effect away: give it back, unless the program has its own handler and so decides itself. */
function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  killAll();
  process.off(signal, onSignal);
  process.kill(process.pid, signal);
}

function kill(child: ChildProcess, signal: NodeJS.Signals, { group = true } = {}): void {
  if (child.pid === undefined) return;
  try {
    process.kill(group && process.platform !== 'win32' ? -child.pid : child.pid, signal);
  } catch (error) {
    // No such process; or, on macOS, a group whose last process has ended but was not yet waited for.
    if (!['ESRCH', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
