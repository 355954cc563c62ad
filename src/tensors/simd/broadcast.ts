/** Axes and strides: how a kernel walks through operands of different shapes. */

/** One axis of the result: its length, and how many elements each operand moves along it (0 where it is broadcast). */
export interface Axis {
  readonly length: number;
  readonly steps: readonly number[];
}

/** The axes of a result with operands that broadcast to it. */
export function broadcastAxes(shape: readonly number[], operands: readonly (readonly number[])[]): Axis[] {
  const all = operands.map((operand) => {
    const strides = rowMajor(operand);
    const missing = shape.length - operand.length;
    return shape.map((_, i) => (i < missing || operand[i - missing] === 1 ? 0 : strides[i - missing]));
  });
  return shape.map((length, i) => ({ length, steps: all.map((steps) => steps[i]) }));
}

/** Elements from one entry to the next, axis by axis. */
export function rowMajor(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

/** The same walk in as few axes as possible: those of length 1 left out, and neighbours along which every operand moves evenly joined. */
export function joinAxes(axes: readonly Axis[]): Axis[] {
  const joined: Axis[] = [];
  for (const axis of axes) {
    if (axis.length === 1) continue;
    const before = joined[joined.length - 1];
    if (before?.steps.every((step, i) => step === axis.steps[i] * axis.length)) {
      joined[joined.length - 1] = { length: before.length * axis.length, steps: axis.steps };
    } else {
      joined.push(axis);
    }
  }
  return joined;
}
