// Matrix products and linear layers (`linear.ts`): what is added to a product, and the adapter's two small ones, belong to the same pass over its rows.
#include <algorithm>

#include "multiply.h"
#include "op.h"
#include "threads.h"

namespace search_e1 {
namespace {

/** Rows of a result that a thread takes at least, as it brings the whole right factor into its cache for them, and at most. */
constexpr int64_t LEAST_ROWS = 96, MOST_ROWS = 480;

/** Rows that are added up into one part of a sum over `rows`, or more where there would be too many parts: the sum does not depend on the threads. */
int64_t sliceOf(int64_t rows, int64_t least) {
  constexpr int64_t MOST_SLICES = 32;
  return std::max(least, (rows + MOST_SLICES - 1) / MOST_SLICES);
}
constexpr int64_t SLICE = 512;
/** Numbers of a sum over rows up to which each slice has its own. */
constexpr int64_t SMALL_SUM = 1 << 17;

/** f(i0, rows, j0, columns) for the blocks of an [m, n] result that is summed over k, on all threads. */
template <typename F>
void eachBlock(int64_t m, int64_t n, int64_t k, F f) {
  if (m == 0 || n == 0) return;
  const int64_t wanted = 2 * threadCount();
  const int64_t rows = std::clamp((m + 2 * wanted - 1) / (2 * wanted), LEAST_ROWS, MOST_ROWS), across = (m + rows - 1) / rows;
  const int64_t parts = std::max<int64_t>(1, wanted / std::max<int64_t>(1, across)); // few rows: columns are divided too
  const int64_t columns = ((n + parts - 1) / parts + PANEL - 1) / PANEL * PANEL, along = (n + columns - 1) / columns;
  parallel(across * along, static_cast<double>(std::min(m, rows)) * std::min(n, columns) * k / 8, [&](int64_t from, int64_t to) {
    for (int64_t block = from; block < to; block++) {
      const int64_t i0 = block / along * rows, j0 = block % along * columns;
      f(i0, std::min(rows, m - i0), j0, std::min(columns, n - j0));
    }
  });
}

/** to[i] = factor * the sum of `parts` arrays of `count` numbers. */
void sumParts(const float* from, int64_t parts, int64_t count, float factor, float* to) {
  constexpr int64_t GRAIN = 16 * LANES;
  parallel((count + GRAIN - 1) / GRAIN, GRAIN * parts, [&](int64_t first, int64_t last) {
    const int64_t start = first * GRAIN;
    eachVector(std::min(count, last * GRAIN) - start, [&](int64_t at, int64_t n) {
      Lanes sum{};
      for (int64_t part = 0; part < parts; part++) sum += loadPart(from + part * count + start + at, n);
      storePart(to + start + at, sum * factor, n);
    });
  });
}

/** a and b, each of two axes behind any number of 1s; settings [transposeA, transposeB] -> their product. */
void matMul(Call& call) {
  const Tensor left = call.input(0), right = call.input(1);
  const float* const transposed = call.input(2).floats();
  const auto matrix = [](const Tensor& x, bool turned) {
    return turned ? Strided{x.floats(), 1, x.width()} : Strided{x.floats(), x.width(), 1};
  };
  const Strided a = matrix(left, transposed[0] != 0), b = matrix(right, transposed[1] != 0);
  const size_t axes = left.shape.size();
  const int64_t m = left.shape[axes - (transposed[0] ? 1 : 2)], k = left.shape[axes - (transposed[0] ? 2 : 1)];
  const int64_t n = right.shape[right.shape.size() - (transposed[1] ? 2 : 1)];
  std::vector<int64_t> shape = left.shape;
  shape[axes - 2] = m;
  shape[axes - 1] = n;
  float* const c = call.output(0, shape).floats();
  const int64_t slice = sliceOf(k, SLICE), slices = (k + slice - 1) / slice;
  if (a.row == 1 && m * n <= SMALL_SUM && slices > 1) { // as the gradient of a weight
    float* const parts = sharedScratch(slices * m * n);
    parallel(slices, static_cast<double>(slice) * m * n / 8, [&](int64_t from, int64_t to) {
      float* const part = scratch(partFloats(n, slice));
      for (int64_t s = from; s < to; s++)
        multiplyAll(a.at(0, s * slice), b.at(s * slice, 0), {}, parts + s * m * n, n, m, n, std::min(slice, k - s * slice), part);
    });
    return sumParts(parts, slices, m * n, 1, c);
  }
  eachBlock(m, n, k, [&](int64_t i0, int64_t rows, int64_t j0, int64_t columns) {
    multiplyAll(a.at(i0, 0), b.at(0, j0), {}, c + i0 * n + j0, n, rows, columns, k, scratch(partFloats(columns, k)));
  });
}

/** A linear layer's weight [n, k] or [k, n] as it lies. */
Strided turned(const Tensor& weight) { return {weight.floats(), 1, weight.width()}; }
Strided plain(const Tensor& x) { return {x.floats(), x.width(), 1}; }

/** y [rows, columns] = start + x W^T, and the bias where the start is something else. */
void layer(const Strided& x, const Strided& w, const float* bias, Start plus, float* y, int64_t yRow, int64_t rows, int64_t columns, int64_t k, float* part) {
  multiplyAll(x, w, plus.data ? plus : Start{bias, 0}, y, yRow, rows, columns, k, part);
  if (!plus.data || !bias) return;
  for (int64_t i = 0; i < rows; i++, y += yRow)
    eachVector(columns, [&](int64_t at, int64_t n) { storePart(y + at, loadPart(y + at, n) + loadPart(bias + at, n), n); });
}

/** x [..., in], weight [out, in], bias [out] or absent, plus [..., out] or absent -> x W^T + bias + plus [..., out]. */
void linear(Call& call) {
  const Tensor x = call.input(0), weight = call.input(1);
  const float* const bias = call.input(2).floats();
  const float* const plus = call.input(3).floats();
  const int64_t k = x.width(), n = weight.shape[0];
  std::vector<int64_t> shape = x.shape;
  shape.back() = n;
  float* const y = call.output(0, shape).floats();
  eachBlock(x.rows(), n, k, [&](int64_t i0, int64_t rows, int64_t j0, int64_t columns) {
    layer(plain(x).at(i0, 0), turned(weight).at(0, j0), bias ? bias + j0 : nullptr, Start{plus, n}.at(i0, j0), y + i0 * n + j0, n, rows,
          columns, k, scratch(partFloats(columns, k)));
  });
}

/** The same with `+ scale (x A^T) B^T`: a [rank, in], b [out, rank], settings [scale] -> y; x A^T [rows, rank]. */
void adaptedLinear(Call& call) {
  const Tensor x = call.input(0), weight = call.input(1), a = call.input(2), b = call.input(3);
  const float* const bias = call.input(4).floats();
  const float* const plus = call.input(5).floats();
  const float scale = call.input(6).floats()[0];
  const int64_t k = x.width(), n = weight.shape[0], rank = a.shape[0];
  std::vector<int64_t> shape = x.shape;
  shape.back() = n;
  float* const y = call.output(0, shape).floats();
  float* const low = call.output(1, {x.rows(), rank}).floats();
  eachBlock(x.rows(), 1, k * (n + rank), [&](int64_t i0, int64_t rows, int64_t, int64_t) {
    float* const part = scratch(std::max({partFloats(n, k), partFloats(rank, k), partFloats(n, rank)}) + rows * rank);
    float* const scaled = part + std::max({partFloats(n, k), partFloats(rank, k), partFloats(n, rank)});
    multiplyAll(plain(x).at(i0, 0), turned(a), {}, low + i0 * rank, rank, rows, rank, k, part);
    for (int64_t i = 0; i < rows * rank; i++) scaled[i] = low[i0 * rank + i] * scale;
    layer(plain(x).at(i0, 0), turned(weight), bias, Start{plus, n}.at(i0, 0), y + i0 * n, n, rows, n, k, part);
    multiplyAll({scaled, rank, 1}, turned(b), {y + i0 * n, n}, y + i0 * n, n, rows, n, rank, part);
  });
}

/** x, weight, a, b, low = x A^T, dy, settings [scale] -> with dLow = scale dy B: dx = dy W + dLow A; dA = dLow^T x; dB = scale dy^T low. */
void adaptedLinearGrad(Call& call) {
  const Tensor x = call.input(0), weight = call.input(1), a = call.input(2), b = call.input(3), low = call.input(4), dy = call.input(5);
  const float scale = call.input(6).floats()[0];
  const int64_t k = x.width(), n = weight.shape[0], rank = a.shape[0], rows = x.rows();
  const int64_t slice = sliceOf(rows, SLICE / 2), slices = (rows + slice - 1) / slice; // parts of dA and dB are small
  float* const dx = call.output(0, x.shape).floats();
  float* const dA = call.output(1, a.shape).floats();
  float* const dB = call.output(2, b.shape).floats();
  float* const partsOfA = sharedScratch(slices * rank * (k + n)); // turned: [slices, in, rank], and [slices, out, rank]
  float* const partsOfB = partsOfA + slices * rank * k;
  parallel(slices, static_cast<double>(slice) * k * n / 8, [&](int64_t from, int64_t to) {
    const int64_t floats = std::max({partFloats(k, n), partFloats(rank, n), partFloats(k, rank), partFloats(rank, slice)});
    float* const part = scratch(floats + slice * rank);
    float* const dLow = part + floats;
    for (int64_t s = from; s < to; s++) {
      const int64_t i0 = s * slice, count = std::min(slice, rows - i0);
      const Strided dRows = plain(dy).at(i0, 0);
      multiplyAll(dRows, plain(b), {}, dLow, rank, count, rank, n, part);
      for (int64_t i = 0; i < count * rank; i++) dLow[i] *= scale;
      multiplyAll(dRows, plain(weight), {}, dx + i0 * k, k, count, k, n, part);
      multiplyAll({dLow, rank, 1}, plain(a), {dx + i0 * k, k}, dx + i0 * k, k, count, k, rank, part);
      multiplyAll({x.floats() + i0 * k, 1, k}, {dLow, rank, 1}, {}, partsOfA + s * rank * k, rank, k, rank, count, part);
      multiplyAll({dy.floats() + i0 * n, 1, n}, plain(low).at(i0, 0), {}, partsOfB + s * rank * n, rank, n, rank, count, part);
    }
  });
  sumParts(partsOfB, slices, rank * n, scale, dB);
  sumParts(partsOfA, slices, rank * k, 1, partsOfA);
  for (int64_t i = 0; i < rank; i++)
    for (int64_t j = 0; j < k; j++) dA[i * k + j] = partsOfA[j * rank + i];
}

const Operation<matMul> product("SearchE1MatMul", {"a: float", "b: float", "settings: float"}, {"c: float"});
const Operation<linear> plainLayer("SearchE1Linear", {"x: float", "weight: float", "bias: float", "plus: float"}, {"y: float"});
const Operation<adaptedLinear> adapted("SearchE1AdaptedLinear",
                                       {"x: float", "weight: float", "a: float", "b: float", "bias: float", "plus: float", "settings: float"},
                                       {"y: float", "low: float"});
const Operation<adaptedLinearGrad> adaptedGrad("SearchE1AdaptedLinearGrad",
                                               {"x: float", "weight: float", "a: float", "b: float", "low: float", "dy: float",
                                                "settings: float"},
                                               {"dx: float", "d_a: float", "d_b: float"});

}  // namespace
}  // namespace search_e1
