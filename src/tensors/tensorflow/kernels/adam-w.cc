// One step of AdamW in one pass, and the sum of squares that its gradients are clipped by (`adamW.ts`).
#include <algorithm>
#include <vector>

#include "lanes.h"
#include "op.h"
#include "threads.h"

namespace search_e1 {
namespace {

constexpr int64_t BLOCK = 1 << 14;

inline Lanes squareRoot(Lanes x) {
  for (int64_t i = 0; i < LANES; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
}

/** weight, gradient, first, second, settings [9] -> their next values. */
void adamW(Call& call) {
  const Tensor weight = call.input(0);
  const float* const gradient = call.input(1).floats();
  const float* const first = call.input(2).floats();
  const float* const second = call.input(3).floats();
  const float* const settings = call.input(4).floats();
  const float gradientScale = settings[0], rate = settings[5], rootOfCorrection = settings[6], epsilon = settings[7], keep = settings[8];
  const float beta1 = settings[1], rest1 = settings[2], beta2 = settings[3], rest2 = settings[4];
  float* next[3];
  for (int i = 0; i < 3; i++) next[i] = call.output(i, weight.shape).floats();
  const int64_t size = weight.size();
  parallel((size + BLOCK - 1) / BLOCK, BLOCK * 4, [&](int64_t from, int64_t to) {
    const int64_t start = from * BLOCK;
    eachVector(std::min(size, to * BLOCK) - start, [&](int64_t offset, int64_t n) {
      const int64_t at = start + offset;
      const Lanes g = loadPart(gradient + at, n) * gradientScale;
      const Lanes m = loadPart(first + at, n) * beta1 + g * rest1;
      const Lanes v = loadPart(second + at, n) * beta2 + g * g * rest2;
      storePart(next[0] + at, loadPart(weight.floats() + at, n) * keep - m * rate / (squareRoot(v) / rootOfCorrection + epsilon), n);
      storePart(next[1] + at, m, n);
      storePart(next[2] + at, v, n);
    });
  });
}

/** x -> the sum of the squares of all elements, a scalar. */
void sumOfSquares(Call& call) {
  const Tensor x = call.input(0);
  const int64_t size = x.size();
  const int64_t blocks = (size + BLOCK - 1) / BLOCK;
  std::vector<double> sums(blocks);
  parallel(blocks, BLOCK, [&](int64_t from, int64_t to) {
    for (int64_t block = from; block < to; block++) {
      const float* values = x.floats() + block * BLOCK;
      sums[block] = sumOver(std::min(size - block * BLOCK, BLOCK), [&](int64_t at, int64_t n) {
        const Lanes value = loadPart(values + at, n);
        return value * value;
      });
    }
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  call.output(0, {}).floats()[0] = total;
}

const Operation<adamW> step("SearchE1AdamW", {"weight: float", "gradient: float", "first: float", "second: float", "settings: float"},
                            {"next_weight: float", "next_first: float", "next_second: float"});
const Operation<sumOfSquares> squares("SearchE1SumOfSquares", {"x: float"}, {"sum: float"});

}  // namespace
}  // namespace search_e1
