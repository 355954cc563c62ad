// Threads that share the work of a kernel: chunks of units are claimed one after the other, so one that sleeps delays nobody.
#pragma once

#include <cstdint>
#include <functional>

namespace search_e1 {

/** Work on units [from, to). What is written must not depend on where the units are cut. */
using Work = std::function<void(int64_t from, int64_t to)>;

/**
 * Runs all units on as many threads as TensorFlow has for one operation (TF_NUM_INTRAOP_THREADS, default: one a processor).
 *
 * @param cost of a unit, in floats read or computed: what is small is not shared
 */
void parallel(int64_t units, double cost, const Work& work);

/** How many threads share it at most. */
int threadCount();

/** Memory for this thread to work in: at least so many floats, until its next call. */
float* scratch(int64_t floats);

/** The same beside it, for a thread that lets others write there too. */
float* sharedScratch(int64_t floats);

}  // namespace search_e1
