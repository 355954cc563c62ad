// Causal grouped-query attention over segments of rows as they lie, forward and backward (`attention.ts` says what a segment is): one key/value head
// at a time and 48 queries at a time, so that only the scores of one block exist. The backward pass computes the weights again from the log-sum-exp.
// Scores lie as [keys, queries]: the softmax of sixteen queries is one of vectors, and each of the products finds its factors as they lie.
#include <algorithm>

#include "attention.h"
#include "multiply.h"
#include "threads.h"

namespace search_e1 {
namespace {

/** Queries that are computed together, and in the backward pass keys: what lies between them stays in the nearest cache. */
constexpr int64_t BLOCK = 3 * LANES;
constexpr int64_t KEYS = 96;

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

/** Rows of one head, `stride` floats apart, as columns: [headDim, padded rows]; the padding becomes 0. */
void gatherColumns(const float* from, int64_t stride, float* to, int64_t rows, int64_t headDim) {
  packRows({from, 1, stride}, to, padded(rows), rows, headDim);
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

/** Queries of one head that are computed together, and which keys each may read. */
struct Block {
  int64_t rows, columns; // queries, and lanes that these take
  int64_t first;         // index of the first query
  int64_t visible;       // keys that the last query may read
  const float* mask;     // by key; null: all may be read

  Block(const Segment& segment, int64_t i0, const float* mask)
      : rows(std::min(BLOCK, segment.queries - i0)), columns(padded(rows)), first(segment.firstQuery + i0),
        visible(segment.keys - segment.queries + i0 + rows), mask(mask) {}

  /** Hides, of the scores [keys, columns] of keys from `from` on, those of keys behind a query and masked ones. */
  void hide(float* scores, int64_t from, int64_t keys) const {
    const IntLanes lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int64_t j = std::max(from, visible - rows + 1); j < from + keys; j++)
      for (int64_t i = 0; i < columns; i += LANES) {
        float* const at = scores + (j - from) * columns + i;
        const int32_t reader = static_cast<int32_t>(j - (visible - rows) - i); // the first lane that may read it
        store(at, lane < reader ? splat(HIDDEN) : load(at));
      }
    if (!mask) return;
    for (int64_t j = 0; j < keys; j++)
      if (mask[from + j] == 0) std::fill_n(scores + j * columns, columns, HIDDEN);
  }
};

/** Scores of L vectors of queries to weights in place, but for each query's factor `share`; `lse` is the log-sum-exp of its scaled scores. */
template <int L>
void softmaxes(float* scores, int64_t keys, float scale, float* share, float* lse) {
  Lanes best[L], sum[L];
  for (int i = 0; i < L; i++) {
    best[i] = splat(HIDDEN);
    sum[i] = Lanes{};
  }
  for (int64_t j = 0; j < keys; j++)
    for (int i = 0; i < L; i++) best[i] = larger(best[i], load(scores + (j * L + i) * LANES));
  for (int64_t j = 0; j < keys; j++)
    for (int i = 0; i < L; i++) {
      float* const at = scores + (j * L + i) * LANES;
      const Lanes e = exponential((load(at) - best[i]) * scale);
      sum[i] += e;
      store(at, e);
    }
  for (int i = 0; i < L * LANES; i++) {
    const float most = best[i / LANES][i % LANES], total = sum[i / LANES][i % LANES];
    const bool nothing = most < -1e29f && !std::isnan(total); // of a score that is NaN
    share[i] = nothing ? 0 : 1 / total;
    lse[i] = nothing ? NOTHING_READ : most * scale + std::log(total);
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
    float* const scores = scratch(std::max(BLOCK, p.heads) * padded(longest) + 2 * longest * width + BLOCK * (p.headDim + width)); // [keys, queries]
    float* const keys = scores + std::max(BLOCK, p.heads) * padded(longest);
    float* const values = keys + longest * width;
    float* const turned = values + longest * width; // [headDim, queries]
    float* const read = turned + BLOCK * p.headDim;  // [queries, width]
    for (int64_t unit = from; unit < to; unit++) {
      const Segment& segment = p.segments[unit / p.keyHeads];
      const int64_t keyHead = unit % p.keyHeads;
      const float* mask = p.keyMask ? p.keyMask + p.ranges[segment.firstRange].from : nullptr;
      if (segment.queries < 4) {
        if (keyHead == 0) attendFew(p, segment, mask, out, lse, scores); // all heads
        continue;
      }
      gatherKeys(p, segment, p.k + keyHead * p.headDim, keys);
      gatherKeys(p, segment, p.v + keyHead * p.headDim, values);
      for (int64_t head = keyHead * p.group(); head < (keyHead + 1) * p.group(); head++) {
        for (int64_t i0 = 0; i0 < segment.queries; i0 += BLOCK) {
          const Block block(segment, i0, mask);
          const int64_t at = block.first * p.queryRow() + head * p.headDim;
          float shares[BLOCK], sums[BLOCK]; // one over the sum, and its logarithm and more
          gatherColumns(p.q + at, p.queryRow(), turned, block.rows, p.headDim);
          multiply<false>({keys, width, 1}, turned, block.columns, scores, block.columns, block.visible, block.columns, p.headDim);
          block.hide(scores, 0, block.visible);
          if (block.columns == LANES) softmaxes<1>(scores, block.visible, p.scale, shares, sums);
          else if (block.columns == 2 * LANES) softmaxes<2>(scores, block.visible, p.scale, shares, sums);
          else softmaxes<3>(scores, block.visible, p.scale, shares, sums);
          std::copy_n(sums, block.rows, lse + head * p.n + block.first);
          multiply<false>({scores, 1, block.columns}, values, width, read, width, block.rows, width, block.visible);
          for (int64_t i = 0; i < block.rows; i++)
            eachVector(p.headDim, [&](int64_t d, int64_t count) {
              storePart(out + at + i * p.queryRow() + d, load(read + i * width + d) * shares[i], count);
            });
        }
      }
    }
  });
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
  const float* const out = call.input(7).floats();
  const float* const lse = call.input(8).floats();
  const float* const dOut = call.input(9).floats();
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
    const int64_t area = longest * width;
    float* const weights = scratch(2 * BLOCK * KEYS + 4 * area + 3 * BLOCK * (p.headDim + width)); // [keys, queries], as the next
    float* const dScores = weights + BLOCK * KEYS;
    float* const keys = dScores + BLOCK * KEYS; // [keys, width], as the next three
    float* const values = keys + area;
    float* const dKeys = values + area;
    float* const dValues = dKeys + area;
    float* const rowsOfQ = dValues + area; // [queries, width], as the next two
    float* const rowsOfOut = rowsOfQ + BLOCK * width;
    float* const dRows = rowsOfOut + BLOCK * width;
    float* const turnedQ = dRows + BLOCK * width; // [headDim, queries], as the next two
    float* const turnedOut = turnedQ + BLOCK * p.headDim;
    float* const turnedRead = turnedOut + BLOCK * p.headDim;
    for (int64_t unit = from; unit < to; unit++) {
      const int64_t keyHead = unit % p.keyHeads;
      for (int64_t s = families[unit / p.keyHeads]; s < families[unit / p.keyHeads + 1]; s++) {
        const Segment& segment = p.segments[s];
        const float* mask = p.keyMask ? p.keyMask + p.ranges[segment.firstRange].from : nullptr;
        gatherKeys(p, segment, p.k + keyHead * p.headDim, keys);
        gatherKeys(p, segment, p.v + keyHead * p.headDim, values);
        std::fill(dKeys, dKeys + segment.keys * width, 0.0f);
        std::fill(dValues, dValues + segment.keys * width, 0.0f);
        for (int64_t head = keyHead * p.group(); head < (keyHead + 1) * p.group(); head++) {
          for (int64_t i0 = 0; i0 < segment.queries; i0 += BLOCK) {
            const Block block(segment, i0, mask);
            const int64_t rows = block.rows, columns = block.columns, visible = block.visible;
            const int64_t at = block.first * p.queryRow() + head * p.headDim;
            gatherRows(p.q + at, p.queryRow(), rowsOfQ, rows, p.headDim);
            gatherRows(dOut + at, p.queryRow(), rowsOfOut, rows, p.headDim);
            gatherColumns(p.q + at, p.queryRow(), turnedQ, rows, p.headDim);
            gatherColumns(dOut + at, p.queryRow(), turnedOut, rows, p.headDim);
            gatherColumns(out + at, p.queryRow(), turnedRead, rows, p.headDim);
            float sums[BLOCK], means[BLOCK]; // log-sum-exp of the scores, and mean of the weights' gradients: dOut out
            for (int64_t i = 0; i < columns; i += LANES) {
              store(sums + i, loadPart(lse + head * p.n + block.first + i, rows - i, NOTHING_READ));
              Lanes mean{};
              for (int64_t d = i; d < p.headDim * columns; d += columns) mean += load(turnedOut + d) * load(turnedRead + d);
              store(means + i, mean);
            }
            for (int64_t j0 = 0; j0 < visible; j0 += KEYS) {
              const int64_t count = std::min(KEYS, visible - j0), first = j0 * width;
              multiply<false>({keys + first, width, 1}, turnedQ, columns, weights, columns, count, columns, p.headDim);
              multiply<false>({values + first, width, 1}, turnedOut, columns, dScores, columns, count, columns, p.headDim);
              block.hide(weights, j0, count);
              for (int64_t j = 0; j < count * columns; j += columns)
                for (int64_t i = 0; i < columns; i += LANES) {
                  const Lanes weight = exponential(load(weights + j + i) * p.scale - load(sums + i));
                  store(weights + j + i, weight);
                  store(dScores + j + i, weight * (load(dScores + j + i) - load(means + i)) * p.scale);
                }
              multiply<true>({weights, columns, 1}, rowsOfOut, width, dValues + first, width, count, width, rows);
              multiply<true>({dScores, columns, 1}, rowsOfQ, width, dKeys + first, width, count, width, rows);
              if (j0 == 0) multiply<false>({dScores, 1, columns}, keys, width, dRows, width, rows, width, count);
              else multiply<true>({dScores, 1, columns}, keys + first, width, dRows, width, rows, width, count);
            }
            for (int64_t i = 0; i < rows; i++)
              eachVector(p.headDim, [&](int64_t d, int64_t count) {
                storePart(dq + at + i * p.queryRow() + d, load(dRows + i * width + d), count);
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
                                         "families: int32", "out: float", "lse: float", "d_out: float"},
                                        {"dq: float", "dk: float", "dv: float"});

}  // namespace
}  // namespace search_e1
