#include "multiply.h"

namespace search_e1 {

void packRows(const Strided& b, float* to, int64_t toRow, int64_t n, int64_t k) {
  for (int64_t at = 0; at < n; at += LANES, to += LANES) {
    const int64_t columns = std::min(LANES, n - at);
    if (b.column == 1) {
      for (int64_t p = 0; p < k; p++) store(to + p * toRow, loadPart(b.data + p * b.row + at, columns));
      continue;
    }
    for (int64_t p = 0; p < k; p += LANES) {
      const int64_t rows = std::min(LANES, k - p);
      Lanes block[LANES];
      for (int64_t t = 0; t < LANES; t++) block[t] = t < columns ? loadPart(b.data + (at + t) * b.column + p, rows) : Lanes{};
      transpose(block);
      for (int64_t t = 0; t < rows; t++) store(to + (p + t) * toRow, block[t]);
    }
  }
}

namespace {

/** B [k, n] in panels one behind the other. */
void packPart(const Strided& b, float* to, int64_t n, int64_t k) {
  for (int64_t j = 0; j < n; j += PANEL, to += k * PANEL) {
    const int64_t columns = std::min(PANEL, n - j);
    packRows(b.at(0, j), to, padded(columns), columns, k);
  }
}

}  // namespace

void multiplyAll(const Strided& a, const Strided& b, Start start, float* c, int64_t cRow, int64_t m, int64_t n, int64_t k, float* part) {
  for (int64_t j0 = 0; j0 < n; j0 += COLUMNS) {
    const int64_t columns = std::min(COLUMNS, n - j0);
    for (int64_t k0 = 0; k0 < std::max<int64_t>(1, k); k0 += DEPTH) { // of nothing too: then C is the start
      const int64_t depth = std::min(DEPTH, k - k0);
      packPart(b.at(k0, j0), part, columns, depth);
      float* const turned = part + padded(columns) * depth; // [depth, ROWS]: A where its columns lie as rows
      const Start before = k0 == 0 ? start.at(0, j0) : Start{c + j0, cRow};
      for (int64_t i0 = 0; i0 < m; i0 += ROWS) {
        const int64_t rows = std::min(ROWS, m - i0);
        Strided left = a.at(i0, k0);
        if (a.column != 1) { // else each sum would read A in steps of its rows, a memory page each
          for (int64_t p = 0; p < depth; p++)
            eachVector(rows, [&](int64_t i, int64_t count) { storePart(turned + p * ROWS + i, loadPart(left.data + p * a.column + i, count), count); });
          left = {turned, 1, ROWS};
        }
        for (int64_t j = 0; j < columns; j += PANEL) {
          const int64_t width = std::min(PANEL, columns - j);
          multiplyPanel(left, part + j * depth, padded(width), before.at(i0, j), c + i0 * cRow + j0 + j, cRow, rows, width, depth);
        }
      }
    }
  }
}

}  // namespace search_e1
