// The layers between matrix products, forward and backward: what each computes stands beside it in `rms-norm.ts`, `rotary.ts`, `swiglu.ts`,
// `embedding.ts`, `linear.ts` and `kv-cache.ts`. Sums over rows go through blocks of fixed size: no result depends on the number of threads.
#include <algorithm>
#include <cmath>

#include "lanes.h"
#include "op.h"
#include "threads.h"

namespace search_e1 {
namespace {

constexpr int64_t ROW_BLOCK = 64;

/** sums[j] = the sum of `partial` over its rows. */
void sumBlocks(const std::vector<float>& partial, int64_t width, float* sums) {
  std::fill(sums, sums + width, 0.0f);
  for (size_t from = 0; from < partial.size(); from += width)
    for (int64_t j = 0; j < width; j++) sums[j] += partial[from + j];
}

/** x [..., d], weight [d], settings [epsilon] -> y of x's shape, 1 / root mean square of each row. */
void rmsNorm(Call& call) {
  const Tensor x = call.input(0);
  const int64_t width = x.width();
  const float* const weight = call.input(1).floats();
  const float epsilon = call.input(2).floats()[0];
  float* const y = call.output(0, x.shape).floats();
  float* const inverse = call.output(1, {x.rows()}).floats();
  parallel(x.rows(), width, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) {
      const float* row = x.floats() + i * width;
      const double squares = sumOver(width, [&](int64_t at, int64_t n) {
        const Lanes value = loadPart(row + at, n);
        return value * value;
      });
      inverse[i] = 1 / std::sqrt(squares / width + epsilon);
      eachVector(width, [&](int64_t at, int64_t n) {
        storePart(y + i * width + at, loadPart(row + at, n) * inverse[i] * loadPart(weight + at, n), n);
      });
    }
  });
}

/** x, weight, inverse, dy -> dx, dWeight. */
void rmsNormGrad(Call& call) {
  const Tensor x = call.input(0);
  const int64_t width = x.width(), rows = x.rows();
  const float* const weight = call.input(1).floats();
  const float* const inverse = call.input(2).floats();
  const float* const dy = call.input(3).floats();
  float* const dx = call.output(0, x.shape).floats();
  const int64_t blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
  std::vector<float> partial(blocks * width, 0.0f);
  parallel(blocks, ROW_BLOCK * width * 3, [&](int64_t from, int64_t to) {
    for (int64_t i = from * ROW_BLOCK; i < std::min(rows, to * ROW_BLOCK); i++) {
      const float* row = x.floats() + i * width;
      const float* dRow = dy + i * width;
      float* dWeight = partial.data() + i / ROW_BLOCK * width;
      const double product = sumOver(width, [&](int64_t at, int64_t n) {
        return loadPart(row + at, n) * loadPart(weight + at, n) * loadPart(dRow + at, n);
      });
      const float r = inverse[i];
      const float back = r * r * r / width * product;
      eachVector(width, [&](int64_t at, int64_t n) {
        const Lanes value = loadPart(row + at, n), d = loadPart(dRow + at, n);
        storePart(dx + i * width + at, loadPart(weight + at, n) * d * r - value * back, n);
        storePart(dWeight + at, loadPart(dWeight + at, n) + value * r * d, n);
      });
    }
  });
  sumBlocks(partial, width, call.output(1, {width}).floats());
}

/** x [B, T, H, headDim], cos and sin [T or B T, headDim], settings [direction] -> y of x's shape. */
void rotary(Call& call) {
  const Tensor x = call.input(0), table = call.input(1);
  const float* const cos = table.floats();
  const float* const sin = call.input(2).floats();
  const float direction = call.input(3).floats()[0];
  float* const y = call.output(0, x.shape).floats();
  const int64_t heads = x.shape[2], width = x.width(), half = width / 2;
  parallel(x.shape[0] * x.shape[1], heads * width, [&](int64_t from, int64_t to) {
    for (int64_t token = from; token < to; token++) {
      const float* c = cos + token % table.shape[0] * width;
      const float* s = sin + token % table.shape[0] * width;
      for (int64_t at = token * heads * width; at < (token + 1) * heads * width; at += width) {
        const float* in = x.floats() + at;
        eachVector(half, [&](int64_t i, int64_t n) {
          const Lanes first = loadPart(in + i, n), second = loadPart(in + half + i, n);
          storePart(y + at + i, first * loadPart(c + i, n) - direction * second * loadPart(s + i, n), n);
          storePart(y + at + half + i, second * loadPart(c + half + i, n) + direction * first * loadPart(s + half + i, n), n);
        });
      }
    }
  });
}

inline Lanes sigmoid(Lanes x) { return 1.0f / (1.0f + exponential(-x)); }

/** Vectors of elements that a thread takes at once. */
constexpr int64_t GRAIN = 16 * LANES;

/** f(offset, lanes) for all vectors of `count` elements, on all threads. */
template <typename F>
void eachElement(int64_t count, double cost, F f) {
  parallel((count + GRAIN - 1) / GRAIN, GRAIN * cost, [&](int64_t from, int64_t to) {
    const int64_t first = from * GRAIN;
    eachVector(std::min(count, to * GRAIN) - first, [&](int64_t at, int64_t n) { f(first + at, n); });
  });
}

/** a + b, of one shape. */
void add(Call& call) {
  const Tensor a = call.input(0);
  const float* const b = call.input(1).floats();
  float* const y = call.output(0, a.shape).floats();
  eachElement(a.size(), 1, [&](int64_t at, int64_t n) { storePart(y + at, loadPart(a.floats() + at, n) + loadPart(b + at, n), n); });
}

/** x, shape -> the same numbers. (TensorFlow's Reshape takes twice as long to be called, for its attributes.) */
void reshape(Call& call) {
  const Tensor shape = call.input(1);
  call.pass(0, 0, std::vector<int64_t>(shape.integers(), shape.integers() + shape.size()));
}

/** shape, settings [value] -> as many of it. */
void fill(Call& call) {
  const Tensor shape = call.input(0);
  const Tensor y = call.output(0, std::vector<int64_t>(shape.integers(), shape.integers() + shape.size()));
  const Lanes value = splat(call.input(1).floats()[0]);
  eachElement(y.size(), 1, [&](int64_t at, int64_t n) { storePart(y.floats() + at, value, n); });
}

/** gate, up -> silu(gate) up. */
void swiglu(Call& call) {
  const Tensor gate = call.input(0);
  const float* const up = call.input(1).floats();
  float* const y = call.output(0, gate.shape).floats();
  eachElement(gate.size(), 4, [&](int64_t at, int64_t n) {
    const Lanes z = loadPart(gate.floats() + at, n);
    storePart(y + at, z * sigmoid(z) * loadPart(up + at, n), n);
  });
}

/** gate, up, dy -> dGate, dUp. */
void swigluGrad(Call& call) {
  const Tensor gate = call.input(0);
  const float* const up = call.input(1).floats();
  const float* const dy = call.input(2).floats();
  float* const dGate = call.output(0, gate.shape).floats();
  float* const dUp = call.output(1, gate.shape).floats();
  eachElement(gate.size(), 6, [&](int64_t at, int64_t n) {
    const Lanes z = loadPart(gate.floats() + at, n), d = loadPart(dy + at, n), s = sigmoid(z);
    storePart(dGate + at, d * loadPart(up + at, n) * s * (1.0f + z * (1.0f - s)), n);
    storePart(dUp + at, d * z * s, n);
  });
}

/** table [V, d], ids [N] -> rows [N, d]. */
void embedding(Call& call) {
  const Tensor table = call.input(0), ids = call.input(1);
  const int64_t width = table.width();
  checkIds(ids, table.shape[0]);
  float* const y = call.output(0, {ids.size(), width}).floats();
  parallel(ids.size(), width, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) std::copy_n(table.floats() + ids.integers()[i] * width, width, y + i * width);
  });
}

/** to[ids[i]] += factors[i] from[i] (without factors: 1), in order of i; each thread has columns of its own. */
void addRows(float* to, const float* from, const Tensor& ids, const float* factors, int64_t width) {
  constexpr int64_t COLUMNS = 4 * LANES;
  parallel((width + COLUMNS - 1) / COLUMNS, ids.size() * COLUMNS, [&](int64_t first, int64_t last) {
    const int64_t start = first * COLUMNS, count = std::min(width, last * COLUMNS) - start;
    for (int64_t i = 0; i < ids.size(); i++) {
      float* row = to + ids.integers()[i] * width + start;
      const float* added = from + i * width + start;
      const float factor = factors ? factors[i] : 1;
      eachVector(count, [&](int64_t at, int64_t n) { storePart(row + at, loadPart(row + at, n) + loadPart(added + at, n) * factor, n); });
    }
  });
}

/** ids [N], dy [N, d], settings [V] -> dTable [V, d]. */
void embeddingGrad(Call& call) {
  const Tensor ids = call.input(0), dy = call.input(1);
  const int64_t rows = static_cast<int64_t>(call.input(2).floats()[0]); // exact below 2^24
  checkIds(ids, rows);
  const Tensor dTable = call.output(0, {rows, dy.width()});
  std::fill_n(dTable.floats(), dTable.size(), 0.0f);
  addRows(dTable.floats(), dy.floats(), ids, nullptr, dy.width());
}

/** Adds factors[i] x[i] to row ids[i] of y, in place: y, x [N, d], ids [N], factors [N]. */
void addScaledRows(Call& call) {
  const Tensor y = call.input(0), x = call.input(1), ids = call.input(2);
  checkIds(ids, y.shape[0]);
  addRows(y.floats(), x.floats(), ids, call.input(3).floats(), x.width());
}

/** Writes row i of x to row to[i] of y, in place: x [N, d], y [M, d], to [N]. */
void copyRows(Call& call) {
  const Tensor x = call.input(0), y = call.input(1), to = call.input(2);
  const int64_t width = y.width();
  checkIds(to, y.shape[0]);
  parallel(to.size(), width, [&](int64_t from, int64_t end) {
    for (int64_t i = from; i < end; i++) std::copy_n(x.floats() + i * width, width, y.floats() + to.integers()[i] * width);
  });
}

/** x [N, d] -> sums of its columns [d]. */
void sumRows(Call& call) {
  const Tensor x = call.input(0);
  const int64_t width = x.width(), rows = x.rows();
  const int64_t blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
  std::vector<float> partial(blocks * width, 0.0f);
  parallel(blocks, ROW_BLOCK * width, [&](int64_t from, int64_t to) {
    for (int64_t i = from * ROW_BLOCK; i < std::min(rows, to * ROW_BLOCK); i++) {
      float* sums = partial.data() + i / ROW_BLOCK * width;
      const float* row = x.floats() + i * width;
      for (int64_t j = 0; j < width; j++) sums[j] += row[j];
    }
  });
  sumBlocks(partial, width, call.output(0, {width}).floats());
}

const Operation<rmsNorm> norm("SearchE1RmsNorm", {"x: float", "weight: float", "settings: float"}, {"y: float", "inverse: float"});
const Operation<rmsNormGrad> normGrad("SearchE1RmsNormGrad", {"x: float", "weight: float", "inverse: float", "dy: float"},
                                      {"dx: float", "d_weight: float"});
const Operation<rotary> turn("SearchE1Rotary", {"x: float", "cos: float", "sin: float", "settings: float"}, {"y: float"});
const Operation<swiglu> gated("SearchE1Swiglu", {"gate: float", "up: float"}, {"y: float"});
const Operation<swigluGrad> gatedGrad("SearchE1SwigluGrad", {"gate: float", "up: float", "dy: float"}, {"d_gate: float", "d_up: float"});
const Operation<embedding> lookUp("SearchE1Embedding", {"table: float", "ids: int32"}, {"y: float"});
const Operation<embeddingGrad> lookUpGrad("SearchE1EmbeddingGrad", {"ids: int32", "dy: float", "settings: float"}, {"d_table: float"});
const Operation<reshape> shaped("SearchE1Reshape", {"x: float", "shape: int32"}, {"y: float"});
const Operation<fill> filled("SearchE1Fill", {"shape: int32", "settings: float"}, {"y: float"});
const Operation<add> sum("SearchE1Add", {"a: float", "b: float"}, {"y: float"});
const Operation<addScaledRows> addTo("SearchE1AddScaledRows", {"y: float", "x: float", "ids: int32", "factors: float"}, {});
const Operation<copyRows> copy("SearchE1CopyRows", {"x: float", "y: float", "to: int32"}, {});
const Operation<sumRows> sums("SearchE1SumRows", {"x: float"}, {"sums: float"});

}  // namespace
}  // namespace search_e1
