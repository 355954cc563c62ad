import { checkOptions, checkPath } from '../arguments.js';
import { datasetPath } from '../platform/datasets.js';
import { loadPolicy } from '../policy/checkpoint.js';
import { loadTokenizer } from '../policy/tokenizer.js';
import { IN_PROCESS_OPTIONS, type InProcessEngine, type InProcessOptions, inProcessEngine } from './in-process.js';

/**
 * An engine over a checkpoint folder that holds its tokenizer; default the classroom's base policy. Starts the best backend where none is active.
 *
 * @example
 * ```ts
 * import { openEngine } from 'search-e1/engines';
 *
 * const engine = await openEngine(); // the classroom's base policy; else a folder as Hugging Face has it
 * engine.policy.parameters; // 432288
 * engine.dispose();
 * ```
 */
export async function openEngine(
  folder: string = datasetPath('tinypedia', 'base-policy'),
  options: InProcessOptions = {},
): Promise<InProcessEngine> {
  checkPath('openEngine', folder);
  checkOptions('openEngine', options, IN_PROCESS_OPTIONS);
  return inProcessEngine(await loadPolicy(folder), await loadTokenizer(folder), { tokenizerFolder: folder, ...options });
}
