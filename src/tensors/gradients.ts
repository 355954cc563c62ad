/**
 * Back-propagation that gives memory back as it goes.
 *
 * `tf.grads` and `tf.variableGrads` hold everything until they are done: what the forward pass saved, and beside it the gradient of every intermediate
 * result, which comes to twice what a step needs; and they cannot be called within a gradient function. Here, as in PyTorch, what an operation saved
 * and the gradients of its results are disposed as soon as the walk has passed it. The tape and the gradient of each operation are
 * TensorFlow.js' own; gradients of gradients are left out.
 */
import * as tf from '@tensorflow/tfjs-core';

/** An operation as TensorFlow.js 4.22 records it. */
interface TapeNode {
  readonly kernelName: string;
  readonly inputs: Readonly<Record<string, tf.Tensor>>;
  readonly outputs: readonly tf.Tensor[];
  readonly saved: readonly tf.Tensor[];
  /** Gradients of the inputs by name, each computed when asked for; null stands for an output that nothing reads. */
  readonly gradient?: (dys: readonly (tf.Tensor | null)[]) => Readonly<Record<string, () => tf.Tensor>>;
}

/** What of the engine is private in its types. */
interface Recorder {
  readonly state: { activeTape: TapeNode[] | null };
  startTape(): void;
  endTape(): void;
}

/**
 * The value of `f`, and the gradients of its sum (with `dy`: of `sum(dy f)`) for `inputs`, which `f` reads as they are; undefined for an input that it does not read.
 * May be called within the gradient function of a `tf.customGrad`.
 *
 * @param dy of the value's shape; default: ones
 */
export function valueAndGradients<T extends tf.Tensor>(
  f: () => T,
  inputs: readonly tf.Tensor[],
  dy?: tf.Tensor,
): { readonly value: T; readonly gradients: (tf.Tensor | undefined)[] } {
  return tf.tidy(() => {
    const { value, tape } = record(f);
    try {
      return { value, gradients: walkBack(tape, value, inputs, dy) };
    } finally {
      for (const node of tape) tf.dispose([...node.saved]);
    }
  });
}

/** Runs `f` with the tape on; all but its value and what was saved is disposed, and where it throws, that too. */
function record<T extends tf.Tensor>(f: () => T): { value: T; tape: readonly TapeNode[] } {
  const engine = tf.engine() as unknown as Recorder;
  const around = engine.state.activeTape; // of TensorFlow.js, if this is within one of its own gradients
  if (tf.engine().state.gradientDepth > 0) throw new Error('valueAndGradients: a gradient is being recorded already');
  engine.startTape();
  const tape = engine.state.activeTape as TapeNode[];
  try {
    return { value: tf.tidy(f), tape };
  } catch (error) {
    for (const node of tape) tf.dispose([...node.saved]);
    throw error;
  } finally {
    engine.endTape();
    engine.state.activeTape = around;
  }
}

function walkBack(tape: readonly TapeNode[], value: tf.Tensor, inputs: readonly tf.Tensor[], dy: tf.Tensor | undefined) {
  const wanted = new Set(inputs.map(({ id }) => id));
  const dependent = dependents(tape, wanted);
  const unread = tf.scalar(0);
  const gradients = new Map([[value.id, dy ? tf.clone(dy) : tf.onesLike(value)]]); // by tensor id
  for (let at = tape.length - 1; at >= 0; at--) {
    const node = tape[at];
    // TensorFlow.js makes zeros of the whole shape where nothing read an output; this project's kernels return such for their gradients alone, which do not look.
    const absent = node.kernelName.startsWith('SearchE1') ? unread : null;
    const dys = node.outputs.map(({ id }) => gradients.get(id) ?? absent);
    const read = Object.entries(node.inputs).filter(([, { id }]) => dependent.has(id));
    if (read.length > 0 && dys.some((dy) => dy && dy !== unread)) {
      tf.tidy(() => gradientsOf(node, dys, read)).forEach((gradient, i) => {
        const { id } = read[i][1];
        const before = gradients.get(id);
        gradients.set(id, before ? tf.add(before, gradient) : gradient);
        if (before) tf.dispose([before, gradient]);
      });
    }
    tf.dispose([...node.saved]);
    for (const { id } of node.outputs) {
      if (wanted.has(id)) continue;
      gradients.get(id)?.dispose();
      gradients.delete(id);
    }
  }
  return inputs.map(({ id }) => gradients.get(id));
}

/** Ids of all tensors that were computed from those of `from`, and these. */
function dependents(tape: readonly TapeNode[], from: ReadonlySet<number>): ReadonlySet<number> {
  const found = new Set(from);
  for (const { inputs, outputs } of tape)
    if (Object.values(inputs).some(({ id }) => found.has(id))) for (const { id } of outputs) found.add(id);
  return found;
}

/** One tensor an input, each a new one: a gradient function may hand on what it was given, or one tensor for several inputs. */
function gradientsOf(node: TapeNode, dys: readonly (tf.Tensor | null)[], read: readonly (readonly [string, tf.Tensor])[]): tf.Tensor[] {
  if (!node.gradient) throw new Error(`${node.kernelName} has no gradient`);
  const byName = node.gradient(dys);
  const others = new Set<tf.Tensor | null>([...dys, ...node.saved]);
  return read.map(([name]) => {
    const gradient = byName[name]();
    const own = others.has(gradient) ? tf.clone(gradient) : gradient;
    others.add(own);
    return own;
  });
}
