/**
 * The compiled kernels, put on the wasm backend's own memory: they read and write its tensors where they lie.
 *
 * The sources are in assembly/ (AssemblyScript); scripts/build-kernels.mjs compiles them twice, with and without relaxed SIMD (fused multiply-add).
 */
import { setFlagsFromString } from 'node:v8';
import { relaxedSimd, simd } from './module.generated.js';

/** Every function takes numbers: pointers in bytes, sizes and strides in elements. Their names and order are in assembly/. */
type Function = (...numbers: readonly number[]) => number;

/** What assembly/index.ts exports. */
export type KernelModule = Readonly<
  Record<
    | 'adamW'
    | 'attentionBackward'
    | 'attentionForward'
    | 'attentionScratch'
    | 'copyPositions'
    | 'embeddingBackward'
    | 'embeddingForward'
    | 'forwardKlBackward'
    | 'forwardKlForward'
    | 'matMul'
    | 'matMulBatched'
    | 'matMulScratch'
    | 'rmsNormBackward'
    | 'rmsNormForward'
    | 'rotary'
    | 'sampleTokens'
    | 'selectedLogProbsBackward'
    | 'selectedLogProbsForward'
    | 'sumOfSquares'
    | 'sumRows'
    | 'swigluBackward'
    | 'swigluForward'
    | 'vocabularyScratch',
    Function
  >
>;

export type KernelBuild = 'relaxed-simd' | 'simd';

/**
 * Instantiates the best build that this Node can run.
 *
 * @throws Error where WebAssembly has no SIMD
 */
export function loadKernels(memory: WebAssembly.Memory): { readonly build: KernelBuild; readonly kernels: KernelModule } {
  const builds: readonly [KernelBuild, Uint8Array][] = [
    ['relaxed-simd', Buffer.from(relaxedSimd, 'base64')],
    ['simd', Buffer.from(simd, 'base64')],
  ];
  // Node 20 has relaxed SIMD behind a flag; later ones have it on and do not know the flag.
  if (!WebAssembly.validate(builds[0][1])) setFlagsFromString('--experimental-wasm-relaxed-simd');
  for (const [build, bytes] of builds) {
    if (!WebAssembly.validate(bytes)) continue;
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
    return { build, kernels: exports as KernelModule };
  }
  throw new Error('this version of Node runs no SIMD WebAssembly');
}
