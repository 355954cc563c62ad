/**
 * WGSL of what is as wide as the vocabulary: log-probabilities of chosen tokens, forward KL, sampling. A workgroup a row of logits.
 *
 * WGSL lets compilers assume that no number is NaN or infinite, and `max` may pass a NaN over: where it matters what a logit is, its bits are looked at.
 */
import { GROUP_INDEX, reductions, type Shader } from './queue.js';

const GROUP = 256;

const rowwise = (buffers: readonly string[], params: readonly string[], body: string, declarations = ''): Shader => ({
  buffers,
  params: ['rows: u32', 'vocabulary: u32', ...params],
  code: `${GROUP_INDEX}
${reductions(GROUP)}
${FUNCTIONS}
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

/** Bits of infinity, which all of a NaN's hold too, and the lowest number above the negative one. */
const [INFINITY, LOWEST] = ['0x7f800000u', '-3.40282e38'];

/** The largest entry of a row of `from`, as `name`; `<name>Wrong` says whether the row has a NaN or Infinity, or nothing but -Infinity. */
const largest = (from: string, name: string): string => `var ${name}Lane = ${LOWEST};
  var ${name}State = 0.0; // 1: a number, 2: none that a distribution may have
  ${eachEntry(`let bits = bitcast<u32>(${from}[start + v]);
    if ((bits & ${INFINITY}) != ${INFINITY}) { ${name}State = max(${name}State, 1.0); ${name}Lane = max(${name}Lane, ${from}[start + v]); }
    else if (bits != 0xff800000u) { ${name}State = 2.0; }`)}
  let ${name} = reduce_max(${name}Lane, lane);
  let ${name}Wrong = reduce_max(${name}State, lane) != 1.0;`;

/** How far a logit is below the largest of its row, which of -Infinity is a number too; constants that WGSL cannot write. */
const FUNCTIONS = `fn below(x: f32, top: f32) -> f32 { return max(x, ${LOWEST}) - top; }
fn constant(bits: u32) -> f32 { return bitcast<f32>(bits | (params.rows & 0u)); }
fn or_nan(x: f32, wrong: bool) -> f32 { return select(x, constant(0x7fc00000u), wrong); }`;

/** log p(target) and entropy = lse - sum p logit, from logits of some rows; `first` is the first of them. `sums` [2, all]: the largest logit, the logarithm. */
export const selected = rowwise(
  ['logits: array<f32>', 'targets: array<i32>', 'var both: array<f32>', 'var sums: array<f32>'],
  ['first: u32', 'all: u32'],
  `${largest('logits', 'top')}
  var mass = 0.0;
  var weighted = 0.0;
  ${eachEntry('let z = below(logits[start + v], top); let e = exp(z); mass += e; weighted += e * z;')}
  let total = reduce_sum(mass, lane);
  let mean = reduce_sum(weighted, lane) / total;
  if (lane == 0u) {
    let at = params.first + row;
    let target_ = logits[start + u32(targets[at])];
    let out = bitcast<u32>(target_) == 0xff800000u;
    sums[at] = top;
    sums[params.all + at] = or_nan(log(total), topWrong);
    both[at] = or_nan(select(below(target_, top) - log(total), constant(0xff800000u), out), topWrong);
    both[params.all + at] = or_nan(log(total) - mean, topWrong);
  }`,
);

/** In place: logits become (onehot(target) - softmax) dy. */
export const selectedGrad = rowwise(
  ['var logits: array<f32>', 'targets: array<i32>', 'sums: array<f32>', 'dy: array<f32>'],
  ['first: u32', 'all: u32'],
  `let at = params.first + row;
  let target_ = u32(targets[at]);
  let top = sums[at];
  let logTotal = sums[params.all + at];
  ${eachEntry('logits[start + v] = (select(0.0, 1.0, v == target_) - exp(below(logits[start + v], top) - logTotal)) * dy[at];')}`,
);

/** What the teacher rules out adds 0; what the student alone rules out is infinite. */
const KL_ENTRY = `let logTeacher = below(teacher[start + v], teacherTop) - teacherLog;
    let logStudent = below(student[start + v], studentTop) - studentLog;
    let p = exp(logTeacher);
    let endless = bitcast<u32>(student[start + v]) == 0xff800000u;
    let entry = select(select(p * (logTeacher - logStudent), constant(${INFINITY}), endless), 0.0, p == 0.0);
    let cut = params.clips > 0u && entry > params.clamp;
    let kept = select(p, 0.0, cut);`;

const logSum = (from: string): string => `${largest(from, `${from}Top`)}
  var ${from}Mass = 0.0;
  ${eachEntry(`${from}Mass += exp(below(${from}[start + v], ${from}Top));`)}
  let ${from}Log = log(reduce_sum(${from}Mass, lane));`;

/** Clipped and whole sums in `both` [2, rows]; `saved` [rows, 5] keeps the largest logit and the logarithm of the sum of teacher and student, and the kept mass. */
export const forwardKl = rowwise(
  ['teacher: array<f32>', 'student: array<f32>', 'var both: array<f32>', 'var saved: array<f32>'],
  ['clips: u32', 'clamp: f32'],
  `${logSum('teacher')}
  ${logSum('student')}
  var clipped = 0.0;
  var whole = 0.0;
  var mass = 0.0;
  ${eachEntry(`${KL_ENTRY}
    clipped += select(entry, params.clamp, cut); whole += entry; mass += kept;`)}
  let sums = vec3<f32>(reduce_sum(clipped, lane), reduce_sum(whole, lane), reduce_sum(mass, lane));
  let wrong = teacherTopWrong || studentTopWrong;
  if (lane == 0u) {
    both[row] = or_nan(sums.x, wrong);
    both[params.rows + row] = or_nan(sums.y, wrong);
    saved[row * 5u] = teacherTop;
    saved[row * 5u + 1u] = teacherLog;
    saved[row * 5u + 2u] = studentTop;
    saved[row * 5u + 3u] = studentLog;
    saved[row * 5u + 4u] = or_nan(sums.z, wrong);
  }`,
);

/** d student = (softmax(student) kept mass - kept) dy. */
export const forwardKlGrad = rowwise(
  ['teacher: array<f32>', 'student: array<f32>', 'saved: array<f32>', 'dy: array<f32>', 'var dStudent: array<f32>'],
  ['clips: u32', 'clamp: f32'],
  `let teacherTop = saved[row * 5u];
  let teacherLog = saved[row * 5u + 1u];
  let studentTop = saved[row * 5u + 2u];
  let studentLog = saved[row * 5u + 3u];
  let mass = saved[row * 5u + 4u];
  ${eachEntry(`${KL_ENTRY}
    dStudent[start + v] = (exp(logStudent) * mass - kept) * dy[row];`)}`,
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
  for (var v = from_; v < to; v++) { mass += weight(logits[start + v], top); }
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
        cumulated += weight(logits[start + v], top);
        if (cumulated > goal) { found = v; break; }
      }
      atomicMin(&chosen, found);
    }
    for (var v = from_; v < to; v++) { if (weight(logits[start + v], top) > 0.0) { atomicMax(&last, v); } }
  }
  workgroupBarrier();
  if (lane == 0u) {
    var token = atomicLoad(&chosen);
    if (token == params.vocabulary) { token = atomicLoad(&last); } // rounding left nothing above the target
    tokens[row] = i32(token);
    logProbs[row] = or_nan(below(logits[start + token], top) * params.scale - log(total), topWrong);
  }`,
  `fn weight(x: f32, top: f32) -> f32 { return exp(max(below(x, top) * params.scale, -1e4)); }
var<workgroup> masses: array<f32, ${GROUP}>;
var<workgroup> chosen: atomic<u32>;
var<workgroup> last: atomic<u32>;`,
);
