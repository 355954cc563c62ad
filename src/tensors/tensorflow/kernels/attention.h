// What attention over segments and the decoder of single tokens share: the problem, a row's softmax, and few queries at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

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
  if (best < -1e29f && std::none_of(row, row + limit, [](float score) { return std::isnan(score); })) {
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

/** Vectors of a head that are held in registers at a time. */
constexpr int64_t HEAD_PART = 4;

/** Products of V vectors of a query and of sixteen keys, of which `count` are there, in place of or in addition to `products`. */
template <int V>
inline void multiplyKeys(Lanes products[LANES], bool add, const float* q, const float* key, int64_t stride, int64_t count, int64_t last) {
  Lanes query[V];
  for (int d = 0; d < V; d++) query[d] = loadPart(q + d * LANES, d == V - 1 ? last : LANES);
  if (count == LANES && last == LANES) // both known to the compiler
    for (int64_t t = 0; t < LANES; t++) {
      Lanes sum = query[0] * load(key + t * stride);
      for (int d = 1; d < V; d++) sum += query[d] * load(key + t * stride + d * LANES);
      products[t] = add ? products[t] + sum : sum;
    }
  else
    for (int64_t t = 0; t < count; t++) {
      Lanes sum{};
      for (int d = 0; d < V; d++) sum += query[d] * loadPart(key + t * stride + d * LANES, d == V - 1 ? last : LANES);
      products[t] = add ? products[t] + sum : sum;
    }
}

/** Adds the weighted sum of V vectors of `count` values to `read`. */
template <int V>
inline void addWeighted(float* read, const float* weights, const float* value, int64_t stride, int64_t count, int64_t last) {
  Lanes sums[V], others[V] = {}; // two of each: an addition need not wait for the one before
  for (int d = 0; d < V; d++) sums[d] = loadPart(read + d * LANES, d == V - 1 ? last : LANES);
  if (count == LANES && last == LANES) // both known to the compiler
    for (int64_t t = 0; t < LANES; t += 2)
      for (int d = 0; d < V; d++) {
        sums[d] += weights[t] * load(value + t * stride + d * LANES);
        others[d] += weights[t + 1] * load(value + (t + 1) * stride + d * LANES);
      }
  else
    for (int64_t t = 0; t < count; t++)
      for (int d = 0; d < V; d++) sums[d] += weights[t] * loadPart(value + t * stride + d * LANES, d == V - 1 ? last : LANES);
  for (int d = 0; d < V; d++) storePart(read + d * LANES, sums[d] + others[d], d == V - 1 ? last : LANES);
}

/** f<V>(offset, lanes of the last vector) for the parts of a head. */
template <typename F>
inline void eachPart(int64_t headDim, F f) {
  for (int64_t at = 0; at < headDim; at += HEAD_PART * LANES) {
    const int64_t vectors = std::min(HEAD_PART, (headDim - at + LANES - 1) / LANES);
    const int64_t last = std::min(LANES, headDim - at - (vectors - 1) * LANES);
    if (vectors == 1) f(std::integral_constant<int, 1>(), at, last);
    else if (vectors == 2) f(std::integral_constant<int, 2>(), at, last);
    else if (vectors == 3) f(std::integral_constant<int, 3>(), at, last);
    else f(std::integral_constant<int, 4>(), at, last);
  }
}

/** f(first row, keys, index of the first key) for up to sixteen neighbouring keys at a time, of the first `limit` that a segment reads. */
template <typename F>
inline void eachFewKeys(const Problem& p, const Segment& segment, int64_t limit, F f) {
  int64_t j = 0;
  for (int r = 0; r < segment.ranges; r++) {
    const Range& range = p.ranges[segment.firstRange + r];
    const int64_t end = std::min<int64_t>(limit, j + range.keys);
    for (int64_t row = range.from; j < end; j += LANES, row += LANES) f(row, std::min(LANES, end - j), j);
    j = end;
  }
}

/**
 * All heads of a segment of few queries, as in decoding, where keys are read once and packing would cost more than it saves: rows of keys and values are
 * read in the order in which they lie. `scores` has room for heads x padded keys.
 */
inline void attendFew(const Problem& p, const Segment& segment, const float* mask, float* out, float* lse, float* scores) {
  for (int64_t i = 0; i < segment.queries; i++) {
    const int64_t at = (segment.firstQuery + i) * p.queryRow();
    const int64_t limit = segment.keys - segment.queries + i + 1, columns = padded(limit);
    eachFewKeys(p, segment, limit, [&](int64_t row, int64_t count, int64_t j) {
      for (int64_t head = 0; head < p.heads; head++) {
        const float* const q = p.q + at + head * p.headDim;
        const float* key = p.k + row * p.keyRow() + head / p.group() * p.headDim;
        Lanes products[LANES];
        std::fill(products + count, products + LANES, Lanes{});
        eachPart(p.headDim, [&](auto vectors, int64_t d, int64_t last) {
          multiplyKeys<vectors>(products, d > 0, q + d, key + d, p.keyRow(), count, last);
        });
        storePart(scores + head * columns + j, sumsOf(products), count);
      }
    });
    std::fill_n(out + at, p.queryRow(), 0.0f);
    for (int64_t head = 0; head < p.heads; head++) {
      float* const row = scores + head * columns;
      float share;
      lse[head * p.n + segment.firstQuery + i] = softmax(row, limit, columns, mask, p.scale, &share);
      for (int64_t j = 0; j < columns; j += LANES) store(row + j, load(row + j) * share);
    }
    eachFewKeys(p, segment, limit, [&](int64_t row, int64_t count, int64_t j) {
      for (int64_t head = 0; head < p.heads; head++) {
        const float* const weights = scores + head * columns + j;
        const float* const values = p.v + row * p.keyRow() + head / p.group() * p.headDim;
        float* const read = out + at + head * p.headDim;
        eachPart(p.headDim, [&](auto vectors, int64_t d, int64_t last) {
          addWeighted<vectors>(read + d, weights, values + d, p.keyRow(), count, last);
        });
      }
    });
  }
}

}  // namespace search_e1
