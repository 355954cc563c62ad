// Causal grouped-query attention over segments of rows as they lie, forward and backward (`attention.ts` says what a segment is): one key/value head
// at a time and 48 queries at a time, so that only the scores of one block exist. The backward pass computes the weights again from the log-sum-exp.
#include <algorithm>

#include "attention.h"
#include "multiply.h"
#include "threads.h"

namespace search_e1 {
namespace {

constexpr int64_t BLOCK = 48;
/** Rows of one head, `stride` floats apart, below one another with whole vectors a row; the padding becomes 0. */
void gatherRows(const float* from, int64_t stride, float* to, int64_t rows, int64_t headDim) {
  const int64_t width = padded(headDim);
  for (int64_t i = 0; i < rows; i++, from += stride, to += width)
    for (int64_t at = 0; at < headDim; at += LANES) store(to + at, loadPart(from + at, headDim - at));
}

/** The same of all ranges of a segment, one below the other. */
void gatherKeys(const Problem& p, const Segment& segment, const float* heads, float* to) {
  for (int r = 0; r < segment.ranges; r++) {
    const Range& range = p.ranges[segment.firstRange + r];
    gatherRows(heads + range.from * p.keyRow(), p.keyRow(), to, range.keys, p.headDim);
    to += range.keys * padded(p.headDim);
  }
}

/** [keys, padded headDim] to [headDim, padded keys]; the padding becomes 0. */
void transpose(const float* from, float* to, int64_t keys, int64_t headDim) {
  const int64_t columns = padded(keys);
  for (int64_t d = 0; d < headDim; d++) {
    for (int64_t j = 0; j < keys; j++) to[d * columns + j] = from[j * padded(headDim) + d];
    for (int64_t j = keys; j < columns; j++) to[d * columns + j] = 0;
  }
}

/** q [.., n, H, headDim], k and v [.., rows, Hkv, headDim], keyMask [rows] or absent -> out of q's shape, lse [H, n]. */
void forward(Call& call) {
  const Tensor queries = call.input(0);
  const Tensor segments = call.input(4);
  const Problem p(queries, call.input(1), call.input(2), call.input(3), segments, call.input(5));
  float* const out = call.output(0, queries.shape).floats();
  float* const lse = call.output(1, {p.heads, p.n}).floats();
  const int64_t width = padded(p.headDim);
  const int64_t units = segments.shape[0] * p.keyHeads;
  int64_t longest = 0;
  double pairs = 0;
  for (int64_t s = 0; s < segments.shape[0]; s++) {
    longest = std::max<int64_t>(longest, p.segments[s].keys);
    pairs += static_cast<double>(p.segments[s].keys) * p.segments[s].queries;
  }
  parallel(units, pairs * p.group() * p.headDim / 8 / segments.shape[0], [&](int64_t from, int64_t to) {
    float* const scores = scratch(BLOCK * padded(longest) + 2 * padded(longest) * width + padded(longest) * p.headDim + 2 * BLOCK * width);
    float* const keys = scores + BLOCK * padded(longest); // [keys, width]
    float* const values = keys + padded(longest) * width;  // [keys, width]
    float* const turned = values + padded(longest) * width; // [headDim, padded keys]
    float* const block = turned + padded(longest) * p.headDim; // [rows, width]
    for (int64_t unit = from; unit < to; unit++) {
      const Segment& segment = p.segments[unit / p.keyHeads];
      const int64_t keyHead = unit % p.keyHeads;
      const float* mask = p.keyMask ? p.keyMask + p.ranges[segment.firstRange].from : nullptr;
      if (segment.queries < 4) {
        attendFew(p, segment, keyHead, mask, out, lse, scores);
        continue;
      }
      gatherKeys(p, segment, p.k + keyHead * p.headDim, keys);
      gatherKeys(p, segment, p.v + keyHead * p.headDim, values);
      transpose(keys, turned, segment.keys, p.headDim);
      for (int64_t head = keyHead * p.group(); head < (keyHead + 1) * p.group(); head++) {
        for (int64_t i0 = 0; i0 < segment.queries; i0 += BLOCK) {
          const int64_t rows = std::min(BLOCK, segment.queries - i0);
          const int64_t visible = segment.keys - segment.queries + i0 + rows;
          const int64_t columns = padded(visible);
          const int64_t at = (segment.firstQuery + i0) * p.queryRow() + head * p.headDim;
          float shares[BLOCK];
          multiply<false>({p.q + at, p.queryRow(), 1}, turned, padded(segment.keys), scores, columns, rows, columns, p.headDim);
          for (int64_t i = 0; i < rows; i++)
            lse[head * p.n + segment.firstQuery + i0 + i] =
                softmax(scores + i * columns, visible - rows + i + 1, columns, mask, p.scale, shares + i);
          multiply<false>({scores, columns, 1}, values, width, block, width, rows, width, visible);
          for (int64_t i = 0; i < rows; i++)
            eachVector(p.headDim, [&](int64_t d, int64_t count) {
              storePart(out + at + i * p.queryRow() + d, load(block + i * width + d) * shares[i], count);
            });
        }
      }
    }
  });
}

/** Adds a head's rows [keys, width] to where the segment's ranges took them from. */
void scatterKeys(const Problem& p, const Segment& segment, const float* from, float* heads) {
  for (int r = 0; r < segment.ranges; r++) {
    const Range& range = p.ranges[segment.firstRange + r];
    float* to = heads + range.from * p.keyRow();
    for (int t = 0; t < range.keys; t++, to += p.keyRow(), from += padded(p.headDim))
      eachVector(p.headDim, [&](int64_t d, int64_t count) { storePart(to + d, loadPart(to + d, count) + load(from + d), count); });
  }
}

/**
 * As `forward`, then `families`, the first segment of each run that adds to the same keys, and the end of the last: each family's part of dk and dv is
 * written by one thread. -> dq, dk, dv.
 */
void backward(Call& call) {
  const Tensor queries = call.input(0);
  const Tensor keyTensor = call.input(1);
  const Tensor segments = call.input(4);
  const Problem p(queries, keyTensor, call.input(2), call.input(3), segments, call.input(5));
  const Tensor familyTensor = call.input(6);
  const int32_t* const families = familyTensor.integers();
  const float* const lse = call.input(7).floats();
  const float* const dOut = call.input(8).floats();
  float* const dq = call.output(0, queries.shape).floats();
  float* const dk = call.output(1, keyTensor.shape).floats();
  float* const dv = call.output(2, keyTensor.shape).floats();
  std::fill(dk, dk + keyTensor.size(), 0.0f);
  std::fill(dv, dv + keyTensor.size(), 0.0f);
  const int64_t width = padded(p.headDim);
  int64_t longest = 0;
  double pairs = 0;
  for (int64_t s = 0; s < segments.shape[0]; s++) {
    longest = std::max<int64_t>(longest, p.segments[s].keys);
    pairs += static_cast<double>(p.segments[s].keys) * p.segments[s].queries;
  }
  const int64_t units = (familyTensor.size() - 1) * p.keyHeads;
  parallel(units, pairs * p.heads * p.headDim / 4 / units, [&](int64_t from, int64_t to) {
    const int64_t area = padded(longest) * width;
    float* const weights = scratch(2 * BLOCK * padded(longest) + 4 * area + 2 * padded(longest) * p.headDim + 2 * BLOCK * width);
    float* const dScores = weights + BLOCK * padded(longest);
    float* const keys = dScores + BLOCK * padded(longest); // [keys, width], as the next three
    float* const values = keys + area;
    float* const dKeys = values + area;
    float* const dValues = dKeys + area;
    float* const turnedKeys = dValues + area; // [headDim, padded keys], as the next
    float* const turnedValues = turnedKeys + padded(longest) * p.headDim;
    float* const rowsOfQ = turnedValues + padded(longest) * p.headDim; // [rows, width], as the next
    float* const rowsOfOut = rowsOfQ + BLOCK * width;
    for (int64_t unit = from; unit < to; unit++) {
      const int64_t keyHead = unit % p.keyHeads;
      for (int64_t s = families[unit / p.keyHeads]; s < families[unit / p.keyHeads + 1]; s++) {
        const Segment& segment = p.segments[s];
        const float* mask = p.keyMask ? p.keyMask + p.ranges[segment.firstRange].from : nullptr;
        gatherKeys(p, segment, p.k + keyHead * p.headDim, keys);
        gatherKeys(p, segment, p.v + keyHead * p.headDim, values);
        transpose(keys, turnedKeys, segment.keys, p.headDim);
        transpose(values, turnedValues, segment.keys, p.headDim);
        std::fill(dKeys, dKeys + segment.keys * width, 0.0f);
        std::fill(dValues, dValues + segment.keys * width, 0.0f);
        for (int64_t head = keyHead * p.group(); head < (keyHead + 1) * p.group(); head++) {
          for (int64_t i0 = 0; i0 < segment.queries; i0 += BLOCK) {
            const int64_t rows = std::min(BLOCK, segment.queries - i0);
            const int64_t visible = segment.keys - segment.queries + i0 + rows;
            const int64_t columns = padded(visible);
            const int64_t at = (segment.firstQuery + i0) * p.queryRow() + head * p.headDim;
            gatherRows(p.q + at, p.queryRow(), rowsOfQ, rows, p.headDim);
            gatherRows(dOut + at, p.queryRow(), rowsOfOut, rows, p.headDim);
            multiply<false>({rowsOfQ, width, 1}, turnedKeys, padded(segment.keys), weights, columns, rows, columns, p.headDim);
            multiply<false>({rowsOfOut, width, 1}, turnedValues, padded(segment.keys), dScores, columns, rows, columns, p.headDim);
            for (int64_t i = 0; i < rows; i++) {
              float* const weight = weights + i * columns;
              float* const dScore = dScores + i * columns;
              const float rowLse = lse[head * p.n + segment.firstQuery + i0 + i];
              hide(weight, visible - rows + i + 1, columns, mask);
              Lanes sum{};
              for (int64_t j = 0; j < columns; j += LANES) {
                const Lanes share = exponential(load(weight + j) * p.scale - rowLse);
                store(weight + j, share);
                sum += share * load(dScore + j);
              }
              const float mean = sumOf(sum);
              for (int64_t j = 0; j < columns; j += LANES)
                store(dScore + j, load(weight + j) * (load(dScore + j) - mean) * p.scale);
            }
            multiply<true>({weights, 1, columns}, rowsOfOut, width, dValues, width, visible, width, rows);
            multiply<true>({dScores, 1, columns}, rowsOfQ, width, dKeys, width, visible, width, rows);
            multiply<false>({dScores, columns, 1}, keys, width, rowsOfQ, width, rows, width, visible);
            for (int64_t i = 0; i < rows; i++)
              eachVector(p.headDim, [&](int64_t d, int64_t count) {
                storePart(dq + at + i * p.queryRow() + d, load(rowsOfQ + i * width + d), count);
              });
          }
        }
        scatterKeys(p, segment, dKeys, dk + keyHead * p.headDim);
        scatterKeys(p, segment, dValues, dv + keyHead * p.headDim);
      }
    }
  });
}

const Operation<forward> attention("SearchE1SegmentAttention",
                                   {"q: float", "k: float", "v: float", "key_mask: float", "segments: int32", "ranges: int32"},
                                   {"out: float", "lse: float"});
const Operation<backward> attentionGrad("SearchE1SegmentAttentionGrad",
                                        {"q: float", "k: float", "v: float", "key_mask: float", "segments: int32", "ranges: int32",
                                         "families: int32", "lse: float", "d_out: float"},
                                        {"dq: float", "dk: float", "dv: float"});

}  // namespace
}  // namespace search_e1
