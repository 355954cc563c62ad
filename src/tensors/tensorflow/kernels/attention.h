// What attention over segments and the decoder of single tokens share: the problem, a row's softmax, and few queries at a time.
#pragma once

#include <algorithm>
#include <cmath>

#include "lanes.h"
#include "op.h"

namespace search_e1 {

/** Log-sum-exp of a query that may read nothing: every weight recomputed from it is 0. */
constexpr float NOTHING_READ = 1e30f;
constexpr float HIDDEN = -1e30f;

/** A row of `segments`. */
struct Segment {
  int32_t firstQuery, queries, firstRange, ranges, keys;
};

/** A row of `ranges`. */
struct Range {
  int32_t from, keys;
};

/** The tensors of a call, and the strides between tokens. */
struct Problem {
  const float *q, *k, *v, *keyMask;
  const Segment* segments;
  const Range* ranges;
  int64_t n, heads, keyHeads, headDim;
  float scale;

  Problem() = default;
  Problem(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& keyMask, const Tensor& segments, const Tensor& ranges)
      : q(q.floats()), k(k.floats()), v(v.floats()), keyMask(keyMask.floats()),
        segments(reinterpret_cast<const Segment*>(segments.integers())), ranges(reinterpret_cast<const Range*>(ranges.integers())),
        n(q.shape[0] * q.shape[1]), heads(q.shape[2]), keyHeads(k.shape[2]), headDim(q.shape[3]),
        scale(1 / std::sqrt(static_cast<float>(q.shape[3]))) {}

  int64_t group() const { return heads / keyHeads; }
  int64_t queryRow() const { return heads * headDim; }
  int64_t keyRow() const { return keyHeads * headDim; }
};

/** Hides what a row may not read: masked keys, and columns from `limit` on. */
inline void hide(float* row, int64_t limit, int64_t columns, const float* mask) {
  for (int64_t j = limit; j < columns; j++) row[j] = HIDDEN;
  if (!mask) return;
  for (int64_t j = 0; j < limit; j++)
    if (mask[j] == 0) row[j] = HIDDEN;
}

/** Scores to weights in place, but for the factor `share`; returns the log-sum-exp of the scaled scores. */
inline float softmax(float* row, int64_t limit, int64_t columns, const float* mask, float scale, float* share) {
  hide(row, limit, columns, mask);
  const float best = largest(row, limit);
  if (best < -1e29f) {
    std::fill(row, row + columns, 0.0f);
    *share = 0;
    return NOTHING_READ;
  }
  Lanes sum{};
  for (int64_t j = 0; j < columns; j += LANES) {
    const Lanes e = exponential((load(row + j) - best) * scale);
    sum += e;
    store(row + j, e);
  }
  const float total = sumOf(sum);
  *share = 1 / total;
  return best * scale + std::log(total);
}

/** A dot product but for the sum over its lanes. */
inline Lanes dotLanes(const float* a, const float* b, int64_t count) {
  Lanes sum{};
  eachVector(count, [&](int64_t d, int64_t n) { sum += loadPart(a + d, n) * loadPart(b + d, n); });
  return sum;
}

/** As in decoding, where a query or two read keys once and packing would cost more than it saves. `scores` has room for the keys, in whole vectors. */
inline void attendFew(const Problem& p, const Segment& segment, int64_t keyHead, const float* mask, float* out, float* lse, float* scores) {
  for (int64_t head = keyHead * p.group(); head < (keyHead + 1) * p.group(); head++) {
    for (int64_t i = 0; i < segment.queries; i++) {
      const int64_t at = (segment.firstQuery + i) * p.queryRow() + head * p.headDim;
      const int64_t limit = segment.keys - segment.queries + i + 1;
      int64_t j = 0;
      for (int r = 0; r < segment.ranges; r++) {
        const Range& range = p.ranges[segment.firstRange + r];
        const float* key = p.k + range.from * p.keyRow() + keyHead * p.headDim;
        const int64_t end = std::min<int64_t>(limit, j + range.keys);
        for (; j + LANES <= end; j += LANES, key += LANES * p.keyRow()) {
          Lanes products[LANES];
          for (int64_t t = 0; t < LANES; t++) products[t] = dotLanes(p.q + at, key + t * p.keyRow(), p.headDim);
          store(scores + j, sumsOf(products));
        }
        for (; j < end; j++, key += p.keyRow()) scores[j] = sumOf(dotLanes(p.q + at, key, p.headDim));
      }
      float share;
      lse[head * p.n + segment.firstQuery + i] = softmax(scores, limit, padded(limit), mask, p.scale, &share);
      eachVector(p.headDim, [&](int64_t d, int64_t n) {
        Lanes sums[4] = {};
        int64_t j = 0;
        for (int r = 0; r < segment.ranges; r++) {
          const Range& range = p.ranges[segment.firstRange + r];
          const float* value = p.v + range.from * p.keyRow() + keyHead * p.headDim + d;
          const int64_t end = std::min<int64_t>(limit, j + range.keys);
          for (; j + 4 <= end; j += 4, value += 4 * p.keyRow())
            for (int t = 0; t < 4; t++) sums[t] += scores[j + t] * loadPart(value + t * p.keyRow(), n);
          for (; j < end; j++, value += p.keyRow()) sums[0] += scores[j] * loadPart(value, n);
        }
        storePart(out + at + d, ((sums[0] + sums[1]) + (sums[2] + sums[3])) * share, n);
      });
    }
  }
}

}  // namespace search_e1
