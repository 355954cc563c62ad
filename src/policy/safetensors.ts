/**
 * The safetensors format: 8 bytes little-endian header length, a JSON header, then raw little-endian values.
 *
 * F32, F16 and BF16 are read, in slices, and written. As in Hugging Face's own reader every name occurs once, every offset fits shape, dtype
 * and file, and the tensors cover the data without a gap; all of that is checked before a value is touched: the files are untrusted.
 */
import { type OpenFile, openFile } from '../platform/files.js';
import { replaceByParts } from '../platform/replace-file.js';
import { widenHalves } from '../tensors/half.js';

/** How a number is stored: 32 bits, or 16 of either kind. */
export type StoredType = 'F32' | 'F16' | 'BF16';

/** One tensor of a file, as the header has it. */
export interface TensorRecord {
  /** How its numbers are stored. */
  readonly dtype: StoredType;
  /** Row-major. */
  readonly shape: readonly number[];
  /** Bytes from the start of the data section. */
  readonly offsets: readonly [number, number];
}

export const BYTES_OF: Readonly<Record<StoredType, number>> = { F32: 4, F16: 2, BF16: 2 };
/** The advice of a number that is not finite where something is saved. */
export const NOT_SAVED = { advice: 'nothing was saved, and what was saved before is untouched' };
const MAX_HEADER = 100_000_000;
/** Bytes that one call reads at most; a multiple of 4. Linux moves less than 2 GiB at once. */
export const SLICE = 16 * 1024 * 1024;

/** A tensor to write: float32, or bits as they are stored. */
export interface StoredTensor {
  /** Row-major. */
  readonly shape: readonly number[];
  /** Default F32. */
  readonly dtype?: StoredType;
  /** As many as the shape asks for; a function is called when it is their turn, so that not all of them are in memory together. */
  readonly values: Float32Array | Uint16Array | (() => Promise<Float32Array | Uint16Array>);
}

/** An open safetensors file: its header, and its tensors one at a time. */
export interface SafetensorsFile {
  /** Its name, for errors. */
  readonly path: string;
  /** What the header says of each tensor. */
  readonly records: ReadonlyMap<string, TensorRecord>;
  /** Texts beside the tensors. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Values of one tensor as float32; halves are widened exactly. */
  read(name: string): Promise<Float32Array>;
  /** A tensor's bytes as stored, from byte `from` of it on, as many as `into` takes. */
  readBytes(name: string, into: Uint8Array, from: number): Promise<void>;
  /** Gives the file back; nothing is read afterwards. */
  close(): Promise<void>;
}

/**
 * Opens a file and checks its header.
 *
 * @throws Error naming the file and what is wrong with it (truncated, overlapping, wrong sizes, unknown dtype).
 *
 * @example
 * ```ts
 * import { join } from 'node:path';
 * import { openSafetensors } from 'search-e1/policy';
 * import { basePolicyFolder } from 'search-e1/tinypedia';
 *
 * const file = await openSafetensors(join(basePolicyFolder(), 'model.safetensors'));
 * const { shape, dtype } = file.records.get('model.norm.weight') ?? {};
 * [dtype, shape]; // [ 'F32', [ 96 ] ]
 * (await file.read('model.norm.weight')).length; // 96
 * await file.close();
 * ```
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const fail = (what: string): never => {
    throw new Error(`${path} is not a valid safetensors file: ${what}`);
  };
  const file = await openFile(path, 'safetensors');
  try {
    const { size } = file;
    if (size < 8) fail(`${size} bytes, expected at least 8`);
    const prefix = new DataView(new ArrayBuffer(8));
    await readFully(file, new Uint8Array(prefix.buffer), 0, path);
    const headerLength = Number(prefix.getBigUint64(0, true));
    if (headerLength > MAX_HEADER || 8 + headerLength > size) {
      fail(`a header of ${prefix.getBigUint64(0, true)} bytes does not fit in a file of ${size} (at most ${MAX_HEADER} are read)`);
    }
    const header = new Uint8Array(headerLength);
    await readFully(file, header, 8, path);
    let json: Record<string, unknown> = {};
    let text = '';
    try {
      text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
      json = JSON.parse(text);
    } catch (error) {
      fail(`its header is not JSON (${(error as Error).message})`);
    }
    if (json !== null && typeof json === 'object' && !text.startsWith('{') && !Array.isArray(json))
      fail('its header does not begin with {');
    if (typeof json !== 'object' || json === null || Array.isArray(json)) fail('its header is not a JSON object');
    const dataStart = 8 + headerLength;
    const records = new Map<string, TensorRecord>();
    const problems = repeatedNames(text).map((name) => `${name} occurs twice in the header`);
    for (const [name, value] of Object.entries(json)) {
      if (name === '__metadata__') continue;
      const problem = recordProblem(value, size - dataStart);
      if (problem) problems.push(`${name}: ${problem}`);
      else {
        const { dtype, shape, data_offsets } = value as { dtype: TensorRecord['dtype']; shape: number[]; data_offsets: [number, number] };
        records.set(name, { dtype, shape, offsets: data_offsets });
      }
    }
    const metadata = json.__metadata__ ?? {};
    if (typeof metadata !== 'object' || Array.isArray(metadata) || Object.values(metadata).some((value) => typeof value !== 'string'))
      problems.push('__metadata__ is no table of texts');
    const byOffset = [...records].filter(([, { offsets }]) => offsets[1] > offsets[0]).sort(([, a], [, b]) => a.offsets[0] - b.offsets[0]);
    let end = 0;
    byOffset.forEach(([name, { offsets }], i) => {
      if (offsets[0] < end) problems.push(`${name} overlaps ${byOffset[i - 1][0]}`);
      else if (offsets[0] > end && problems.length === 0) problems.push(`no tensor covers bytes ${end} to ${offsets[0]}`);
      end = Math.max(end, offsets[1]);
    });
    if (problems.length === 0 && end < size - dataStart) problems.push(`no tensor covers bytes ${end} to ${size - dataStart}`);
    if (problems.length) fail(firstOf(problems));
    const recordOf = (name: string) => {
      const record = records.get(name);
      if (!record) throw new Error(`${path} holds no tensor ${name}`);
      return record;
    };
    const readBytes = async (name: string, into: Uint8Array, from: number) => {
      const [begin, end] = recordOf(name).offsets;
      if (from + into.length > end - begin)
        throw new RangeError(`${path}: ${name} has ${end - begin} bytes, asked for ${into.length} from ${from} on`);
      await readFully(file, into, dataStart + begin + from, path);
    };
    return {
      path,
      records,
      metadata: metadata as Record<string, string>,
      readBytes,
      async read(name) {
        const { dtype, offsets } = recordOf(name);
        const bytes = new Uint8Array(offsets[1] - offsets[0]);
        await readBytes(name, bytes, 0);
        if (dtype === 'F32') return new Float32Array(bytes.buffer);
        const values = new Float32Array(bytes.length / 2);
        widenHalves(new Uint16Array(bytes.buffer), dtype, values);
        return values;
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Writes tensors, in the given order, to a temporary name that is flushed and then renamed: a reader never sees half a file.
 *
 * @example
 * ```ts
 * import { mkdtemp } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { openSafetensors, writeSafetensors } from 'search-e1/policy';
 *
 * const path = join(await mkdtemp(join(tmpdir(), 'tensors-')), 'one.safetensors');
 * await writeSafetensors(path, new Map([['weight', { shape: [2], values: Float32Array.of(1, 2) }]]));
 * const file = await openSafetensors(path);
 * Array.from(await file.read('weight')); // [ 1, 2 ]
 * await file.close();
 * ```
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const [name, { shape, dtype = 'F32' }] of tensors) {
    const end = offset + shape.reduce((a, b) => a * b, BYTES_OF[dtype]);
    header[name] = { dtype, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = JSON.stringify(header);
  const bytes = new TextEncoder().encode(text);
  const padded = new TextEncoder().encode(text + ' '.repeat((8 - (bytes.length % 8)) % 8));
  const prefix = new DataView(new ArrayBuffer(8));
  prefix.setBigUint64(0, BigInt(padded.length), true);
  await replaceByParts(path, async (put) => {
    await put(new Uint8Array(prefix.buffer));
    await put(padded);
    for (const [name, { values, shape, dtype = 'F32' }] of tensors) {
      const given = typeof values === 'function' ? await values() : values;
      const expected = shape.reduce((a, b) => a * b, BYTES_OF[dtype]);
      if (given.byteLength !== expected)
        throw new RangeError(`${name}: ${given.byteLength} bytes for shape [${shape}] of ${dtype}, expected ${expected}`);
      await put(new Uint8Array(given.buffer, given.byteOffset, given.byteLength));
    }
  });
}

/** Names that an object of the header holds more than once; a JSON parser keeps the last without a word. */
function repeatedNames(json: string): string[] {
  const repeated = new Set<string>();
  const open: (Set<string> | null)[] = [];
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}[\]]/g)) {
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(null);
    else if (token === '}' || token === ']') open.pop();
    else if (token.endsWith(':')) {
      const name = JSON.parse(token.slice(0, token.lastIndexOf('"') + 1)) as string;
      const names = open.at(-1);
      if (names?.has(name)) repeated.add(name);
      names?.add(name);
    }
  }
  return [...repeated];
}

/** Problems, a line each. A file of another model has one per tensor: the first ones tell. */
export function listed(problems: readonly string[], most = 20): string {
  const lines = problems.slice(0, most).map((problem) => `  ${problem}`);
  return [...lines, ...(problems.length > most ? [`  and ${problems.length - most} more`] : [])].join('\n');
}

/** A broken file may have thousands of problems: the first ones tell. */
function firstOf(problems: readonly string[], most = 20): string {
  const rest = problems.length - most;
  return problems.slice(0, most).join('; ') + (rest > 0 ? `; and ${rest} more` : '');
}

function recordProblem(value: unknown, dataSize: number): string | null {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
  const whole = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 0;
  if (typeof dtype !== 'string' || !Object.hasOwn(BYTES_OF, dtype)) return `dtype ${JSON.stringify(dtype)}, expected F32, F16 or BF16`;
  if (!Array.isArray(shape) || !shape.every(whole)) return `shape ${JSON.stringify(shape)}`;
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(whole)) return `data_offsets ${JSON.stringify(offsets)}`;
  const expected = shape.reduce((a: number, b: number) => a * b, BYTES_OF[dtype as StoredType]);
  const [begin, end] = offsets as [number, number];
  if (end - begin !== expected) return `${end - begin} bytes for shape [${shape}] of ${dtype}, expected ${expected}`;
  if (end > dataSize) return `ends at byte ${end} of ${dataSize}: the file is truncated`;
  return null;
}

async function readFully(file: OpenFile, bytes: Uint8Array, position: number, path: string): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const read = await file.read(bytes.subarray(done, done + SLICE), position + done);
    if (read === 0)
      throw new Error(`${path} ended after ${done} of ${bytes.length} bytes at ${position}: it became shorter while it was read`);
    done += read;
  }
}
