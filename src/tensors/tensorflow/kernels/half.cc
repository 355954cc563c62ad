// Products with weights that stay in 16 bits (`half.ts`): some of them are widened at a time, to where they stay in the second cache while they are
// multiplied, so that the matrix never exists in float32. The weights are packed halves, two to an int32: [rows, columns / 2].
#include <algorithm>
#include <cstring>

#include "multiply.h"
#include "op.h"
#include "threads.h"

namespace search_e1 {
namespace {

/** Columns of the result, and numbers that are summed, of the part of the weights that is widened at a time; rows of its product that are held beside it. */
constexpr int64_t PART_COLUMNS = 128, PART_DEPTH = 512, PART_ROWS = 240;
/** Up to so many rows each row of the weights is multiplied as it is widened, as when tokens are written one by one. */
constexpr int64_t FEW_ROWS = 16;

typedef uint16_t HalfLanes __attribute__((vector_size(32)));
typedef uint32_t BitLanes __attribute__((vector_size(64)));

template <typename To, typename From>
inline To bitsAs(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

/** `count` neighbours, widened exactly: bfloat16 is the upper half of a float32, binary16 has 5 bits of exponent and 10 of fraction. */
inline Lanes widen(const uint16_t* from, int64_t count, bool bfloat16) {
  HalfLanes halves{};
  if (count >= LANES) std::memcpy(&halves, from, sizeof halves); // of a known size: an instruction, not a call
  else std::memcpy(&halves, from, count * sizeof(uint16_t));
#ifdef __AVX512F__
  if (!bfloat16) return (Lanes)_mm512_cvtph_ps((__m256i)halves);
#endif
  const BitLanes bits = __builtin_convertvector(halves, BitLanes);
  if (bfloat16) return bitsAs<Lanes>(bits << 16);
  const BitLanes sign = (bits & 0x8000u) << 16, magnitude = (bits & 0x7fffu) << 13;
  const BitLanes subnormal = bitsAs<BitLanes>(__builtin_convertvector(bitsAs<IntLanes>(bits & 0x3ffu), Lanes) * 0x1p-24f);
  const BitLanes normal = magnitude + (112u << 23), special = magnitude | 0x7f800000u;
  const BitLanes finite = magnitude < (1u << 23) ? subnormal : normal;
  return bitsAs<Lanes>(sign | (magnitude >= (31u << 23) ? special : finite));
}

inline void widenRow(const uint16_t* from, float* to, int64_t count, bool bfloat16) {
  eachVector(count, [&](int64_t at, int64_t n) { storePart(to + at, widen(from + at, n, bfloat16), n); });
}

/** The weights of a call as 16-bit numbers. */
struct Halves {
  const uint16_t* data;
  int64_t rows, columns;
  bool bfloat16;

  Halves(const Tensor& packed, bool bfloat16)
      : data(reinterpret_cast<const uint16_t*>(packed.integers())), rows(packed.shape[0]), columns(2 * packed.width()), bfloat16(bfloat16) {}
  const uint16_t* at(int64_t i, int64_t j) const { return data + i * columns + j; }
};

/** Sum of products of two rows, in four sums so that none waits for the one before. */
inline float dot(const float* a, const float* b, int64_t count) {
  Lanes sums[4] = {};
  int64_t at = 0;
  for (; at + 4 * LANES <= count; at += 4 * LANES)
    for (int i = 0; i < 4; i++) sums[i] += load(a + at + i * LANES) * load(b + at + i * LANES);
  for (; at < count; at += LANES) sums[0] += loadPart(a + at, count - at) * loadPart(b + at, count - at);
  return sumOf((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

/** y = x W^T for few rows of x. */
void multiplyFew(const Tensor& x, const Halves& w, float* y) {
  const int64_t m = x.shape[0], k = w.columns, n = w.rows;
  constexpr int64_t GROUP = 8;
  parallel((n + GROUP - 1) / GROUP, GROUP * k * (1 + m / 8.0), [&](int64_t from, int64_t to) {
    float* const row = scratch(padded(k));
    for (int64_t j = from * GROUP; j < std::min(n, to * GROUP); j++) {
      widenRow(w.at(j, 0), row, k, w.bfloat16);
      for (int64_t i = 0; i < m; i++) y[i * n + j] = dot(x.floats() + i * k, row, k);
    }
  });
}

/** x [m, k], weights W [n, k], settings [bfloat16, byRows] -> x W^T [m, n] where byRows; else x is [m, n], the result x W [m, k]. */
void multiplyHalves(Call& call) {
  const Tensor x = call.input(0);
  const float* const settings = call.input(2).floats();
  const Halves w(call.input(1), settings[0] != 0);
  const bool byRows = settings[1] != 0;
  const int64_t m = x.shape[0], across = byRows ? w.rows : w.columns, k = byRows ? w.columns : w.rows;
  float* const y = call.output(0, {m, across}).floats();
  if (m == 0 || across == 0) return;
  if (byRows && m <= FEW_ROWS) return multiplyFew(x, w, y);
  const int64_t even = (across + 2 * threadCount() - 1) / (2 * threadCount());
  const int64_t columns = std::clamp((even + LANES - 1) / LANES * LANES, 2 * LANES, PART_COLUMNS);
  parallel((across + columns - 1) / columns, static_cast<double>(m + 8) * columns * k / 8, [&](int64_t from, int64_t to) {
    float* const part = scratch(partFloats(columns, PART_DEPTH) + columns * (PART_DEPTH + PART_ROWS));
    float* const wide = part + partFloats(columns, PART_DEPTH);
    float* const product = wide + columns * PART_DEPTH;
    for (int64_t j0 = from * columns; j0 < std::min(across, to * columns); j0 += columns) {
      const int64_t width = std::min(columns, across - j0);
      for (int64_t k0 = 0; k0 < std::max<int64_t>(1, k); k0 += PART_DEPTH) {
        const int64_t depth = std::min(PART_DEPTH, k - k0);
        if (byRows)
          for (int64_t j = 0; j < width; j++) widenRow(w.at(j0 + j, k0), wide + j * PART_DEPTH, depth, w.bfloat16);
        else
          for (int64_t i = 0; i < depth; i++) widenRow(w.at(k0 + i, j0), wide + i * columns, width, w.bfloat16);
        const Strided b = byRows ? Strided{wide, 1, PART_DEPTH} : Strided{wide, columns, 1};
        if (k0 == 0) {
          multiplyAll({x.floats(), k, 1}, b, {}, y + j0, across, m, width, depth, part);
          continue;
        }
        // Summed apart, then added: in a sum over a vocabulary, one number after the other, each would lose what it has below the sum's last digit.
        for (int64_t i0 = 0; i0 < m; i0 += PART_ROWS) {
          const int64_t rows = std::min(PART_ROWS, m - i0);
          multiplyAll({x.floats() + i0 * k + k0, k, 1}, b, {}, product, columns, rows, width, depth, part);
          for (int64_t i = 0; i < rows; i++) {
            float* const sums = y + (i0 + i) * across + j0;
            eachVector(width, [&](int64_t at, int64_t n) { storePart(sums + at, loadPart(sums + at, n) + loadPart(product + i * columns + at, n), n); });
          }
        }
      }
    }
  });
}

/** weights [V, d], ids [N], settings [bfloat16] -> their rows, widened [N, d]. */
void halfRows(Call& call) {
  const Halves w(call.input(0), call.input(2).floats()[0] != 0);
  const Tensor ids = call.input(1);
  checkIds(ids, w.rows);
  float* const y = call.output(0, {ids.size(), w.columns}).floats();
  parallel(ids.size(), w.columns, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) widenRow(w.at(ids.integers()[i], 0), y + i * w.columns, w.columns, w.bfloat16);
  });
}

const Operation<multiplyHalves> product("SearchE1HalfMatMul", {"x: float", "halves: int32", "settings: float"}, {"y: float"});
const Operation<halfRows> rows("SearchE1HalfRows", {"halves: int32", "ids: int32", "settings: float"}, {"y: float"});

}  // namespace
}  // namespace search_e1
