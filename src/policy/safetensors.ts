/**
 * The safetensors format: 8 bytes little-endian header length, a JSON header, then raw little-endian values.
 *
 * F32, F16 and BF16 are read (the latter two widened to float32), F32 is written. Every offset is checked against shape, dtype and file before a
 * value is touched: the files are untrusted. Format: the safetensors documentation of Hugging Face.
 */
import { open, rename, rm } from 'node:fs/promises';

export interface TensorRecord {
  readonly dtype: 'F32' | 'F16' | 'BF16';
  readonly shape: readonly number[];
  /** Bytes from the start of the data section. */
  readonly offsets: readonly [number, number];
}

const BYTES = { F32: 4, F16: 2, BF16: 2 } as const;
const MAX_HEADER = 100_000_000;

/** An open safetensors file: its header, and its tensors one at a time. */
export interface SafetensorsFile {
  readonly path: string;
  readonly records: ReadonlyMap<string, TensorRecord>;
  readonly metadata: Readonly<Record<string, string>>;
  /** Values of one tensor as float32. */
  read(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/**
 * Opens a file and checks its header.
 *
 * @throws Error naming the file and what is wrong with it (truncated, overlapping, wrong sizes, unknown dtype).
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await open(path, 'r');
  try {
    const stats = await file.stat();
    const { size } = stats;
    const fail = (what: string): never => {
      throw new Error(`${path} is not a valid safetensors file: ${what}`);
    };
    if (!stats.isFile()) fail('it is no regular file');
    if (size < 8) fail(`${size} bytes, expected at least 8`);
    const prefix = Buffer.alloc(8);
    await readFully(file, prefix, 0, path);
    const headerLength = Number(prefix.readBigUInt64LE());
    if (headerLength > MAX_HEADER || 8 + headerLength > size) {
      fail(`a header of ${prefix.readBigUInt64LE()} bytes does not fit in a file of ${size} (at most ${MAX_HEADER} are read)`);
    }
    const header = Buffer.alloc(headerLength);
    await readFully(file, header, 8, path);
    let json: Record<string, unknown> = {};
    try {
      json = JSON.parse(header.toString('utf8'));
    } catch (error) {
      fail(`its header is not JSON (${(error as Error).message})`);
    }
    if (typeof json !== 'object' || json === null || Array.isArray(json)) fail('its header is not a JSON object');
    const dataStart = 8 + headerLength;
    const records = new Map<string, TensorRecord>();
    const problems: string[] = [];
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
    if (typeof metadata !== 'object' || Object.values(metadata).some((value) => typeof value !== 'string'))
      problems.push('__metadata__ is no table of texts');
    const byOffset = [...records].filter(([, { offsets }]) => offsets[1] > offsets[0]).sort(([, a], [, b]) => a.offsets[0] - b.offsets[0]);
    for (let i = 1; i < byOffset.length; i++) {
      if (byOffset[i][1].offsets[0] < byOffset[i - 1][1].offsets[1]) problems.push(`${byOffset[i][0]} overlaps ${byOffset[i - 1][0]}`);
    }
    if (problems.length) fail(problems.join('; '));
    return {
      path,
      records,
      metadata: metadata as Record<string, string>,
      async read(name) {
        const record = records.get(name);
        if (!record) throw new Error(`${path} holds no tensor ${name}`);
        const [begin, end] = record.offsets;
        const bytes = new Uint8Array(end - begin);
        await readFully(file, bytes, dataStart + begin, path);
        return widen(bytes, record.dtype);
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Writes float32 tensors, in the given order, to a temporary name that is flushed and then renamed: a reader never sees half a file. */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, { readonly values: Float32Array; readonly shape: readonly number[] }>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const [name, { values, shape }] of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + values.byteLength] };
    offset += values.byteLength;
  }
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, ' ')]);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(padded.length));
  const temporary = `${path}.${process.pid}.tmp`;
  const file = await open(temporary, 'w');
  try {
    await file.write(prefix);
    await file.write(padded);
    for (const { values } of tensors.values()) await file.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    await file.sync();
    await file.close();
    await rename(temporary, path);
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(temporary, { force: true });
    throw error;
  }
}

function recordProblem(value: unknown, dataSize: number): string | null {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
  const whole = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 0;
  if (typeof dtype !== 'string' || !Object.hasOwn(BYTES, dtype)) return `dtype ${JSON.stringify(dtype)}, expected F32, F16 or BF16`;
  if (!Array.isArray(shape) || !shape.every(whole)) return `shape ${JSON.stringify(shape)}`;
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(whole)) return `data_offsets ${JSON.stringify(offsets)}`;
  const expected = shape.reduce((a: number, b: number) => a * b, BYTES[dtype as keyof typeof BYTES]);
  const [begin, end] = offsets as [number, number];
  if (end - begin !== expected) return `${end - begin} bytes for shape [${shape}] of ${dtype}, expected ${expected}`;
  if (end > dataSize) return `ends at byte ${end} of ${dataSize}: the file is truncated`;
  return null;
}

async function readFully(file: Awaited<ReturnType<typeof open>>, bytes: Uint8Array, position: number, path: string): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, position + done);
    if (bytesRead === 0)
      throw new Error(`${path} ended after ${done} of ${bytes.length} bytes at ${position}: it became shorter while it was read`);
    done += bytesRead;
  }
}

/** Half-precision values to float32, exactly. */
function widen(bytes: Uint8Array, dtype: TensorRecord['dtype']): Float32Array {
  if (dtype === 'F32') return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const bits = new Uint32Array(halves.length);
  if (dtype === 'BF16') for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16;
  else for (let i = 0; i < halves.length; i++) bits[i] = halfToFloatBits(halves[i]);
  return new Float32Array(bits.buffer);
}

function halfToFloatBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  let fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  let shift = 0; // subnormal: normalise it
  while (!(fraction & 0x400)) {
    fraction <<= 1;
    shift++;
  }
  return sign | ((113 - shift) << 23) | ((fraction & 0x3ff) << 13);
}
