/**
 * The weight files of a checkpoint folder: one `model.safetensors`, or shards with an index.
 *
 * Opening them reads headers alone. Whether names, shapes and types are those of the config is decided there, with every mismatch in one error, and
 * before any value is read or any memory is taken. Values then come tensor by tensor, in slices, straight to where they stay.
 */
import type * as tf from '@tensorflow/tfjs-core';
import { firstNonFinite, NonFiniteError } from '../non-finite.js';
import { basename, isThere, join, listFolder, readBytes } from '../platform/files.js';
import { unwritten } from '../tensors/filled.js';
import { firstNonFiniteHalf, nonFiniteHalf } from '../tensors/finite.js';
import { type HalfFormat, markHalf, widenHalves } from '../tensors/half.js';
import { type PolicyConfig, weightShapes } from './config.js';
import { BYTES_OF, listed, openSafetensors, type SafetensorsFile, SLICE, type StoredType, type TensorRecord } from './safetensors.js';

const EMBEDDING = 'model.embed_tokens.weight';
const TIED_HEAD = 'lm_head.weight';
/** Written by old versions of Transformers; computed from the config. */
const COMPUTED = /\.rotary_emb\.inv_freq$/;

/** How a matrix lies on the backend: as float32, or in the 16 bits it is stored in (see `tensors/half.ts`). */
export type Storage = 'float32' | 'stored';

/** How far the reading of weights is. */
export interface LoadProgress {
  /** Read so far, of all that will be read. */
  readonly bytes: number;
  /** Bytes of all weights as stored. */
  readonly total: number;
  /** Since reading began. */
  readonly seconds: number;
}

/** How weights are read. */
export interface LoadOptions {
  /** `stored` keeps matrices of F16 and BF16 files in 16 bits. The policy is frozen then: an adapter can be trained, not the weights. Default float32. */
  readonly storage?: Storage;
  /** Called after every slice of at most 16 MiB. */
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Heeded between slices. */
  readonly signal?: AbortSignal;
}

/** The weights of a folder, known to fit a config. */
export interface Shards {
  /** In the order of `weightShapes`. */
  readonly records: ReadonlyMap<string, TensorRecord>;
  /** Bytes of all weights as stored. */
  readonly bytes: number;
  /** Reads every weight for its numbers alone, before any is put to use. NonFiniteError. */
  check(): Promise<void>;
  /** Reads every weight, in order, onto the backend; `take` owns the tensor. NonFiniteError for one that holds NaN or infinities. */
  readAll(take: (name: string, tensor: tf.Tensor) => void, options?: LoadOptions): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a folder's weight files and holds them to the config.
 *
 * @throws Error listing what is missing, unknown, doubled or of another shape
 */
export async function openShards(folder: string, config: PolicyConfig): Promise<Shards> {
  const { files, index } = await openFiles(folder);
  try {
    const where = new Map<string, SafetensorsFile>();
    const expected = weightShapes(config);
    const problems: string[] = [];
    for (const file of files) {
      for (const name of file.records.keys()) {
        const other = where.get(name);
        if (other) problems.push(`${name} is in ${basename(other.path)} and in ${basename(file.path)}`);
        where.set(name, file);
      }
    }
    const recordOf = (name: string) => where.get(name)?.records.get(name);
    for (const [name, shape] of expected) {
      const found = recordOf(name);
      if (!found) problems.push(`${name} is missing (shape [${shape}])`);
      else if (found.shape.join() !== shape.join()) problems.push(`${name} has shape [${found.shape}], the config asks for [${shape}]`);
    }
    for (const name of where.keys()) {
      // Some writers store the tied head as well: it is the embedding again.
      if (!expected.has(name) && !(config.tiedEmbeddings && name === TIED_HEAD) && !COMPUTED.test(name))
        problems.push(`${name} is not a weight of this architecture`);
    }
    if (index) problems.push(...indexProblems(index, files));
    if (problems.length) throw new Error(`${folder} does not fit its config.json:\n${listed(problems, 50)}`);
    if (config.tiedEmbeddings && where.has(TIED_HEAD) && !(await sameValues(where, TIED_HEAD, EMBEDDING))) {
      throw new Error(
        `${folder} holds an ${TIED_HEAD} of its own, but its config.json ties the head to the embedding: set tie_word_embeddings to false`,
      );
    }
    const records = new Map([...expected.keys()].map((name) => [name, recordOf(name) as TensorRecord]));
    const bytes = [...records.values()].reduce((sum, { offsets: [begin, end] }) => sum + end - begin, 0);
    return {
      records,
      bytes,
      async check() {
        const slice = new Uint8Array(SLICE);
        for (const [name, record] of records) {
          const file = where.get(name) as SafetensorsFile;
          await inSlices(record, async (from, count) => {
            const bytes = slice.subarray(0, count);
            await file.readBytes(name, bytes, from);
            assertFiniteBytes(file, name, record.dtype, bytes, from);
          });
        }
      },
      async readAll(take, { storage = 'float32', onProgress, signal } = {}) {
        const started = performance.now();
        let done = 0;
        for (const [name, record] of records) {
          const tensor = await readTensor(where.get(name) as SafetensorsFile, name, record, storage, (count) => {
            signal?.throwIfAborted();
            done += count;
            onProgress?.({ bytes: done, total: bytes, seconds: (performance.now() - started) / 1000 });
          });
          take(name, tensor);
        }
      },
      close: () => closeAll(files),
    };
  } catch (error) {
    await closeAll(files);
    throw error;
  }
}

const closeAll = async (files: readonly SafetensorsFile[]): Promise<void> => {
  await Promise.all(files.map((file) => file.close()));
};

async function readTensor(
  file: SafetensorsFile,
  name: string,
  record: TensorRecord,
  storage: Storage,
  onSlice: (bytes: number) => void,
): Promise<tf.Tensor> {
  const { dtype, shape } = record;
  // Two numbers share an element; vectors are small and stay float32.
  const half = dtype !== 'F32' && storage === 'stored' && shape.length === 2 && shape[1] % 2 === 0;
  const place = unwritten(half ? [shape[0], shape[1] / 2] : shape, half ? 'int32' : 'float32');
  const slice = half || dtype === 'F32' ? null : new Uint8Array(SLICE);
  try {
    await inSlices(record, async (from, count) => {
      if (!slice) {
        await file.readBytes(name, place.viewOf(from, count), from);
        assertFiniteBytes(file, name, record.dtype, place.viewOf(from, count), from);
      } else {
        await file.readBytes(name, slice.subarray(0, count), from);
        assertFiniteBytes(file, name, record.dtype, slice.subarray(0, count), from);
        const wide = place.viewOf(2 * from, 2 * count);
        widenHalves(
          new Uint16Array(slice.buffer, 0, count / 2),
          dtype as HalfFormat,
          new Float32Array(wide.buffer, wide.byteOffset, count / 2),
        );
      }
      onSlice(count);
    });
  } catch (error) {
    place.discard();
    throw error;
  }
  const tensor = place.finish();
  return half ? markHalf(tensor, dtype) : tensor;
}

/** Throws a NonFiniteError for the first number of a slice of stored bytes that is NaN or infinite. */
function assertFiniteBytes({ path }: SafetensorsFile, name: string, dtype: StoredType, bytes: Uint8Array, from: number): void {
  const count = bytes.length / BYTES_OF[dtype];
  const values =
    dtype === 'F32' ? new Float32Array(bytes.buffer, bytes.byteOffset, count) : new Uint16Array(bytes.buffer, bytes.byteOffset, count);
  const index = values instanceof Float32Array ? firstNonFinite(values) : firstNonFiniteHalf(values, dtype as HalfFormat);
  if (index < 0) return;
  const value = values instanceof Float32Array ? values[index] : nonFiniteHalf(values[index], dtype as HalfFormat);
  throw new NonFiniteError(
    `${path}: ${name}`,
    value,
    from / BYTES_OF[dtype] + index,
    'the file was damaged or written by a run that had failed',
  );
}

/** Calls `each` for neighbouring ranges of a tensor's stored bytes, at least once even where there are none. */
async function inSlices({ offsets: [begin, end] }: TensorRecord, each: (from: number, count: number) => Promise<void>): Promise<void> {
  const length = end - begin;
  for (let from = 0; from === 0 || from < length; from += SLICE) await each(from, Math.min(SLICE, length - from));
}

/** Whether two tensors of one shape hold the same numbers; compared in slices of float32. */
async function sameValues(where: ReadonlyMap<string, SafetensorsFile>, a: string, b: string): Promise<boolean> {
  const [first, second] = [a, b].map((name) => {
    const file = where.get(name) as SafetensorsFile;
    return { file, name, record: file.records.get(name) as TensorRecord };
  });
  if (first.record.shape.join() !== second.record.shape.join()) return false;
  const size = first.record.shape.reduce((x, y) => x * y, 1);
  const step = SLICE / 4;
  for (let from = 0; from < size; from += step) {
    const count = Math.min(step, size - from);
    const [x, y] = await Promise.all([first, second].map(({ file, name, record }) => readNumbers(file, name, record.dtype, from, count)));
    if (x.some((value, i) => value !== y[i])) return false;
  }
  return true;
}

async function readNumbers(file: SafetensorsFile, name: string, dtype: StoredType, from: number, count: number): Promise<Float32Array> {
  const bytes = new Uint8Array(count * BYTES_OF[dtype]);
  await file.readBytes(name, bytes, from * BYTES_OF[dtype]);
  assertFiniteBytes(file, name, dtype, bytes, from * BYTES_OF[dtype]); // a NaN is no other head
  if (dtype === 'F32') return new Float32Array(bytes.buffer);
  const values = new Float32Array(count);
  widenHalves(new Uint16Array(bytes.buffer), dtype, values);
  return values;
}

/** File by name of weight, as `model.safetensors.index.json` maps them. */
type WeightIndex = ReadonlyMap<string, string>;

/** Where an index and the shards do not say the same: one of them is not of this checkpoint. */
function indexProblems(index: WeightIndex, files: readonly SafetensorsFile[]): string[] {
  const problems: string[] = [];
  const shards = new Map(files.map((file) => [basename(file.path), file]));
  for (const [name, file] of index)
    if (!shards.get(file)?.records.has(name)) problems.push(`${name} is not in ${file}, where the index has it`);
  for (const [file, { records }] of shards)
    for (const name of records.keys()) if (!index.has(name)) problems.push(`${name} is in ${file}, but not in the index`);
  return problems;
}

async function openFiles(folder: string): Promise<{ files: SafetensorsFile[]; index?: WeightIndex }> {
  const single = join(folder, 'model.safetensors');
  if (await isThere(single)) return { files: [await openSafetensors(single)] };
  const indexPath = join(folder, 'model.safetensors.index.json');
  if (!(await isThere(indexPath))) {
    const found = (await listFolder(folder).catch(() => [])).filter((name) => /\.(safetensors|bin|gguf)$/.test(name));
    throw new Error(
      `${folder} holds no model.safetensors and no model.safetensors.index.json${found.length ? ` (found ${found.join(', ')})` : ''}`,
    );
  }
  const map = ((await readJson(indexPath)) as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== 'object' || map === null) throw new Error(`${indexPath} has no weight_map`);
  const index = new Map(Object.entries(map).map(([name, file]) => [name, String(file)]));
  const names = [...new Set(index.values())].sort();
  const outside = names.filter((name) => name === '' || name === '.' || name === '..' || /[\\/]/.test(name));
  if (outside.length) throw new Error(`${indexPath} names files outside its folder: ${outside.join(', ')}`);
  const there = await Promise.all(names.map((name) => isThere(join(folder, name))));
  const missing = names.filter((_, i) => !there[i]);
  if (missing.length) throw new Error(`${indexPath} names files that are not there: ${missing.join(', ')}. Is the download complete?`);
  const files: SafetensorsFile[] = [];
  try {
    for (const name of names) files.push(await openSafetensors(join(folder, name)));
  } catch (error) {
    await closeAll(files);
    throw error;
  }
  return { files, index };
}

/** Bytes of the largest JSON file that is read; an index of a thousand shards takes ten million. */
const LARGEST_JSON = 1 << 27;

/** The JSON of a file; its name is in the error where it is none. */
export async function readJson(path: string): Promise<unknown> {
  const bytes = await readBytes(path, 'JSON', LARGEST_JSON);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    throw new Error(`${path} is not JSON: ${(error as Error).message}`);
  }
}
