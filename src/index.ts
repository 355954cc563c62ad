/** The package: what `import { ... } from 'search-e1'` gives. The notebooks' displays are apart, in `search-e1/display`. */
export * from './engines/engine.js';
export * from './policy/tokenizer.js';
export * from './random.js';
export * from './rollout/protocol.js';
export * from './rollout/question.js';
export * from './rollout/trajectory.js';
export * from './search/passage.js';
export * from './version.js';
