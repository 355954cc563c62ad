// Everything as wide as the vocabulary, one pass over a row of logits at a time: `selected-log-probs.ts`, `forward-kl.ts`, `sample-tokens.ts`.
#include <algorithm>
#include <cmath>
#include <limits>

#include "multiply.h"
#include "op.h"
#include "threads.h"

namespace search_e1 {
namespace {

/** A row of logits, in place e^(logit - largest) -> log p(target) and entropy, and one over the sum of the row. */
void selectLogProb(float* row, int64_t vocabulary, int64_t targetId, float* logProb, float* entropy, float* inverse) {
  const float target = row[targetId];
  const float best = largest(row, vocabulary);
  double total = 0, moment = 0; // of e^(logit - largest), and of it times what is in the exponent
  for (int64_t block = 0; block < vocabulary; block += 16 * LANES) {
    Lanes sum{}, product{};
    eachVector(std::min(vocabulary - block, 16 * LANES), [&](int64_t at, int64_t n) {
      const Lanes below = loadPart(row + block + at, n, best - 1e4f) - best; // e^-10000 is 0
      const Lanes e = exponential(below);
      sum += e;
      product += e * below;
      storePart(row + block + at, e, n);
    });
    total += sumOf(sum);
    moment += sumOf(product);
  }
  *logProb = target - best - std::log(total);
  *entropy = std::log(total) - moment / total;
  *inverse = 1 / total;
}

/**
 * hidden [N, d], head [V, d], targets [N], settings [keep] -> log p(target) and entropy [2, N]; e^(logit - largest) [N, V] if they are to be kept, else
 * nothing; one over the sum of each row [N]. Some rows of logits are multiplied and read while they are in the second cache.
 */
void selectLogProbs(Call& call) {
  constexpr int64_t LOGITS = 3 << 17;
  const Tensor hidden = call.input(0), head = call.input(1), targets = call.input(2);
  const bool keep = call.input(3).floats()[0] != 0;
  const int64_t rows = hidden.shape[0], width = hidden.width(), vocabulary = head.shape[0];
  checkIds(targets, vocabulary);
  float* const both = call.output(0, {2, rows}).floats();
  float* const kept = call.output(1, {keep ? rows : 0, vocabulary}).floats();
  float* const inverse = call.output(2, {rows}).floats();
  const int64_t most = std::clamp<int64_t>(LOGITS / vocabulary, 96, 480); // as each block brings the head into the cache
  const int64_t block = std::clamp<int64_t>((rows + 2 * threadCount() - 1) / (2 * threadCount()), 24, most);
  parallel((rows + block - 1) / block, static_cast<double>(std::min(rows, block)) * vocabulary * width / 8, [&](int64_t from, int64_t to) {
    const int64_t floats = partFloats(vocabulary, width);
    float* const part = scratch(floats + (keep ? 0 : block * vocabulary));
    for (int64_t first = from * block; first < std::min(rows, to * block); first += block) {
      const int64_t count = std::min(block, rows - first);
      float* const logits = keep ? kept + first * vocabulary : part + floats;
      multiplyAll({hidden.floats() + first * width, width, 1}, {head.floats(), 1, width}, {}, logits, vocabulary, count, vocabulary, width, part);
      for (int64_t i = 0; i < count; i++)
        selectLogProb(logits + i * vocabulary, vocabulary, targets.integers()[first + i], both + first + i, both + rows + first + i, inverse + first + i);
    }
  });
}

/** y[i] = -dy[i] inverse[i] x[i]: x [N, d], dy and inverse [N]. */
void scaleRows(Call& call) {
  const Tensor x = call.input(0);
  const float* const dy = call.input(1).floats();
  const float* const inverse = call.input(2).floats();
  float* const y = call.output(0, x.shape).floats();
  const int64_t width = x.width();
  parallel(x.rows(), width, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++)
      eachVector(width, [&](int64_t at, int64_t n) {
        storePart(y + i * width + at, loadPart(x.floats() + i * width + at, n) * (-dy[i] * inverse[i]), n);
      });
  });
}

/** x[i] = -dy[i] inverse[i] x[i] + dy[i] head[targets[i]], in place: x [N, d], head [V, d], the others [N]. */
void finishHidden(Call& call) {
  const Tensor x = call.input(0);
  const float* const head = call.input(1).floats();
  const int32_t* const targets = call.input(2).integers();
  const float* const dy = call.input(3).floats();
  const float* const inverse = call.input(4).floats();
  const int64_t width = x.width();
  parallel(x.rows(), width * 2, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++)
      eachVector(width, [&](int64_t at, int64_t n) {
        float* place = x.floats() + i * width + at;
        storePart(place, loadPart(place, n) * (-dy[i] * inverse[i]) + loadPart(head + targets[i] * width + at, n) * dy[i], n);
      });
  });
}

float logSumExp(const float* row, int64_t count) {
  const float best = largest(row, count);
  const double total = sumOver(count, [&](int64_t at, int64_t n) { return exponential(loadPart(row + at, n, best - 1e4f) - best); });
  return best + std::log(total);
}

/** teacher and student logits [N, V], settings [clamp] -> clipped and unclipped sums [2, N]; both log-sum-exps and the probability kept [N, 3]. */
void forwardKl(Call& call) {
  const Tensor teacher = call.input(0), student = call.input(1);
  const Lanes clamp = splat(call.input(2).floats()[0]);
  const int64_t rows = teacher.shape[0], vocabulary = teacher.width();
  float* const both = call.output(0, {2, rows}).floats();
  float* const saved = call.output(1, {rows, 3}).floats();
  parallel(rows, vocabulary * 8, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) {
      const float* t = teacher.floats() + i * vocabulary;
      const float* s = student.floats() + i * vocabulary;
      const float tLse = logSumExp(t, vocabulary), sLse = logSumExp(s, vocabulary);
      double clipped = 0, unclipped = 0, kept = 0;
      for (int64_t block = 0; block < vocabulary; block += 16 * LANES) {
        Lanes all{}, cut{}, share{};
        eachVector(std::min(vocabulary - block, 16 * LANES), [&](int64_t at, int64_t n) {
          const Lanes tLog = loadPart(t + block + at, n, tLse - 1e4f) - tLse;
          const Lanes p = exponential(tLog);
          const Lanes entry = p * (tLog - (loadPart(s + block + at, n) - sLse));
          all += entry;
          cut += smaller(entry, clamp);
          share += entry <= clamp ? p : Lanes{};
        });
        unclipped += sumOf(all);
        clipped += sumOf(cut);
        kept += sumOf(share);
      }
      both[i] = clipped;
      both[rows + i] = unclipped;
      saved[3 * i] = tLse;
      saved[3 * i + 1] = sLse;
      saved[3 * i + 2] = kept;
    }
  });
}

/** teacher, student, saved, dy [2, N], settings [clamp] -> d student. */
void forwardKlGrad(Call& call) {
  const Tensor teacher = call.input(0), student = call.input(1);
  const float* const saved = call.input(2).floats();
  const float* const dy = call.input(3).floats();
  const Lanes clamp = splat(call.input(4).floats()[0]);
  const int64_t rows = teacher.shape[0], vocabulary = teacher.width();
  float* const dStudent = call.output(0, student.shape).floats();
  parallel(rows, vocabulary * 4, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) {
      const float* t = teacher.floats() + i * vocabulary;
      const float* s = student.floats() + i * vocabulary;
      const float tLse = saved[3 * i], sLse = saved[3 * i + 1], kept = saved[3 * i + 2];
      eachVector(vocabulary, [&](int64_t at, int64_t n) {
        const Lanes tLog = loadPart(t + at, n) - tLse, sLog = loadPart(s + at, n) - sLse;
        const Lanes p = exponential(tLog);
        const Lanes keptHere = p * (tLog - sLog) <= clamp ? p : Lanes{};
        storePart(dStudent + i * vocabulary + at, (exponential(sLog) * kept - keptHere) * dy[i], n);
      });
    }
  });
}

/** logits [N, V], uniforms [N], settings [temperature] -> tokens [N], log-probabilities [N]. */
void sampleTokens(Call& call) {
  const Tensor logits = call.input(0);
  const float* const uniforms = call.input(1).floats();
  const float temperature = call.input(2).floats()[0];
  const int64_t rows = logits.shape[0], vocabulary = logits.width();
  int32_t* const tokens = call.output(0, {rows}, TF_INT32).integers();
  float* const logProbs = call.output(1, {rows}).floats();
  const float factor = temperature > 0 ? 1 / temperature : 1;
  constexpr int64_t BLOCK = 16 * LANES;
  const int64_t blocks = (vocabulary + BLOCK - 1) / BLOCK;
  parallel(rows, vocabulary * 4, [&](int64_t from, int64_t to) {
    float* const weights = scratch(padded(vocabulary) + 2 * blocks);
    double* const sums = reinterpret_cast<double*>(weights + padded(vocabulary)); // of the weights up to the end of each block
    for (int64_t i = from; i < to; i++) {
      const float* row = logits.floats() + i * vocabulary;
      const float best = largest(row, vocabulary);
      double total = 0;
      for (int64_t block = 0; block < blocks; block++) {
        const int64_t start = block * BLOCK;
        sums[block] = total += sumOver(std::min(BLOCK, vocabulary - start), [&](int64_t at, int64_t n) {
          const Lanes e = exponential((loadPart(row + start + at, n, -std::numeric_limits<float>::infinity()) - best) * factor);
          storePart(weights + start + at, e, n);
          return e;
        });
      }
      int64_t token = 0;
      if (temperature > 0) {
        // The first index whose cumulated weight exceeds the target; should rounding leave none in its block, the last there that has any weight.
        const double target = uniforms[i] * total;
        const int64_t block = std::min(std::upper_bound(sums, sums + blocks, target), std::lower_bound(sums, sums + blocks, total)) - sums;
        double cumulated = block == 0 ? 0 : sums[block - 1];
        for (int64_t v = block * BLOCK; v < std::min(vocabulary, (block + 1) * BLOCK) && cumulated <= target; v++) {
          if (weights[v] == 0) continue;
          cumulated += weights[v];
          token = v;
        }
      } else {
        while (row[token] != best) token++;
      }
      tokens[i] = static_cast<int32_t>(token);
      logProbs[i] = (row[token] - best) * factor - std::log(total);
    }
  });
}

const Operation<selectLogProbs> selected("SearchE1SelectLogProbs",
                                         {"hidden: float", "head: float", "targets: int32", "settings: float"},
                                         {"both: float", "weights: float", "inverse: float"});
const Operation<scaleRows> scaled("SearchE1ScaleRows", {"x: float", "dy: float", "inverse: float"}, {"y: float"});
const Operation<finishHidden> finished("SearchE1FinishHidden",
                                       {"x: float", "head: float", "targets: int32", "dy: float", "inverse: float"}, {});
const Operation<forwardKl> kl("SearchE1ForwardKl", {"teacher: float", "student: float", "settings: float"}, {"both: float", "saved: float"});
const Operation<forwardKlGrad> klGrad("SearchE1ForwardKlGrad",
                                      {"teacher: float", "student: float", "saved: float", "dy: float", "settings: float"},
                                      {"d_student: float"});
const Operation<sampleTokens> sample("SearchE1SampleTokens", {"logits: float", "uniforms: float", "settings: float"},
                                     {"tokens: int32", "log_probs: float"});

}  // namespace
}  // namespace search_e1
