/**
 * A graphics card for tests: SwiftShader computes Vulkan on the processor. It comes inside an npm package of a browser, and is unpacked beside the other caches.
 *
 * As vitest's global set-up, before workers start: the dynamic loader reads LD_LIBRARY_PATH when a process begins.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';

/** The package holds it for Linux on x64 only. */
export const swiftShaderCanRun = process.platform === 'linux' && process.arch === 'x64';

const folder = join(__dirname, '../node_modules/.cache/swiftshader');
const MEMBERS = ['libvulkan.so.1', 'libvk_swiftshader.so', 'vk_swiftshader_icd.json'];

/** For every worker: the library that Dawn loads by name. */
export default function setup(): void {
  if (!swiftShaderCanRun || process.env.SEARCH_E1_TEST_GPU) return;
  if (!existsSync(folder)) unpack();
  process.env.LD_LIBRARY_PATH = [folder, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':');
}

/** For the tests that want it: makes SwiftShader the one Vulkan driver of this process. */
export function useSwiftShader(): void {
  if (process.env.SEARCH_E1_TEST_GPU) return;
  process.env.VK_DRIVER_FILES = join(folder, 'vk_swiftshader_icd.json');
  process.env.VK_ICD_FILENAMES = process.env.VK_DRIVER_FILES; // its name before 2022, which the loader in the package reads
  process.env.XDG_RUNTIME_DIR ??= tmpdir(); // Dawn's X11 code asks for it
}

/** A tar file: for each member a header of 512 bytes with name and octal size, then its bytes, filled up to 512. */
function unpack(): void {
  const archive = join(dirname(createRequire(__filename).resolve('@sparticuz/chromium')), '../../bin/swiftshader.tar.br');
  const tar = brotliDecompressSync(readFileSync(archive));
  const partial = `${folder}.${process.pid}`;
  mkdirSync(partial, { recursive: true });
  for (let at = 0; tar[at] !== 0; ) {
    const name = tar.toString('utf8', at, at + 100).replace(/\0.*$/s, '');
    const size = Number.parseInt(tar.toString('utf8', at + 124, at + 136), 8);
    if (MEMBERS.includes(name)) writeFileSync(join(partial, name), tar.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  if (existsSync(folder)) rmSync(partial, { recursive: true });
  else renameSync(partial, folder);
}
