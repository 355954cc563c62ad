// Matrix products of one thread, `C = start + A B`. What is multiplied lies in cache: `multiply` takes B as it is, `multiplyAll` brings B there in parts.
#pragma once

#include <algorithm>

#include "lanes.h"

namespace search_e1 {

/** A matrix in any direction. */
struct Strided {
  const float* data;
  int64_t row;
  int64_t column;

  Strided at(int64_t i, int64_t j) const { return {data + i * row + j * column, row, column}; }
};

/** What a product is added to; without data: 0. A row of 0 floats is a bias. */
struct Start {
  const float* data = nullptr;
  int64_t row = 0;

  Start at(int64_t i, int64_t j) const { return {data ? data + i * row + j : nullptr, row}; }
};

#ifdef __AVX512F__
constexpr int64_t PANEL = 4 * LANES;
constexpr int ACCUMULATORS = 24;
#else // a vector takes two registers or four
constexpr int64_t PANEL = LANES;
constexpr int ACCUMULATORS = 6;
#endif

/** Rows that are computed together: with L vectors each, their sums fill the registers. */
constexpr int rowsOfTile(int L) { return std::min(12, ACCUMULATORS / L); }

/** R rows and L vectors of C in registers; of the last vector `last` lanes are there. */
template <int R, int L>
inline void multiplyTile(const Strided& a, const float* b, int64_t bRow, Start start, float* c, int64_t cRow, int64_t k, int64_t last) {
  Lanes sums[R][L];
  for (int i = 0; i < R; i++)
    for (int j = 0; j < L; j++)
      sums[i][j] = start.data ? loadPart(start.data + i * start.row + j * LANES, j == L - 1 ? last : LANES) : Lanes{};
  const float* left = a.data;
  const int64_t row = a.row, column = a.column;
  for (int64_t p = 0; p < k; p++, left += column, b += bRow) {
    Lanes right[L];
    for (int j = 0; j < L; j++) right[j] = load(b + j * LANES);
    for (int i = 0; i < R; i++) {
      const Lanes factor = splat(left[i * row]);
      for (int j = 0; j < L; j++) sums[i][j] += factor * right[j];
    }
  }
  for (int i = 0; i < R; i++)
    for (int j = 0; j < L; j++) storePart(c + i * cRow + j * LANES, sums[i][j], j == L - 1 ? last : LANES);
}

/** The rows that are left, fewer than a tile's. */
template <int R, int L>
inline void multiplyRest(const Strided& a, const float* b, int64_t bRow, Start start, float* c, int64_t cRow, int64_t m, int64_t k, int64_t last) {
  if (m == R) return multiplyTile<R, L>(a, b, bRow, start, c, cRow, k, last);
  if constexpr (R > 1) multiplyRest<R - 1, L>(a, b, bRow, start, c, cRow, m, k, last);
}

template <int L>
inline void multiplyColumns(const Strided& a, const float* b, int64_t bRow, Start start, float* c, int64_t cRow, int64_t m, int64_t k, int64_t last) {
  constexpr int R = rowsOfTile(L);
  int64_t i = 0;
  for (; i + R <= m; i += R) multiplyTile<R, L>(a.at(i, 0), b, bRow, start.at(i, 0), c + i * cRow, cRow, k, last);
  if constexpr (R > 1) {
    if (i < m) multiplyRest<R - 1, L>(a.at(i, 0), b, bRow, start.at(i, 0), c + i * cRow, cRow, m - i, k, last);
  }
}

/** One panel: up to PANEL columns, of which the rows of B have whole vectors. */
inline void multiplyPanel(const Strided& a, const float* b, int64_t bRow, Start start, float* c, int64_t cRow, int64_t m, int64_t n, int64_t k) {
  const int64_t vectors = (n + LANES - 1) / LANES, last = n - (vectors - 1) * LANES;
  if (vectors == 1) return multiplyColumns<1>(a, b, bRow, start, c, cRow, m, k, last);
  if constexpr (PANEL > LANES) {
    if (vectors == 2) multiplyColumns<2>(a, b, bRow, start, c, cRow, m, k, last);
    else if (vectors == 3) multiplyColumns<3>(a, b, bRow, start, c, cRow, m, k, last);
    else multiplyColumns<4>(a, b, bRow, start, c, cRow, m, k, last);
  }
}

/** C [m, n] = or += A [m, k] B [k, n]. Rows of B have whole vectors; n is a multiple of LANES. */
template <bool add>
inline void multiply(const Strided& a, const float* b, int64_t bRow, float* c, int64_t cRow, int64_t m, int64_t n, int64_t k) {
  for (int64_t j = 0; j < n; j += PANEL)
    multiplyPanel(a, b + j, bRow, add ? Start{c + j, cRow} : Start{}, c + j, cRow, m, std::min(PANEL, n - j), k);
}

/** Rows of B in a part: those of a panel stay in the nearest cache. */
constexpr int64_t DEPTH = 128;
/** Columns of B in a part, and rows of A beside it: both stay in the second cache. */
constexpr int64_t COLUMNS = 512;
constexpr int64_t ROWS = 240;

/** Floats that a part of B takes, and what of A is copied beside it. */
inline int64_t partFloats(int64_t n, int64_t k) { return std::min(DEPTH, k) * (padded(std::min(COLUMNS, n)) + ROWS); }

/** B [k, n], one of whose strides is 1, to rows of `toRow` floats; the last vector of each is filled up with 0. */
void packRows(const Strided& b, float* to, int64_t toRow, int64_t n, int64_t k);

/**
 * C [m, n] = start + A [m, k] B [k, n] of any size, one of the strides of each being 1. Each sum has an order that depends on k alone.
 *
 * @param part has room for partFloats(n, k)
 */
void multiplyAll(const Strided& a, const Strided& b, Start start, float* c, int64_t cRow, int64_t m, int64_t n, int64_t k, float* part);

}  // namespace search_e1
