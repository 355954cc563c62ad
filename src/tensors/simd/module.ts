/**
 * The compiled kernels: which functions they are, and the best build that this engine runs.
 *
 * The sources are in assembly/ (AssemblyScript); scripts/build-kernels.mjs compiles them twice, with and without relaxed SIMD (fused multiply-add).
 */
import { allowRelaxedSimd } from '../../platform/threads.js';
import { relaxedSimd, simd } from './module.generated.js';

/** What assembly/index.ts exports for threads to share: the last two arguments are a range of units. */
export const KERNEL_FUNCTIONS = [
  'adamW',
  'adaptedRows',
  'addTargets',
  'attentionBackward',
  'attentionForward',
  'binary',
  'copyBlocks',
  'copyRows',
  'decodeTokens',
  'embeddingBackward',
  'embeddingForward',
  'finishHidden',
  'forwardKlBackward',
  'forwardKlForward',
  'halfMatMulBlocks',
  'matMulBlocks',
  'packWeight',
  'rmsNormBackward',
  'rmsNormForward',
  'rotary',
  'rowMaxima',
  'rowSums',
  'sampleTokens',
  'scaleRows',
  'selectedLogProbs',
  'softmaxRows',
  'sumOfSquares',
  'sumRows',
  'swigluBackward',
  'swigluForward',
  'unary',
] as const;

/** Functions that say how many floats something needs: scratch memory of a thread, or what a kernel is given. */
type SizeFunction = 'attentionScratch' | 'decodeWorkspace' | 'matMulScratch' | 'packedWeightSize' | 'vocabularyScratch';

/** Every function takes numbers: pointers in bytes, sizes and strides in elements. Their names and order are in assembly/. */
export type KernelFunction = (...numbers: readonly number[]) => number;

export type KernelModule = Readonly<Record<(typeof KERNEL_FUNCTIONS)[number] | SizeFunction | 'setScratch', KernelFunction>>;

export type KernelBuild = 'relaxed-simd' | 'simd';

/**
 * Compiles the best build that this Node can run.
 *
 * @throws Error where WebAssembly has no SIMD or no shared memory
 */
export function compileKernels(): { readonly build: KernelBuild; readonly module: WebAssembly.Module } {
  const builds: readonly [KernelBuild, Uint8Array][] = [
    ['relaxed-simd', bytesOf(relaxedSimd)],
    ['simd', bytesOf(simd)],
  ];
  if (!WebAssembly.validate(builds[0][1])) allowRelaxedSimd();
  for (const [build, bytes] of builds) if (WebAssembly.validate(bytes)) return { build, module: new WebAssembly.Module(bytes) };
  throw new Error('this version of Node, or this browser, runs no SIMD WebAssembly on shared memory');
}

const bytesOf = (base64: string): Uint8Array => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
