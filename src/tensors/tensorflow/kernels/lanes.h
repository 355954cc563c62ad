// Sixteen floats at a time, in whatever vectors the processor has, and the few functions of them that the kernels need.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace search_e1 {

constexpr int64_t LANES = 16;
typedef float Lanes __attribute__((vector_size(64)));
typedef int32_t IntLanes __attribute__((vector_size(64)));
typedef float UnalignedLanes __attribute__((vector_size(64), aligned(4), may_alias));

/** Up to whole vectors. */
constexpr int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

/** Not `Lanes{} + x`: an addition on the units that multiply-adds need. */
inline Lanes splat(float x) { return Lanes{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
inline Lanes load(const float* at) { return *reinterpret_cast<const UnalignedLanes*>(at); }
inline void store(float* at, Lanes x) { *reinterpret_cast<UnalignedLanes*>(at) = x; }

/** The first `count` lanes, the others `rest`. */
inline Lanes loadPart(const float* at, int64_t count, float rest = 0) {
  if (count >= LANES) return load(at);
#ifdef __AVX512F__
  return (Lanes)_mm512_mask_loadu_ps((__m512)splat(rest), (1u << count) - 1, at);
#else
  Lanes x = splat(rest);
  std::memcpy(&x, at, count * sizeof(float));
  return x;
#endif
}

inline void storePart(float* at, Lanes x, int64_t count) {
  if (count >= LANES) return store(at, x);
#ifdef __AVX512F__
  _mm512_mask_storeu_ps(at, (1u << count) - 1, (__m512)x);
#else
  std::memcpy(at, &x, count * sizeof(float));
#endif
}

/** The second where one of the two is NaN. */
inline Lanes larger(Lanes a, Lanes b) { return a > b ? a : b; }
inline Lanes smaller(Lanes a, Lanes b) { return a < b ? a : b; }

inline float sumOf(Lanes x) {
  typedef float Half __attribute__((vector_size(32)));
  typedef float Quarter __attribute__((vector_size(16)));
  Half half[2];
  std::memcpy(half, &x, sizeof x);
  half[0] += half[1];
  Quarter quarter[2];
  std::memcpy(quarter, half, sizeof quarter);
  quarter[0] += quarter[1];
  return (quarter[0][0] + quarter[0][2]) + (quarter[0][1] + quarter[0][3]);
}

/** Neighbours of the first `count` vectors are added, lane by lane and vector by vector, until one vector is left. */
template <int count>
inline Lanes sumsOfFirst(Lanes x[LANES]) {
  const IntLanes even = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
  const IntLanes odd = even + 1;
  if constexpr (count == 1) return x[0];
  else {
#pragma GCC unroll 8
    for (int i = 0; i < count / 2; i++)
      x[i] = __builtin_shuffle(x[2 * i], x[2 * i + 1], even) + __builtin_shuffle(x[2 * i], x[2 * i + 1], odd);
    return sumsOfFirst<count / 2>(x);
  }
}

/** The sums of sixteen vectors, in the order of the vectors. */
inline Lanes sumsOf(Lanes x[LANES]) { return sumsOfFirst<LANES>(x); }

/** Exchanges lane l + step of vector i with lane l of vector i + step, for all l and i that have no bit `step`. */
template <int step>
inline void exchange(Lanes x[LANES]) {
  const IntLanes lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const IntLanes upper = (lane & step) != 0; // -1 where the bit is set
  const IntLanes first = lane + (upper & (16 - step)), second = lane + step + (upper & (16 - step));
  for (int i = 0; i < LANES; i++) {
    if (i & step) continue;
    const Lanes low = x[i], high = x[i + step];
    x[i] = __builtin_shuffle(low, high, first);
    x[i + step] = __builtin_shuffle(low, high, second);
  }
}

/** Sixteen vectors as a matrix: rows to columns. */
inline void transpose(Lanes x[LANES]) {
  exchange<1>(x);
  exchange<2>(x);
  exchange<4>(x);
  exchange<8>(x);
}

inline float largestOf(Lanes x) {
  float most = x[0];
  for (int64_t i = 1; i < LANES; i++) most = x[i] > most ? x[i] : most;
  return most;
}

/** e^x to 2 units in the last place; 0 below -87, NaN of NaN. (Cephes' expf: x = n ln 2 + r, e^x = 2^n p(r).) */
inline Lanes exponential(Lanes x) {
  const Lanes cut = smaller(splat(88.3f), larger(splat(-87.3f), x));
  const Lanes magic = splat(12582912.0f); // 1.5 * 2^23: adding it rounds to an integer
  const Lanes n = (cut * 1.44269504088896341f + magic) - magic;
  const Lanes r = (cut - n * 0.693359375f) + n * 2.12194440e-4f;
  Lanes p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r) * r + r + 1.0f;
#ifdef __AVX512F__
  const Lanes y = (Lanes)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  const IntLanes power = (__builtin_convertvector(n, IntLanes) + 127) << 23;
  Lanes scale;
  std::memcpy(&scale, &power, sizeof scale);
  const Lanes y = p * scale;
#endif
  return x < -87.3f ? Lanes{} : y;
}

/** f(offset, lanes of it) for every vector of `count` numbers, the last one in part. */
template <typename F>
inline void eachVector(int64_t count, F f) {
  for (int64_t at = 0; at < count; at += LANES) f(at, count - at < LANES ? count - at : LANES);
}

/** The sum of f(offset, lanes), whose lanes beyond the row should be 0; in double precision beyond sixteen vectors. */
template <typename F>
inline double sumOver(int64_t count, F f) {
  double total = 0;
  for (int64_t block = 0; block < count; block += 16 * LANES) {
    Lanes part{};
    const int64_t end = count < block + 16 * LANES ? count : block + 16 * LANES;
    for (int64_t at = block; at < end; at += LANES) part += f(at, end - at < LANES ? end - at : LANES);
    total += sumOf(part);
  }
  return total;
}

/** Of numbers that are not NaN; a NaN may be what it gives or be passed over, as what is computed from each of them is NaN again. */
inline float largest(const float* row, int64_t count) {
  Lanes most = splat(row[0]);
  eachVector(count, [&](int64_t at, int64_t n) { most = larger(loadPart(row + at, n, row[0]), most); });
  return largestOf(most);
}

}  // namespace search_e1
