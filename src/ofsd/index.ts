/**
 * Offline self-distillation: the frozen weights, reading the privileged prompt, are the teacher; a token-level forward KL pulls the student, which reads the
 * plain prompt, towards it.
 *
 * @module
 */
export { forwardKlLoss } from './loss.js';
export {
  type AdapterSettings,
  type AdapterStep,
  classroomOfsd,
  type OfsdMetrics,
  type OfsdOptions,
  type OfsdSettings,
  ofsd,
  opsdV3,
  pairedSequences,
  type TrainAdapterOptions,
  trainAdapter,
} from './ofsd.js';
export { privilegedPrompt } from './privileged-prompt.js';
