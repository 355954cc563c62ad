/** WGSL of what is as wide as the vocabulary: log-probabilities of chosen tokens, forward KL, sampling. A workgroup a row of logits. */
import { GROUP_INDEX, reductions, type Shader } from './queue.js';

const GROUP = 256;

const rowwise = (buffers: readonly string[], params: readonly string[], body: string, declarations = ''): Shader => ({
  buffers,
  params: ['rows: u32', 'vocabulary: u32', ...params],
  code: `${GROUP_INDEX}
${reductions(GROUP)}
${declarations}
@compute @workgroup_size(${GROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let start = row * params.vocabulary;
  ${body}
}`,
});

const eachEntry = (body: string): string => `for (var v = lane; v < params.vocabulary; v += ${GROUP}u) { ${body} }`;

/** The largest entry of a row of `from`, as `name`. */
const largest = (from: string, name: string): string => `var ${name}Lane = -3.4e38;
  ${eachEntry(`${name}Lane = max(${name}Lane, ${from}[start + v]);`)}
  let ${name} = reduce_max(${name}Lane, lane);`;

/** log p(target) and entropy = lse - sum p logit, from logits of some rows; `first` is the number of the first of them. */
export const selected = rowwise(
  ['logits: array<f32>', 'targets: array<i32>', 'var both: array<f32>', 'var lse: array<f32>'],
  ['first: u32', 'all: u32'],
  `${largest('logits', 'top')}
  var mass = 0.0;
  var weighted = 0.0;
  ${eachEntry('let z = logits[start + v] - top; let e = exp(z); mass += e; weighted += e * z;')}
  let total = reduce_sum(mass, lane);
  let mean = reduce_sum(weighted, lane) / total;
  if (lane == 0u) {
    let at = params.first + row;
    lse[at] = top + log(total);
    both[at] = logits[start + u32(targets[at])] - lse[at];
    both[params.all + at] = log(total) - mean;
  }`,
);

/** In place: logits become (onehot(target) - softmax) dy. */
export const selectedGrad = rowwise(
  ['var logits: array<f32>', 'targets: array<i32>', 'lse: array<f32>', 'dy: array<f32>'],
  ['first: u32'],
  `let at = params.first + row;
  let target_ = u32(targets[at]);
  ${eachEntry('logits[start + v] = (select(0.0, 1.0, v == target_) - exp(logits[start + v] - lse[at])) * dy[at];')}`,
);

const KL_ENTRY = `let logTeacher = teacher[start + v] - teacherLse;
    let p = exp(logTeacher);
    let entry = p * (logTeacher - (student[start + v] - studentLse));
    let kept = select(0.0, p, !(params.clips > 0u) || entry <= params.clamp);`;

const logSumExp = (from: string): string => `${largest(from, `${from}Top`)}
  var ${from}Mass = 0.0;
  ${eachEntry(`${from}Mass += exp(${from}[start + v] - ${from}Top);`)}
  let ${from}Lse = ${from}Top + log(reduce_sum(${from}Mass, lane));`;

/** Clipped and whole sums in `both` [2, rows]; `saved` [rows, 3] keeps both log-sum-exps and the teacher's kept mass. */
export const forwardKl = rowwise(
  ['teacher: array<f32>', 'student: array<f32>', 'var both: array<f32>', 'var saved: array<f32>'],
  ['clips: u32', 'clamp: f32'],
  `${logSumExp('teacher')}
  ${logSumExp('student')}
  var clipped = 0.0;
  var whole = 0.0;
  var mass = 0.0;
  ${eachEntry(`${KL_ENTRY}
    clipped += select(entry, min(entry, params.clamp), params.clips > 0u); whole += entry; mass += kept;`)}
  let sums = vec3<f32>(reduce_sum(clipped, lane), reduce_sum(whole, lane), reduce_sum(mass, lane));
  if (lane == 0u) {
    both[row] = sums.x;
    both[params.rows + row] = sums.y;
    saved[row * 3u] = teacherLse;
    saved[row * 3u + 1u] = studentLse;
    saved[row * 3u + 2u] = sums.z;
  }`,
);

/** d student = (softmax(student) kept mass - kept) dy. */
export const forwardKlGrad = rowwise(
  ['teacher: array<f32>', 'student: array<f32>', 'saved: array<f32>', 'dy: array<f32>', 'var dStudent: array<f32>'],
  ['clips: u32', 'clamp: f32'],
  `let teacherLse = saved[row * 3u];
  let studentLse = saved[row * 3u + 1u];
  let mass = saved[row * 3u + 2u];
  ${eachEntry(`${KL_ENTRY}
    dStudent[start + v] = (exp(student[start + v] - studentLse) * mass - kept) * dy[row];`)}`,
);

/**
 * Each thread sums a stretch of the row; the stretch in which the cumulated mass passes the target is walked by its thread. Greedy: the first of the
 * largest.
 */
export const sample = rowwise(
  ['logits: array<f32>', 'uniforms: array<f32>', 'var tokens: array<i32>', 'var logProbs: array<f32>'],
  ['scale: f32', 'greedy: u32'],
  `${largest('logits', 'top')}
  let length = (params.vocabulary + ${GROUP - 1}u) / ${GROUP}u;
  let from_ = min(lane * length, params.vocabulary);
  let to = min(from_ + length, params.vocabulary);
  var mass = 0.0;
  for (var v = from_; v < to; v++) { mass += exp((logits[start + v] - top) * params.scale); }
  let total = reduce_sum(mass, lane);
  masses[lane] = mass;
  if (lane == 0u) { atomicStore(&chosen, params.vocabulary); atomicStore(&last, 0u); }
  workgroupBarrier();
  if (params.greedy == 1u) {
    for (var v = from_; v < to; v++) { if (logits[start + v] == top) { atomicMin(&chosen, v); break; } }
  } else {
    let goal = uniforms[row] * total;
    var before = 0.0;
    for (var i = 0u; i < lane; i++) { before += masses[i]; }
    if (before <= goal && before + mass > goal) {
      var cumulated = before;
      var found = params.vocabulary;
      for (var v = from_; v < to; v++) {
        cumulated += exp((logits[start + v] - top) * params.scale);
        if (cumulated > goal) { found = v; break; }
      }
      atomicMin(&chosen, found);
    }
    for (var v = from_; v < to; v++) { if (exp((logits[start + v] - top) * params.scale) > 0.0) { atomicMax(&last, v); } }
  }
  workgroupBarrier();
  if (lane == 0u) {
    var token = atomicLoad(&chosen);
    if (token == params.vocabulary) { token = atomicLoad(&last); } // rounding left nothing above the target
    tokens[row] = i32(token);
    logProbs[row] = (logits[start + token] - top) * params.scale - log(total);
  }`,
  `var<workgroup> masses: array<f32, ${GROUP}>;
var<workgroup> chosen: atomic<u32>;
var<workgroup> last: atomic<u32>;`,
);
