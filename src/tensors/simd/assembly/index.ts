/** Everything the module exports: functions of pointers, sizes and ranges, which allocate nothing. */
export { adamW, sumOfSquares } from './adam-w';
export { attentionBackward, attentionForward, attentionScratch } from './attention';
export { binary, unary } from './elementwise';
export { decodeTokens, decodeWorkspace, packedWeightSize, packWeight } from './decode';
export { halfMatMulBlocks } from './half';
export { copyRows, embeddingBackward, embeddingForward, rmsNormBackward, rmsNormForward, rotary, sumRows, swigluBackward, swigluForward } from './layers';
export { adaptedRows, matMulBlocks, matMulScratch } from './mat-mul';
export { copyBlocks, rowMaxima, rowSums, softmaxRows } from './rows';
export { setScratch } from './scratch';
export { addTargets, finishHidden, forwardKlBackward, forwardKlForward, sampleTokens, scaleRows, selectedLogProbs, vocabularyScratch } from './vocabulary';
