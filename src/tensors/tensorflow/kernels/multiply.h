// A small matrix product in cache, `C (+)= A B`: attention's four. Rows of B and C are padded to whole vectors; A may be read in any direction.
#pragma once

#include "lanes.h"

namespace search_e1 {

struct Strided {
  const float* data;
  int64_t row;
  int64_t column;
};

/** R rows and L vectors of C in registers. */
template <int R, int L, bool add>
inline void multiplyTile(const Strided& a, const float* b, int64_t bRow, float* c, int64_t cRow, int64_t k) {
  Lanes sums[R][L];
  for (int i = 0; i < R; i++)
    for (int j = 0; j < L; j++) sums[i][j] = add ? load(c + i * cRow + j * LANES) : Lanes{};
  for (int64_t p = 0; p < k; p++) {
    Lanes right[L];
    for (int j = 0; j < L; j++) right[j] = load(b + p * bRow + j * LANES);
    for (int i = 0; i < R; i++) {
      const Lanes left = splat(a.data[i * a.row + p * a.column]);
      for (int j = 0; j < L; j++) sums[i][j] += left * right[j];
    }
  }
  for (int i = 0; i < R; i++)
    for (int j = 0; j < L; j++) store(c + i * cRow + j * LANES, sums[i][j]);
}

template <int L, bool add>
inline void multiplyColumns(Strided a, const float* b, int64_t bRow, float* c, int64_t cRow, int64_t m, int64_t k) {
  constexpr int R = 6;
  for (; m >= R; m -= R, a.data += R * a.row, c += R * cRow) multiplyTile<R, L, add>(a, b, bRow, c, cRow, k);
  for (; m > 0; m--, a.data += a.row, c += cRow) multiplyTile<1, L, add>(a, b, bRow, c, cRow, k);
}

/** C [m, n] of A [m, k] and B [k, n]; n is a multiple of LANES. */
template <bool add>
inline void multiply(const Strided& a, const float* b, int64_t bRow, float* c, int64_t cRow, int64_t m, int64_t n, int64_t k) {
  int64_t j = 0;
  for (; j + 4 * LANES <= n; j += 4 * LANES) multiplyColumns<4, add>(a, b + j, bRow, c + j, cRow, m, k);
  for (; j + 2 * LANES <= n; j += 2 * LANES) multiplyColumns<2, add>(a, b + j, bRow, c + j, cRow, m, k);
  for (; j < n; j += LANES) multiplyColumns<1, add>(a, b + j, bRow, c + j, cRow, m, k);
}

}  // namespace search_e1
