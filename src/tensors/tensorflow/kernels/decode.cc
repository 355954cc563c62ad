// One token of each of many sequences through a whole decoder, from ids to logits (`tensors/decode-tokens.ts`): a thread takes some of the sequences
// through all layers, so that nothing waits or is dispatched between two operations. The weights lie as `tensorflow/decode-tokens.ts` packs them.
#include <algorithm>
#include <cmath>

#include "attention.h"
#include "multiply.h"
#include "threads.h"

namespace search_e1 {
namespace {

/** In the order in which they stand before the weights. */
struct Sizes {
  int64_t layers, width, inner, heads, keyHeads, headDim, vocabulary, rank;
  float scale, epsilon;

  explicit Sizes(const float* s)
      : layers(s[0]), width(s[1]), inner(s[2]), heads(s[3]), keyHeads(s[4]), headDim(s[5]), vocabulary(s[6]), rank(s[7]), scale(s[8]),
        epsilon(s[9]) {}
};

/** Columns of the matrices that lie together, `GROUP` numbers a row; zeros fill the last group. */
constexpr int64_t GROUP = 64;
static_assert(GROUP % PANEL == 0);

constexpr int64_t grouped(int64_t n) { return (n + GROUP - 1) / GROUP * GROUP; }

/** A linear layer's parts, one behind the other; the bias is padded with zeros to whole vectors. */
struct Linear {
  const float *weight, *bias, *a, *b; // in groups: [k, n]; [n]; in groups: [k, rank], [rank, n]
};

/** Takes the packed weights apart, in their order. */
struct Packed {
  const float* at;
  int64_t rank;

  const float* take(int64_t floats) {
    const float* part = at;
    at += floats;
    return part;
  }
  Linear linear(int64_t n, int64_t k) {
    Linear layer{};
    layer.weight = take(k * grouped(n));
    layer.bias = take(padded(n));
    if (rank > 0) {
      layer.a = take(k * grouped(rank));
      layer.b = take(rank * grouped(n));
    }
    return layer;
  }
};

/** y [m, n] = start + x [m, k] W; the rows of x are padded to whole vectors. */
void product(const float* x, const float* weight, Start start, float* y, int64_t m, int64_t n, int64_t k) {
  for (int64_t j = 0; j < n; j += PANEL)
    multiplyPanel({x, padded(k), 1}, weight + j / GROUP * GROUP * k + j % GROUP, GROUP, start.at(0, j), y + j, n, m, std::min(PANEL, n - j), k);
}

/** y [m, padded n] = or += x [m, k] W^T + bias + scale (x A^T) B^T. */
template <bool add>
void project(const float* x, const Linear& layer, float* y, float* low, int64_t m, int64_t n, int64_t k, const Sizes& sizes) {
  const int64_t columns = padded(n);
  product(x, layer.weight, add ? Start{y, columns} : Start{layer.bias, 0}, y, m, columns, k);
  if (add)
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < columns; j += LANES) store(y + i * columns + j, load(y + i * columns + j) + load(layer.bias + j));
  if (sizes.rank == 0) return;
  const int64_t rank = padded(sizes.rank);
  product(x, layer.a, {}, low, m, rank, k);
  for (int64_t j = 0; j < m * rank; j += LANES) store(low + j, load(low + j) * sizes.scale);
  product(low, layer.b, {y, columns}, y, m, columns, sizes.rank);
}

void rmsNorm(const float* x, const float* weight, float* y, int64_t m, int64_t width, float epsilon) {
  for (int64_t i = 0; i < m; i++, x += padded(width), y += padded(width)) {
    const double squares = sumOver(width, [&](int64_t at, int64_t n) {
      const Lanes value = loadPart(x + at, n);
      return value * value;
    });
    const float inverse = 1 / std::sqrt(squares / width + epsilon);
    for (int64_t at = 0; at < padded(width); at += LANES) store(y + at, load(x + at) * inverse * load(weight + at));
  }
}

/** Turns `heads` heads of a row in place. */
void turn(float* x, const float* cos, const float* sin, int64_t heads, int64_t headDim) {
  const int64_t half = headDim / 2;
  for (int64_t head = 0; head < heads; head++, x += headDim) {
    eachVector(half, [&](int64_t i, int64_t n) {
      const Lanes first = loadPart(x + i, n), second = loadPart(x + half + i, n);
      storePart(x + i, first * loadPart(cos + i, n) - second * loadPart(sin + i, n), n);
      storePart(x + half + i, second * loadPart(cos + half + i, n) + first * loadPart(sin + half + i, n), n);
    });
  }
}

/** packed, table [V, d], cos and sin [positions, headDim], tokens, positions, places [n], then k and v of each layer -> logits [n, V]. */
void decodeTokens(Call& call) {
  const Tensor packed = call.input(0), table = call.input(1), cosTable = call.input(2);
  const float* const sin = call.input(3).floats();
  const Tensor tokens = call.input(4), positions = call.input(5), places = call.input(6);
  const Sizes s(packed.floats());
  std::vector<float*> cached;
  int64_t cacheRows = 0;
  for (int64_t i = 0; i < 2 * s.layers; i++) {
    const Tensor cache = call.input(7 + i);
    cacheRows = cache.shape[1];
    cached.push_back(cache.floats());
  }
  checkIds(tokens, table.shape[0]);
  checkIds(positions, cosTable.shape[0]);
  checkIds(places, cacheRows);
  const int64_t rows = tokens.size(), qWidth = s.heads * s.headDim, kWidth = s.keyHeads * s.headDim;
  float* const logits = call.output(0, {rows, s.vocabulary}).floats();
  const int64_t longest = *std::max_element(positions.integers(), positions.integers() + rows) + 1;
  const int64_t block = std::max<int64_t>(6, (rows + threadCount() - 1) / threadCount()); // 6 rows fill the registers of a product
  const double cost = static_cast<double>(block) * s.layers * s.width * (2 * qWidth + 2 * kWidth + 3 * s.inner) / 8;
  parallel((rows + block - 1) / block, cost, [&](int64_t from, int64_t to) {
    for (int64_t first = from * block; first < std::min(rows, to * block); first += block) {
      const int64_t m = std::min(block, rows - first);
      const int64_t widths[] = {padded(s.width), padded(s.width), padded(qWidth), padded(qWidth), padded(kWidth),
                                padded(s.inner), padded(s.inner), padded(std::max<int64_t>(1, s.rank))};
      int64_t floats = s.heads * padded(longest) + padded(s.heads * m);
      for (const int64_t width : widths) floats += m * width;
      float* at = scratch(floats);
      float* buffers[8];
      for (int i = 0; i < 8; i++) {
        buffers[i] = at;
        at += m * widths[i];
      }
      auto [h, x, q, mixed, kv, gate, up, low] = buffers;
      float* const scores = at;
      float* const lse = scores + s.heads * padded(longest);
      std::fill(mixed, mixed + m * padded(qWidth), 0.0f); // its padding is read
      for (int64_t i = 0; i < m; i++) {
        std::fill(h + i * padded(s.width), h + (i + 1) * padded(s.width), 0.0f);
        std::copy_n(table.floats() + tokens.integers()[first + i] * s.width, s.width, h + i * padded(s.width));
      }
      Packed weights{packed.floats() + LANES, s.rank};
      const float* const norm = weights.take(padded(s.width));
      const float* const head = weights.take(s.width * grouped(s.vocabulary));
      for (int64_t layer = 0; layer < s.layers; layer++) {
        const float* const inputNorm = weights.take(padded(s.width));
        const float* const postNorm = weights.take(padded(s.width));
        const Linear toQ = weights.linear(qWidth, s.width), toK = weights.linear(kWidth, s.width), toV = weights.linear(kWidth, s.width);
        const Linear fromMixed = weights.linear(s.width, qWidth);
        const Linear toGate = weights.linear(s.inner, s.width), toUp = weights.linear(s.inner, s.width), down = weights.linear(s.width, s.inner);
        rmsNorm(h, inputNorm, x, m, s.width, s.epsilon);
        for (const bool isKey : {true, false}) {
          project<false>(x, isKey ? toK : toV, kv, low, m, kWidth, s.width, s);
          for (int64_t i = 0; i < m; i++) {
            float* const row = kv + i * padded(kWidth);
            const int64_t angle = positions.integers()[first + i] * s.headDim;
            if (isKey) turn(row, cosTable.floats() + angle, sin + angle, s.keyHeads, s.headDim);
            std::copy_n(row, kWidth, cached[2 * layer + (isKey ? 0 : 1)] + places.integers()[first + i] * kWidth);
          }
        }
        project<false>(x, toQ, q, low, m, qWidth, s.width, s);
        for (int64_t i = 0; i < m; i++) {
          const int32_t position = positions.integers()[first + i];
          float* const row = q + i * padded(qWidth);
          turn(row, cosTable.floats() + position * s.headDim, sin + position * s.headDim, s.heads, s.headDim);
          const Segment segment{0, 1, 0, 1, position + 1};
          const Range range{places.integers()[first + i] - position, position + 1};
          Problem p;
          p.q = row;
          p.k = cached[2 * layer];
          p.v = cached[2 * layer + 1];
          p.ranges = &range;
          p.n = 1;
          p.heads = s.heads;
          p.keyHeads = s.keyHeads;
          p.headDim = s.headDim;
          p.scale = 1 / std::sqrt(static_cast<float>(s.headDim));
          attendFew(p, segment, nullptr, mixed + i * padded(qWidth), lse, scores);
        }
        project<true>(mixed, fromMixed, h, low, m, s.width, qWidth, s);
        rmsNorm(h, postNorm, x, m, s.width, s.epsilon);
        project<false>(x, toGate, gate, low, m, s.inner, s.width, s);
        project<false>(x, toUp, up, low, m, s.inner, s.width, s);
        for (int64_t j = 0; j < m * padded(s.inner); j += LANES) {
          const Lanes z = load(gate + j);
          store(gate + j, z / (1.0f + exponential(-z)) * load(up + j));
        }
        project<true>(gate, down, h, low, m, s.width, s.inner, s);
      }
      rmsNorm(h, norm, x, m, s.width, s.epsilon);
      product(x, head, {}, logits + first * s.vocabulary, m, s.vocabulary, s.width);
    }
  });
}

const Operation<decodeTokens> decode("SearchE1DecodeTokens",
                                     {"packed: float", "table: float", "cos: float", "sin: float", "tokens: int32", "positions: int32",
                                      "places: int32", "cached: count * float"},
                                     {"logits: float"});

}  // namespace
}  // namespace search_e1
