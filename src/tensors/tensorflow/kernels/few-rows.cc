// A linear layer over few rows, as in decoding: `y = x W^T + bias + plus` in one operation, where a product of TensorFlow's, what is added to it
// and the changes of shape would be four, each dearer to dispatch than to compute. The weight is read once as it lies; the few rows are turned instead.
#include <algorithm>

#include "multiply.h"
#include "op.h"
#include "threads.h"

namespace search_e1 {
namespace {

/** Outputs computed together: their rows of the weight and of the turned result fit the nearest cache. */
constexpr int64_t OUTPUTS = 48;

/** x [..., in], weight [out, in], bias [out] or absent, plus [..., out] or absent -> y [..., out]. */
void linear(Call& call) {
  const Tensor x = call.input(0), weight = call.input(1);
  const float* const bias = call.input(2).floats();
  const float* const plus = call.input(3).floats();
  const int64_t inputs = x.width(), outputs = weight.shape[0], rows = x.rows(), columns = padded(rows);
  std::vector<int64_t> shape = x.shape;
  shape.back() = outputs;
  float* const y = call.output(0, shape).floats();
  std::vector<float> turned(inputs * columns, 0.0f); // [in, padded rows]
  for (int64_t i = 0; i < rows; i++)
    for (int64_t k = 0; k < inputs; k++) turned[k * columns + i] = x.floats()[i * inputs + k];
  parallel((outputs + OUTPUTS - 1) / OUTPUTS, static_cast<double>(OUTPUTS) * inputs * rows / 8, [&](int64_t from, int64_t to) {
    float* const block = scratch(OUTPUTS * columns); // [outputs, padded rows]
    for (int64_t first = from * OUTPUTS; first < std::min(outputs, to * OUTPUTS); first += OUTPUTS) {
      const int64_t count = std::min(OUTPUTS, outputs - first);
      multiply<false>({weight.floats() + first * inputs, inputs, 1}, turned.data(), columns, block, columns, count, columns, inputs);
      for (int64_t i = 0; i < rows; i++) {
        float* const row = y + i * outputs + first;
        for (int64_t j = 0; j < count; j++) row[j] = block[j * columns + i];
        if (bias)
          for (int64_t j = 0; j < count; j++) row[j] += bias[first + j];
        if (plus)
          for (int64_t j = 0; j < count; j++) row[j] += plus[i * outputs + first + j];
      }
    }
  });
}

const Operation<linear> fewRows("SearchE1LinearOfFewRows", {"x: float", "weight: float", "bias: float", "plus: float"}, {"y: float"});

}  // namespace
}  // namespace search_e1
