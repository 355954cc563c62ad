/** Everything the module exports. Pure functions of pointers, sizes and ranges: they allocate nothing and keep nothing. */
export { adamW, sumOfSquares } from './adam-w';
export { attentionBackward, attentionForward, attentionScratch } from './attention';
export { copyPositions, embeddingBackward, embeddingForward, rmsNormBackward, rmsNormForward, rotary, sumRows, swigluBackward, swigluForward } from './layers';
export { matMul, matMulBatched, matMulScratch } from './mat-mul';
export { forwardKlBackward, forwardKlForward, sampleTokens, selectedLogProbsBackward, selectedLogProbsForward, vocabularyScratch } from './vocabulary';
