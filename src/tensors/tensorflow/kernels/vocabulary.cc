// Everything as wide as the vocabulary, one pass over a row of logits at a time: `selected-log-probs.ts`, `forward-kl.ts`, `sample-tokens.ts`.
#include <algorithm>
#include <cmath>
#include <limits>

#include "multiply.h"
#include "op.h"
#include "threads.h"

namespace search_e1 {
namespace {

constexpr float NONE = -std::numeric_limits<float>::infinity();

/** A row of logits, in place e^(logit - largest) -> log p(target) and entropy, and one over the sum of the row. */
void selectLogProb(float* row, int64_t vocabulary, int64_t targetId, float* logProb, float* entropy, float* inverse) {
  const float target = row[targetId];
  const float best = largest(row, vocabulary);
  double total = 0, moment = 0; // of e^(logit - largest), and of it times what is in the exponent
  for (int64_t block = 0; block < vocabulary; block += 16 * LANES) {
    Lanes sum{}, product{};
    eachVector(std::min(vocabulary - block, 16 * LANES), [&](int64_t at, int64_t n) {
      const Lanes below = larger(splat(-1e4f), loadPart(row + block + at, n, NONE) - best); // e^-10000 is 0, and times -10000 still
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

/** Of a row the largest logit and the logarithm of the sum of all below it: apart, so that large logits keep their digits. */
struct LogSum {
  float best, log;

  LogSum(const float* row, int64_t count) : best(largest(row, count)) {
    log = std::log(sumOver(count, [&](int64_t at, int64_t n) { return exponential(loadPart(row + at, n, NONE) - best); }));
  }
  LogSum(const float* saved) : best(saved[0]), log(saved[1]) {}

  Lanes logSoftmax(Lanes logits) const { return (logits - best) - log; }
};

/** p (log p - log q); 0 where p is 0, whatever q. */
inline Lanes klEntry(Lanes p, Lanes tLog, Lanes sLog) { return p == 0.0f ? Lanes{} : p * (tLog - sLog); }

/**
 * teacher and student logits [N, V], settings [clamp] -> clipped and unclipped sums [2, N]; of each row the teacher's largest logit and the logarithm of its sum,
 * the student's, and the probability kept [N, 5].
 */
void forwardKl(Call& call) {
  const Tensor teacher = call.input(0), student = call.input(1);
  const Lanes clamp = splat(call.input(2).floats()[0]);
  const int64_t rows = teacher.shape[0], vocabulary = teacher.width();
  float* const both = call.output(0, {2, rows}).floats();
  float* const saved = call.output(1, {rows, 5}).floats();
  parallel(rows, vocabulary * 8, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) {
      const float* t = teacher.floats() + i * vocabulary;
      const float* s = student.floats() + i * vocabulary;
      const LogSum tSum(t, vocabulary), sSum(s, vocabulary);
      double clipped = 0, unclipped = 0, kept = 0;
      for (int64_t block = 0; block < vocabulary; block += 16 * LANES) {
        Lanes all{}, cut{}, share{};
        eachVector(std::min(vocabulary - block, 16 * LANES), [&](int64_t at, int64_t n) {
          const Lanes tLog = tSum.logSoftmax(loadPart(t + block + at, n, NONE));
          const Lanes p = exponential(tLog);
          const Lanes entry = klEntry(p, tLog, sSum.logSoftmax(loadPart(s + block + at, n)));
          all += entry;
          cut += smaller(clamp, entry);
          share += entry > clamp ? Lanes{} : p;
        });
        unclipped += sumOf(all);
        clipped += sumOf(cut);
        kept += sumOf(share);
      }
      both[i] = clipped;
      both[rows + i] = unclipped;
      const float of[] = {tSum.best, tSum.log, sSum.best, sSum.log, static_cast<float>(kept)};
      std::copy_n(of, 5, saved + 5 * i);
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
      const LogSum tSum(saved + 5 * i), sSum(saved + 5 * i + 2);
      const float kept = saved[5 * i + 4];
      eachVector(vocabulary, [&](int64_t at, int64_t n) {
        const Lanes tLog = tSum.logSoftmax(loadPart(t + at, n)), sLog = sSum.logSoftmax(loadPart(s + at, n));
        const Lanes p = exponential(tLog);
        const Lanes keptHere = klEntry(p, tLog, sLog) > clamp ? Lanes{} : p;
        storePart(dStudent + i * vocabulary + at, (exponential(sLog) * kept - keptHere) * dy[i], n);
      });
    }
  });
}

/** logits [N, V], uniforms [N], settings [temperature] -> tokens [N], log-probabilities [N], NaN where a row has no distribution. */
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
          const Lanes e = exponential((loadPart(row + start + at, n, NONE) - best) * factor);
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
        while (row[token] != best && token < vocabulary - 1) token++; // a NaN equals nothing
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
