/** `npm run setup:tensorflow` without a download: what it refuses, and that a wheel is unpacked whole or not at all. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const root = join(__dirname, '../..');
const setup = (...args: string[]) =>
  spawnSync(process.execPath, [join(root, 'scripts/setup-tensorflow.mjs'), ...args], { encoding: 'utf8' });

interface Wheel {
  fetchWheel(options: object): Promise<void>;
  unpackWheel(path: string, folder: string, take: (name: string) => boolean): Promise<number>;
}

/** A zip file as the format's description says (PKWARE APPNOTE 6.3): local headers with data, the directory, its end. */
function zip(members: Readonly<Record<string, string>>): Buffer {
  const local: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, text] of Object.entries(members)) {
    const data = Buffer.from(text);
    const packed = deflateRawSync(data);
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0); // version
    fields.writeUInt16LE(8, 4); // deflate
    fields.writeUInt32LE(typeof crc32 === 'function' ? crc32(data) : 0, 10);
    fields.writeUInt32LE(packed.length, 14);
    fields.writeUInt32LE(data.length, 18);
    fields.writeUInt16LE(name.length, 22);
    const entry = Buffer.concat([Buffer.from('PK\x03\x04'), fields, Buffer.from(name), packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), fields, tail, Buffer.from(name)]));
    local.push(entry);
    offset += entry.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(directory.length, 4);
  end.writeUInt16LE(directory.length, 6);
  end.writeUInt32LE(listed.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...local, listed, Buffer.from('PK\x05\x06'), end]);
}

describe('setup:tensorflow', () => {
  let folder: string;
  let wheel: Wheel;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'wheel-'));
    wheel = (await import(join(root, 'scripts/setup-tensorflow-wheel.mjs'))) as Wheel;
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test('explains itself and refuses options that do not exist or exclude each other', () => {
    expect(setup('--help')).toMatchObject({ status: 0, stderr: '' });
    expect(setup('--help').stdout).toMatch(/--cuda[\s\S]*--undo/);
    expect(setup('--gpu')).toMatchObject({ status: 1, stderr: expect.stringMatching(/unknown option --gpu/) });
    expect(setup('--cpu', '--cuda').stderr).toMatch(/exclude each other/);
    expect(setup('--wheel').stderr).toMatch(/needs the path/);
  });

  test('unpacks what is asked for, byte for byte, and nothing else', async () => {
    const text = 'header\n'.repeat(1000);
    writeFileSync(join(folder, 'a.whl'), zip({ 'tensorflow/a.h': text, 'tensorflow/b.py': 'no', 'tensorflow/empty.h': '' }));
    expect(await wheel.unpackWheel(join(folder, 'a.whl'), join(folder, 'out'), (name) => name.endsWith('.h'))).toBe(2);
    expect(readFileSync(join(folder, 'out/tensorflow/a.h'), 'utf8')).toBe(text);
    expect(readFileSync(join(folder, 'out/tensorflow/empty.h'), 'utf8')).toBe('');
    expect(existsSync(join(folder, 'out/tensorflow/b.py'))).toBe(false);
  });

  test('writes nothing outside its folder', async () => {
    writeFileSync(join(folder, 'evil.whl'), zip({ '../escaped.h': 'x' }));
    await expect(wheel.unpackWheel(join(folder, 'evil.whl'), join(folder, 'out'), () => true)).rejects.toThrow(/outside the folder/);
    expect(existsSync(join(folder, 'escaped.h'))).toBe(false);
  });

  test('refuses a file that is no wheel, and a wheel with another checksum', async () => {
    const path = join(folder, 'b.whl');
    writeFileSync(path, 'not a zip');
    await expect(wheel.unpackWheel(path, folder, () => true)).rejects.toThrow(/not a wheel/);
    const asked = { path, given: true, file: 'b.whl', name: 'b', version: '1', say: () => {} };
    await expect(wheel.fetchWheel({ ...asked, sha256: '00' })).rejects.toThrow(/has the checksum .* expected 00/);
    await wheel.fetchWheel({ ...asked, sha256: createHash('sha256').update('not a zip').digest('hex') });
  });

  test('pins a checksum for every file it may download', () => {
    const { wheels, cudaLibraries } = JSON.parse(readFileSync(join(root, 'scripts/setup-tensorflow-pins.json'), 'utf8'));
    for (const { name, version, file, sha256 } of [...Object.values<Record<string, string>>(wheels), ...cudaLibraries]) {
      expect(sha256).toMatch(/^[0-9a-f]{64}$/);
      expect(file.startsWith(`${name.replaceAll('-', '_')}-${version}-`), file).toBe(true);
    }
  });
});
