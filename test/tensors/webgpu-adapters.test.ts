/** Machines on which WebGPU does not start, or should not be taken: each says why, and none keeps another from starting later. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startBackend } from '../../src/tensors/backend.js';
import { BackendUnavailable } from '../../src/tensors/unavailable.js';
import { tooLittle } from '../../src/tensors/webgpu/device.js';
import { canLoad } from '../../src/tensors/webgpu/packages.js';
import { swiftShaderCanRun, useSwiftShader } from '../swiftshader.js';

const folder = mkdtempSync(join(tmpdir(), 'adapters-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const drivers = (path: string) => {
  process.env.VK_DRIVER_FILES = path;
  process.env.VK_ICD_FILENAMES = path;
};

describe.skipIf(!swiftShaderCanRun || process.env.SEARCH_E1_TEST_GPU)('WebGPU', () => {
  beforeAll(() => {
    process.env.XDG_RUNTIME_DIR ??= tmpdir();
  });
  afterEach(() => {
    delete process.env.SEARCH_E1_COMPUTE;
  });

  test('without a driver says that there is none', async () => {
    drivers(join(folder, 'none.json'));
    const start = startBackend({ backend: 'webgpu' });
    await expect(start).rejects.toThrow(BackendUnavailable);
    await expect(start).rejects.toThrow(/no Vulkan driver is installed: there is no graphics card, or its driver is missing/);
  });

  test('knows a library that is there from one that is not, which Dawn would tell in lines of its own', () => {
    expect(canLoad('libc.so.6')).toBe(true);
    expect(canLoad('libvulkan_none.so.1')).toBe(false);
  });

  test('with a driver whose library is missing says that there is no adapter', async () => {
    const manifest = join(folder, 'broken.json');
    writeFileSync(
      manifest,
      '{"file_format_version": "1.0.0", "ICD": {"library_path": "/nowhere/libvulkan_none.so", "api_version": "1.3.0"}}',
    );
    drivers(manifest);
    await expect(startBackend({ backend: 'webgpu' })).rejects.toThrow(/Dawn finds no adapter/);
  });

  test('on an adapter with the least that WebGPU allows says which two limits it would break', () => {
    const least = { maxStorageBuffersPerShaderStage: 8, maxComputeWorkgroupStorageSize: 16_384, maxComputeInvocationsPerWorkgroup: 256 };
    expect(tooLittle(least)).toEqual([
      'maxStorageBuffersPerShaderStage is 8, 10 are needed',
      'maxComputeWorkgroupStorageSize is 16384, 32768 are needed',
    ]);
    expect(tooLittle({ ...least, maxStorageBuffersPerShaderStage: 10, maxComputeWorkgroupStorageSize: 32_768 })).toEqual([]);
  });

  test('on a processor that pretends to be a card is left alone by auto, which says so, and used when it is named', async () => {
    useSwiftShader();
    const automatic = await startBackend();
    expect(automatic.name).not.toBe('webgpu');
    expect(automatic.notes.join('\n')).toMatch(/webgpu: .*SwiftShader.* is software, slower than simd/);
    expect(await startBackend({ backend: 'webgpu' })).toMatchObject({ name: 'webgpu', device: 'software', compute: 'float32' });
  });

  test('computes in float16 when asked, says how, and goes back; other backends refuse', async () => {
    useSwiftShader();
    const report = await startBackend({ backend: 'webgpu', compute: 'float16' });
    expect(report.compute).toBe('float16');
    expect(report.description).toMatch(/products rounded to float16$/);
    process.env.SEARCH_E1_COMPUTE = 'float32';
    expect(await startBackend({ backend: 'webgpu', compute: 'float16' })).toMatchObject({ compute: 'float32' });
    process.env.SEARCH_E1_COMPUTE = 'bfloat16';
    await expect(startBackend()).rejects.toThrow(/SEARCH_E1_COMPUTE.*: expected float32 or float16; got bfloat16/);
    delete process.env.SEARCH_E1_COMPUTE;
    await expect(startBackend({ backend: 'simd', compute: 'float16' })).rejects.toThrow(
      /compute float16: the simd backend multiplies in float32 alone/,
    );
  });
});
