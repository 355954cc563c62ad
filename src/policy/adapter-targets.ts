/**
 * Which linear layers an `adapter_config.json` of PEFT adapts: `target_modules`, `exclude_modules`, `layers_to_transform` and `layers_pattern` as PEFT 0.21
 * reads them (`check_target_module_exists`). Patterns are Python's there and JavaScript's here: one that JavaScript does not know is refused.
 */
import { z } from 'zod';
import { timedMatch } from '../platform/timed-match.js';
import { type PolicyConfig, weightShapes } from './config.js';
import { ADAPTED } from './lora.js';

const names = z.union([z.string(), z.array(z.string())]).nullish();

export const targetFields = {
  target_modules: names,
  exclude_modules: names,
  layers_to_transform: z.union([z.number().int(), z.array(z.number().int())]).nullish(),
  layers_pattern: names,
};

type Targets = Partial<z.infer<z.ZodObject<typeof targetFields>>>;

/** What PEFT adapts in a Qwen2 model where `target_modules` says nothing. */
const DEFAULT_TARGETS = ['q_proj', 'v_proj'];

/**
 * Names of the adapted layers, such as `model.layers.0.mlp.up_proj`, in the order of the weights.
 *
 * @param problems takes what the fields ask for and is not computed here, and what PEFT refuses as well
 */
export function targetedLayers(fields: Targets, config: PolicyConfig, problems: string[]): string[] {
  const targets = fields.target_modules ?? DEFAULT_TARGETS;
  const { layers_pattern } = fields;
  const layers = fields.layers_to_transform ?? [];
  if (typeof targets === 'string' && fields.layers_to_transform != null)
    problems.push(`layers_to_transform with target_modules "${targets}": PEFT takes it with a list of modules only`);
  if (holds(layers_pattern) && fields.layers_to_transform == null)
    problems.push('layers_pattern without layers_to_transform: PEFT refuses it as well');
  const linear = [...weightShapes(config).keys()].filter((name) => ADAPTED.test(name)).map((name) => name.replace(/\.weight$/, ''));
  try {
    const adapts = selector(targets, fields.exclude_modules, [layers].flat(), layers_pattern, new Set(linear));
    const found = linear.filter(adapts);
    const others = otherModules(config).filter(adapts);
    for (const name of others.slice(0, 3)) problems.push(`target_modules names ${name}: only the linear layers of the blocks are adapted`);
    if (found.length === 0 && others.length === 0)
      problems.push(`target_modules ${JSON.stringify(targets)} names no linear layer of this policy`);
    return found;
  } catch (error) {
    problems.push((error as Error).message);
    return [];
  }
}

const holds = (value: string | readonly string[] | null | undefined): boolean => value != null && value.length > 0;

function selector(
  targets: string | readonly string[],
  excluded: string | readonly string[] | null | undefined,
  layers: readonly number[],
  layersPattern: string | readonly string[] | null | undefined,
  linear: ReadonlySet<string>,
): (name: string) => boolean {
  const named = (list: readonly string[], name: string) => list.some((each) => name === each || name.endsWith(`.${each}`));
  const excludes = (() => {
    if (!excluded || !holds(excluded)) return () => false;
    if (typeof excluded !== 'string') return (name: string) => named(excluded, name);
    const pattern = compiled('exclude_modules', excluded, (each) => `^(?:${each})$`);
    return (name: string) => pattern.test(name);
  })();
  if (typeof targets === 'string') {
    if (targets.toLowerCase() === 'all-linear') return (name) => linear.has(name) && !excludes(name);
    const pattern = compiled('target_modules', targets, (each) => `^(?:${each})$`);
    return (name) => pattern.test(name) && !excludes(name);
  }
  const inLayers = (holds(layersPattern) ? [layersPattern ?? []].flat() : ['[^.]*']).map((pattern) =>
    compiled('layers_pattern', pattern, (each) => `^(?:.*?\\.)?${each}\\.(\\d+)\\.`),
  );
  const layerOf = (name: string) => inLayers.map((pattern) => pattern.exec(name)?.at(-1)).find((layer) => layer !== undefined);
  return (name) => {
    if (excludes(name)) return false;
    if (targets.includes(name)) return true; // named in full: whatever the layers
    return named(targets, name) && (layers.length === 0 || layers.includes(Number(layerOf(name) ?? Number.NaN)));
  };
}

/** As much of a RegExp as is needed. */
interface Pattern {
  test(name: string): boolean;
  exec(name: string): RegExpExecArray | null;
}

/** Milliseconds that a pattern may take over one name: patterns come from files, and some take longer than the age of the universe. */
const LONGEST_MATCH = 1000;

function compiled(field: string, pattern: string, around: (pattern: string) => string): Pattern {
  let known: RegExp;
  try {
    known = new RegExp(around(pattern), 'u');
  } catch {
    throw new Error(`${field} "${pattern}" is no pattern that JavaScript knows: name the modules in a list instead`);
  }
  const exec = (name: string): RegExpExecArray | null => {
    try {
      return timedMatch(known, name, LONGEST_MATCH);
    } catch {
      throw new Error(`${field} "${pattern}" takes too long over ${name}: name the modules in a list instead`);
    }
  };
  return { exec, test: (name) => exec(name) !== null };
}

/** Modules of a Qwen2 model that carry no adapter here, by the names that PEFT matches against. */
function otherModules({ layers }: PolicyConfig): string[] {
  const blocks = Array.from({ length: layers }, (_, layer) => `model.layers.${layer}`);
  return [
    ...['model', 'model.embed_tokens', 'model.layers', 'model.norm', 'model.rotary_emb', 'lm_head'],
    ...blocks.flatMap((at) => [
      ...[at, `${at}.self_attn`, `${at}.mlp`, `${at}.mlp.act_fn`],
      ...[`${at}.input_layernorm`, `${at}.post_attention_layernorm`],
    ]),
  ];
}

/** `target_modules` for exactly these layers: short names where each is adapted in every block, else full ones. */
export function targetsOf(adapted: readonly string[], { layers }: PolicyConfig): string[] {
  const kinds = new Set(adapted.map((name) => name.split('.').at(-1) as string));
  return (adapted.length === kinds.size * layers ? [...kinds] : [...adapted]).sort();
}
