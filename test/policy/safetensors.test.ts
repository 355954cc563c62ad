/** The safetensors format: what is written comes back bit for bit, and no file, however broken, does worse than an error with its name. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { openSafetensors, writeSafetensors } from '../../src/policy/safetensors.js';

const folder = mkdtempSync(join(tmpdir(), 'search-e1-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'model.safetensors');

/** A file from its header, as an object or as raw text, and its data. */
function write(header: unknown, data: Uint8Array = new Uint8Array(), headerLength?: bigint): string {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(headerLength ?? BigInt(text.length));
  writeFileSync(path, Buffer.concat([prefix, text, data]));
  return path;
}
const bytesOf = (values: Float32Array | Uint16Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
const record = (shape: unknown, offsets: unknown, dtype: unknown = 'F32') => ({ dtype, shape, data_offsets: offsets });

async function readAll(file = path): Promise<Map<string, Float32Array>> {
  const opened = await openSafetensors(file);
  try {
    const values = new Map<string, Float32Array>();
    for (const name of opened.records.keys()) values.set(name, await opened.read(name));
    return values;
  } finally {
    await opened.close();
  }
}

describe('writing and reading', () => {
  test('gives every bit back: all floats, odd names, empty tensors, metadata', async () => {
    const tensor = fc.record({
      name: fc.string({ minLength: 1 }).filter((n) => n !== '__metadata__' && n !== '__proto__'),
      values: fc.float32Array({ maxLength: 9 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(tensor, { maxLength: 5, selector: ({ name }) => name }), fc.string(), async (tensors, note) => {
        await writeSafetensors(path, new Map(tensors.map(({ name, values }) => [name, { values, shape: [values.length] }])), { note });
        const file = await openSafetensors(path);
        try {
          expect(file.metadata).toEqual({ note });
          expect([...file.records.keys()].sort()).toEqual(tensors.map(({ name }) => name).sort());
          for (const { name, values } of tensors) expect([...bytesOf(await file.read(name))]).toEqual([...bytesOf(values)]);
        } finally {
          await file.close();
        }
      }),
      { numRuns: 40 },
    );
    expect(readdirSync(folder)).toEqual(['model.safetensors']); // no temporary file is left
  });

  test('starts the data at a multiple of 8 bytes, tensors side by side, as the format asks', async () => {
    await writeSafetensors(
      path,
      new Map([
        ['a', { values: Float32Array.of(1, 2), shape: [2, 1] }],
        ['b', { values: Float32Array.of(3), shape: [] }],
      ]),
    );
    const file = readFileSync(path);
    const length = Number(file.readBigUInt64LE());
    expect(length % 8).toBe(0);
    expect(JSON.parse(file.subarray(8, 8 + length).toString())).toEqual({
      __metadata__: { format: 'pt' },
      a: { dtype: 'F32', shape: [2, 1], data_offsets: [0, 8] },
      b: { dtype: 'F32', shape: [], data_offsets: [8, 12] },
    });
    expect(file.length).toBe(8 + length + 12);
  });

  test('widens every half-precision number exactly', async () => {
    const halves = Uint16Array.from({ length: 0x10000 }, (_, i) => i);
    write(
      { h: record([0x10000], [0, 0x20000], 'F16'), b: record([0x10000], [0x20000, 0x40000], 'BF16') },
      Buffer.concat([bytesOf(halves), bytesOf(halves)]),
    );
    const values = await readAll();
    const [half, brain] = [values.get('h') as Float32Array, values.get('b') as Float32Array];
    for (let i = 0; i < 0x10000; i++) {
      // IEEE 754: sign, 5 bits of exponent (bias 15), 10 of fraction; bfloat16 is float32's upper half.
      const [sign, exponent, fraction] = [i & 0x8000 ? -1 : 1, (i >> 10) & 0x1f, i & 0x3ff];
      const expected =
        exponent === 31
          ? fraction
            ? Number.NaN
            : sign * Number.POSITIVE_INFINITY
          : exponent
            ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024)
            : sign * 2 ** -14 * (fraction / 1024);
      if (!Object.is(half[i], expected)) expect(half[i], `F16 0x${i.toString(16)}`).toBe(expected);
      const wide = new Float32Array(Uint32Array.of(i << 16).buffer)[0];
      if (!Object.is(brain[i], wide)) expect(brain[i], `BF16 0x${i.toString(16)}`).toBe(wide);
    }
  });

  test('writes halves as they are, and takes values when it is their turn', async () => {
    const order: string[] = [];
    const lazy = (name: string, bits: Uint16Array) => async () => {
      order.push(name);
      return bits;
    };
    const [a, b] = [Uint16Array.of(0x3c00, 0x8001, 0x7e01), Uint16Array.of(0x3f80)];
    await writeSafetensors(
      path,
      new Map([
        ['a', { shape: [3], dtype: 'F16' as const, values: lazy('a', a) }],
        ['b', { shape: [1], dtype: 'BF16' as const, values: lazy('b', b) }],
      ]),
    );
    expect(order).toEqual(['a', 'b']);
    const file = await openSafetensors(path);
    const bits = new Uint8Array(6);
    await file.readBytes('a', bits, 0);
    expect([...bits]).toEqual([...bytesOf(a)]);
    const last = new Uint8Array(2);
    await file.readBytes('a', last, 4);
    expect([...last]).toEqual([0x01, 0x7e]);
    await expect(file.readBytes('a', bits, 2)).rejects.toThrow(/a has 6 bytes, asked for 6 from 2 on/);
    expect((await readAll()).get('b')).toEqual(Float32Array.of(1));
    await file.close();
  });

  test('a failed write leaves the earlier file and nothing else', async () => {
    const values = Float32Array.of(1);
    await writeSafetensors(path, new Map([['a', { values, shape: [1] }]]));
    await expect(writeSafetensors(path, new Map([['a', { values, shape: [25] }]]))).rejects.toThrow(
      /a: 4 bytes for shape \[25\] of F32, expected 100/,
    );
    expect((await readAll()).get('a')).toEqual(values);
    expect(readdirSync(folder)).toEqual(['model.safetensors']);
  });
});

const data = bytesOf(Float32Array.of(1, 2, 3, 4));

describe('a broken file is refused by name', () => {
  test.each([
    ['empty', () => writeFileSync(path, ''), /0 bytes, expected at least 8/],
    ['cut in its header', () => write({ a: record([4], [0, 16]) }, undefined, 999n), /header of 999 bytes does not fit/],
    ['with a header of 2^63 bytes', () => write({}, data, 1n << 63n), /header of 9223372036854775808 bytes does not fit/],
    ['whose header is not JSON', () => write('{"a":'), /header is not JSON/],
    ['whose header is a list', () => write('[]'), /not a JSON object/],
    ['whose header is null', () => write('null'), /not a JSON object/],
    ['cut in its data', () => write({ a: record([4], [0, 16]) }, data.subarray(0, 12)), /a: ends at byte 16 of 12: the file is truncated/],
    ['with overlapping tensors', () => write({ a: record([3], [0, 12]), b: record([2], [8, 16]) }, data), /b overlaps a/],
    ['with a tensor inside another', () => write({ b: record([1], [4, 8]), a: record([4], [0, 16]) }, data), /b overlaps a/],
    [
      'with fewer bytes than its shape asks for',
      () => write({ a: record([4], [0, 12]) }, data),
      /a: 12 bytes for shape \[4\] of F32, expected 16/,
    ],
    ['with offsets that run backwards', () => write({ a: record([0], [8, 4]) }, data), /a: -4 bytes/],
    ['with negative offsets', () => write({ a: record([4], [-16, 0]) }, data), /data_offsets \[-16,0\]/],
    ['with a negative shape', () => write({ a: record([-1, -4], [0, 16]) }, data), /shape \[-1,-4\]/],
    ['with a shape that is no number', () => write('{"a":{"dtype":"F32","shape":[null],"data_offsets":[0,16]}}', data), /shape \[null\]/],
    ['with a shape of texts', () => write('{"a":{"dtype":"F32","shape":["4"],"data_offsets":[0,16]}}', data), /shape \["4"\]/],
    ['with an endless shape', () => write('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,16]}}', data), /shape \[null\]/],
    [
      'whose header begins with blanks, as Hugging Face refuses it',
      () => write(`  {"a":${JSON.stringify(record([4], [0, 16]))}}`, data),
      /does not begin with \{/,
    ],
    ['with fractions in its shape', () => write({ a: record([0.5], [0, 2]) }, data), /shape \[0.5\]/],
    ['with a shape beyond all numbers', () => write({ a: record([2 ** 52, 2 ** 52], [0, 16]) }, data), /a: 16 bytes for shape/],
    ['of another dtype', () => write({ a: record([2], [0, 16], 'I64') }, data), /dtype "I64", expected F32, F16 or BF16/],
    ['of a dtype that every object has', () => write({ a: record([2], [0, 16], 'constructor') }, data), /dtype "constructor", expected/],
    ['with a record that is none', () => write({ a: null }, data), /a: dtype undefined/],
    [
      'with one name twice',
      () => write(`{"a":${JSON.stringify(record([4], [0, 16]))},"\\u0061":${JSON.stringify(record([4], [0, 16]))}}`, data),
      /a occurs twice/,
    ],
    [
      'with one field of a record twice',
      () => write('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16],"shape":[4]}}', data),
      /shape occurs twice/,
    ],
    ['with a gap before a tensor', () => write({ a: record([3], [4, 16]) }, data), /no tensor covers bytes 0 to 4/],
    ['with a gap between tensors', () => write({ a: record([1], [0, 4]), b: record([2], [8, 16]) }, data), /no tensor covers bytes 4 to 8/],
    ['with bytes behind the last tensor', () => write({ a: record([3], [0, 12]) }, data), /no tensor covers bytes 12 to 16/],
    [
      'whose header is not UTF-8',
      () => {
        write({ aa: record([4], [0, 16]) }, data);
        const file = readFileSync(path);
        file[10] = 0xff;
        writeFileSync(path, file);
      },
      /header is not JSON/,
    ],
    ['with metadata that is a list', () => write({ __metadata__: ['a'] }), /__metadata__/],
    ['with metadata that is no table of texts', () => write({ __metadata__: { steps: 3 } }), /__metadata__/],
  ])('%s', async (_, prepare, message) => {
    prepare();
    const attempt = openSafetensors(path);
    await expect(attempt).rejects.toThrow(message);
    await expect(attempt).rejects.toThrow(path);
  });

  test('names within texts and lists are no second names', async () => {
    write({ __metadata__: { a: '"a":{', b: '{"a":1}' }, a: record([4], [0, 16]), 'a"': record([0], [16, 16]) }, data);
    expect([...(await readAll()).keys()]).toEqual(['a', 'a"']);
  });

  test('with the first of thousands of problems', async () => {
    write(Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`t${i}`, record([1], [0, 4], 'I8')])), data);
    await expect(openSafetensors(path)).rejects.toThrow(/t19: .*; and 4980 more/);
  });

  test('naming every problem at once', async () => {
    write({ a: record([4], [0, 12]), b: record([1], [0, 4], 'U8'), c: record([9], [0, 36]) }, data);
    await expect(openSafetensors(path)).rejects.toThrow(/a: .*b: .*c: /);
  });

  test.skipIf(process.platform === 'win32')('a pipe in its place is refused, not waited for', async () => {
    const pipe = join(folder, 'pipe'); // a name of its own: to write to a pipe that nobody reads waits as well
    execFileSync('mkfifo', [pipe]);
    await expect(openSafetensors(pipe)).rejects.toThrow(/no regular file/);
    rmSync(pipe);
  });

  test('also a folder in its place', async () => {
    await expect(openSafetensors(folder)).rejects.toThrow(folder);
  });

  test('but empty tensors may lie anywhere', async () => {
    write({ a: record([4], [0, 16]), none: record([0, 3], [0, 0]), end: record([0], [16, 16]) }, data);
    expect([...(await readAll())].map(([name, values]) => [name, values.length])).toEqual([
      ['a', 4],
      ['none', 0],
      ['end', 0],
    ]);
  });

  test('a file that shrinks after it was opened', async () => {
    write({ a: record([4], [0, 16]) }, data);
    const file = await openSafetensors(path);
    writeFileSync(path, readFileSync(path).subarray(0, -4));
    await expect(file.read('a')).rejects.toThrow(path);
    await expect(file.read('b')).rejects.toThrow(/holds no tensor b/);
    await file.close();
  });
});

test('whatever bytes are changed, a file opens or is refused with its name, and what is read has its size', async () => {
  await writeSafetensors(
    path,
    new Map([
      ['a', { values: Float32Array.of(1, 2, 3), shape: [3] }],
      ['b', { values: Float32Array.of(4), shape: [1, 1] }],
    ]),
  );
  const good = readFileSync(path);
  const mutation = fc.oneof(
    fc.record({ at: fc.nat(good.length - 1), byte: fc.nat(255) }).map(
      ({ at, byte }) =>
        (file: Buffer) =>
          (file[at] = byte),
    ),
    fc.record({ at: fc.integer({ min: 8, max: good.length - 1 }), char: fc.constantFrom(...'0123456789,[]{}"-:aF') }).map(
      ({ at, char }) =>
        (file: Buffer) =>
          file.write(char, at),
    ),
    fc.record({ bits: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }) }).map(
      ({ bits }) =>
        (file: Buffer) =>
          file.writeBigUInt64LE(bits),
    ),
  );
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(mutation, { minLength: 1, maxLength: 3 }),
      fc.nat(good.length),
      fc.boolean(),
      async (mutations, length, cut) => {
        const file = Buffer.from(good);
        for (const mutate of mutations) mutate(file);
        writeFileSync(path, cut ? file.subarray(0, length) : file);
        try {
          const opened = await openSafetensors(path);
          try {
            for (const [name, { shape }] of opened.records) expect((await opened.read(name)).length).toBe(shape.reduce((a, b) => a * b, 1));
          } finally {
            await opened.close();
          }
        } catch (error) {
          refused++;
          expect(error).toBeInstanceOf(Error);
          expect((error as Error).message).toContain(path);
        }
      },
    ),
    { numRuns: 300 },
  );
  expect(refused).toBeGreaterThan(50);
});
