#include "threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace search_e1 {
namespace {

/** Work of fewer floats is not worth waking a thread. */
constexpr double WORTH_SHARING = 1 << 15;
/** Looks at the next job before an idle thread sleeps: some tens of microseconds. */
constexpr int SPINS = 4000;
/** Chunks a thread: enough that a slow one is helped. */
constexpr int64_t CHUNKS = 4;

int wantedThreads() {
  const char* text = std::getenv("TF_NUM_INTRAOP_THREADS");
  const int asked = text ? std::atoi(text) : 0;
  return asked > 0 ? asked : std::max(1u, std::thread::hardware_concurrency());
}

struct Job {
  const Work* work;
  int64_t units;
  int64_t chunk;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> finished{0};

  void takePart() {
    for (;;) {
      const int64_t from = next.fetch_add(chunk);
      if (from >= units) return;
      const int64_t to = std::min(units, from + chunk);
      (*work)(from, to);
      finished.fetch_add(to - from);
    }
  }
};

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; i++) std::thread([this] { serve(); }).detach();
  }

  void run(int64_t units, const Work& work) {
    auto job = std::make_shared<Job>();
    job->work = &work;
    job->units = units;
    job->chunk = std::max<int64_t>(1, units / (threads_ * CHUNKS));
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = job;
      number_.fetch_add(1);
    }
    wake_.notify_all();
    job->takePart();
    while (job->finished.load() < units) std::this_thread::yield();
  }

  int threads() const { return threads_; }

 private:
  void serve() {
    int64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < SPINS && number_.load() == seen; spin++) __builtin_ia32_pause();
      std::shared_ptr<Job> job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return number_.load() != seen; });
        seen = number_.load();
        job = job_;
      }
      job->takePart(); // of a job that is over nothing is left to claim
    }
  }

  const int threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<int64_t> number_{0};
  std::shared_ptr<Job> job_;
};

/** Never destroyed: its threads wait in it when the process ends. */
Pool& pool() {
  static Pool* const pool = new Pool(wantedThreads());
  return *pool;
}

/** Grows where it must, and is not copied then. */
struct Memory {
  std::unique_ptr<float[]> floats;
  int64_t size = 0;

  float* atLeast(int64_t wanted) {
    if (size < wanted + 16) {
      size = wanted + 16;
      floats.reset(new float[size]);
    }
    return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(floats.get()) + 63) & ~uintptr_t{63});
  }
};

}  // namespace

void parallel(int64_t units, double cost, const Work& work) {
  if (units == 0) return;
  if (units == 1 || pool().threads() == 1 || units * cost < WORTH_SHARING) return work(0, units);
  pool().run(units, work);
}

int threadCount() { return pool().threads(); }

float* scratch(int64_t floats) {
  static thread_local Memory memory;
  return memory.atLeast(floats);
}

float* sharedScratch(int64_t floats) {
  static thread_local Memory memory;
  return memory.atLeast(floats);
}

}  // namespace search_e1
