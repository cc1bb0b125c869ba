// What the native tests stand on: tensors of any dtype read as doubles, a pool of any number of threads, the registry of
// one instruction set, and `check`. Compiled once per instruction set, with the kernels (see Makefile).
#pragma once

#include <graft/kernel.h>

#include <sys/mman.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace test {

using graft::DType;

inline int checks = 0, failures = 0;
/** `error` must be a number and at most `bound`. */
inline void check(const std::string& what, double error, double bound) {
  checks++;
  if (error <= bound) return;
  if (++failures <= 50) std::printf("FAILED %s: %g, allowed %g\n", what.c_str(), error, bound);
}

// -------------------------------------------------------------------------------------------------------- dtypes

/** Rounded to nearest even at `mantissa` bits after the leading one, by arithmetic alone; least normal 2^least. */
inline double rounded(double x, int mantissa, int least, double largest) {
  if (std::isnan(x) || std::isinf(x) || x == 0) return x;
  int exponent;
  std::frexp(x, &exponent);  // |x| in [2^(exponent − 1), 2^exponent)
  const double quantum = std::ldexp(1.0, std::max(exponent - 1, least) - mantissa);
  const double y = std::nearbyint(x / quantum) * quantum;
  return std::fabs(y) > largest ? std::copysign(INFINITY, x) : y;
}
inline double toBF16(double x) { return rounded(x, 7, -126, 3.3895313892515355e38); }
inline double toF16(double x) { return rounded(x, 10, -14, 65504); }

inline double fromBits16(uint16_t bits, int mantissa, int bias) {
  const int exponentBits = 15 - mantissa, e = bits >> mantissa & ((1 << exponentBits) - 1), m = bits & ((1 << mantissa) - 1);
  const double sign = bits >> 15 ? -1 : 1;
  if (e == (1 << exponentBits) - 1) return m ? NAN : sign * INFINITY;
  return sign * (e == 0 ? std::ldexp(m, 1 - bias - mantissa) : std::ldexp(m + (1 << mantissa), e - bias - mantissa));
}

/** A dense tensor in memory of exactly its size, so that the address sanitizer sees a read past its end. */
struct Tensor {
  graft::Operand operand{};
  std::shared_ptr<void> memory;
  std::vector<int64_t> shape;

  Tensor(DType dtype, std::vector<int64_t> shape) : shape(shape) {
    operand.dtype = dtype;
    operand.rank = int(shape.size());
    for (int i = 0; i < 4; i++) operand.shape[i] = i < operand.rank ? shape[i] : 1;
    void* p = nullptr;
    // Huge pages where it matters, as the product's arenas have them.
    const bool huge = bytes() >= size_t{4} << 20;
    if (posix_memalign(&p, huge ? size_t{2} << 20 : 64, std::max<size_t>(bytes(), 1)) != 0) std::abort();
    if (huge) madvise(p, bytes() >> 21 << 21, MADV_HUGEPAGE);
    memory = std::shared_ptr<void>(p, std::free);
    operand.data = p;
    std::memset(p, 0xff, bytes());  // NaN
  }
  size_t bytes() const { return size_t(operand.size() * graft::bytesOf(operand.dtype)); }
  int64_t size() const { return operand.size(); }
  double get(int64_t i) const {
    switch (operand.dtype) {
      case DType::f32: return operand.as<float>()[i];
      case DType::bf16: return fromBits16(operand.as<uint16_t>()[i], 7, 127);
      case DType::f16: return fromBits16(operand.as<uint16_t>()[i], 10, 15);
      default: return operand.as<int32_t>()[i];
    }
  }
  void set(int64_t i, double x) {
    const float f = float(x);
    switch (operand.dtype) {
      case DType::f32: operand.as<float>()[i] = f; break;
      case DType::bf16: {
        const float r = float(toBF16(f));
        uint32_t bits;
        std::memcpy(&bits, &r, 4);
        operand.as<uint16_t>()[i] = uint16_t(bits >> 16);
        break;
      }
      case DType::f16: {
        const double r = toF16(f), magnitude = std::fabs(r);
        int e;
        std::frexp(magnitude, &e);
        const int bits = magnitude == 0 ? 0 : e - 1 < -14 ? int(std::ldexp(magnitude, 24))
          : ((e - 1 + 15) << 10) + int(std::ldexp(magnitude, 10 - (e - 1))) - 1024;
        operand.as<uint16_t>()[i] = uint16_t(bits | (std::signbit(r) ? 0x8000 : 0));
        break;
      }
      default: operand.as<int32_t>()[i] = int32_t(x);
    }
  }
  std::vector<double> values() const {
    std::vector<double> all;
    for (int64_t i = 0; i < size(); i++) all.push_back(get(i));
    return all;
  }
  Tensor copy() const {
    Tensor other(operand.dtype, shape);
    std::memcpy(other.operand.data, operand.data, bytes());
    return other;
  }
};

inline std::mt19937_64 randomness(1);
inline double uniform(double from, double to) { return std::uniform_real_distribution<double>(from, to)(randomness); }
inline double normal() { return std::normal_distribution<double>()(randomness); }
inline Tensor randomTensor(DType dtype, std::vector<int64_t> shape, double scale = 1) {
  Tensor t(dtype, shape);
  for (int64_t i = 0; i < t.size(); i++) t.set(i, normal() * scale);
  return t;
}
inline Tensor filled(DType dtype, std::vector<int64_t> shape, const std::vector<double>& values) {
  Tensor t(dtype, shape);
  for (int64_t i = 0; i < t.size(); i++) t.set(i, values[size_t(i)]);
  return t;
}
/** f32 or bf16 by a bit of a mask: operand `index` of a mix. */
inline DType mixed(int mask, int index) { return mask >> index & 1 ? DType::bf16 : DType::f32; }

// ---------------------------------------------------------------------------------------------- kernels and pool

struct Kernel {
  std::vector<std::string> fields;
  graft::Body body;
};
inline std::map<std::string, Kernel> kernels;
inline graft::Registry registry{
  nullptr,
  [](void*, const char* name, const char* const* fields, int count, graft::Body body) {
    if (kernels.count(name)) check(std::string("registered twice: ") + name, 1, 0);
    kernels[name] = {std::vector<std::string>(fields, fields + count), body};
  },
  [](void*, const char*, const graft::PanelSource*) {}};

struct TestPool {
  std::vector<unsigned char> scratch, shared;
  graft::Pool pool{};
  explicit TestPool(int threads) : scratch(size_t(threads) * graft::scratchBytesPerWorker + 64, 0xff), shared(graft::sharedScratchBytes + 64, 0xff) {
    const auto align = [](std::vector<unsigned char>& v) { return v.data() + (64 - reinterpret_cast<uintptr_t>(v.data()) % 64) % 64; };
    pool.threads = threads;
    pool.self = this;
    pool.scratchBase = align(scratch), pool.scratchBytes = graft::scratchBytesPerWorker;
    pool.sharedBase = align(shared), pool.sharedBytes = graft::sharedScratchBytes;
    pool.setFault = [](void*, const char* message) { check(message, 1, 0); };
    pool.runParallel = [](void* self, int64_t count, void (*task)(void*, int64_t, int), void* context) {
      std::atomic<int64_t> next{0};
      const auto work = [&](int worker) {
        for (int64_t index; (index = next++) < count;) task(context, index, worker);
      };
      std::vector<std::thread> threads;
      for (int i = 1; i < static_cast<TestPool*>(self)->pool.threads && i < count; i++) threads.emplace_back(work, i);
      work(0);
      for (auto& thread : threads) thread.join();
    };
  }
};
inline TestPool& poolOf(int threads) {
  static std::map<int, std::unique_ptr<TestPool>> pools;
  auto& own = pools[threads];
  if (!own) own = std::make_unique<TestPool>(threads);
  return *own;
}

using Params = std::vector<std::pair<std::string, double>>;

inline void runOnce(const std::string& name, const std::vector<Tensor>& operands, const Params& params, size_t workspaceFloats, int threads) {
  const Kernel& kernel = kernels.at(name);
  std::vector<double> values;
  for (size_t i = 0; i < params.size(); i++) {
    if (i >= kernel.fields.size() || kernel.fields[i] != params[i].first) check(name + ": field " + params[i].first, 1, 0);
    values.push_back(params[i].second);
  }
  if (params.size() != kernel.fields.size()) check(name + ": number of fields", double(params.size()), 0);
  std::vector<graft::Operand> raw;
  for (const Tensor& t : operands) raw.push_back(t.operand);
  const Tensor workspace(DType::f32, {int64_t(workspaceFloats)});
  kernel.body(graft::Call{raw.data(), int(raw.size()), values.data(), int(values.size()), workspaceFloats ? workspace.operand.as<float>() : nullptr, poolOf(threads).pool, nullptr});
}

/** Runs on the operands themselves with 1 thread, after runs on copies with 2 and 3 threads, whose bits must be the same. */
inline void run(const std::string& name, std::vector<Tensor>& operands, const Params& params, size_t workspaceFloats = 0) {
  std::vector<std::vector<Tensor>> others;
  for (int threads : {2, 3}) {
    std::vector<Tensor> copies;
    for (const Tensor& t : operands) {
      // A tensor that is passed twice (in place) stays one.
      size_t same = copies.size();
      for (size_t i = 0; i < copies.size(); i++) if (operands[i].operand.data == t.operand.data) same = i;
      copies.push_back(same < copies.size() ? copies[same] : t.copy());
    }
    runOnce(name, copies, params, workspaceFloats, threads);
    others.push_back(copies);
  }
  runOnce(name, operands, params, workspaceFloats, 1);
  for (const auto& copies : others)
    for (size_t i = 0; i < operands.size(); i++)
      check(name + ": same bits for any number of threads", std::memcmp(copies[i].operand.data, operands[i].operand.data, operands[i].bytes()) != 0, 0);
}

/**
 * |got − wanted| against `relative` · (|wanted| + floor), to which a bf16 result adds half a unit of its last place, and
 * each element `slack` of its own where that is given.
 */
inline void compare(const std::string& what, const Tensor& got, const std::vector<double>& wanted, double relative, double floor = 1, const std::vector<double>& slack = {}) {
  double worst = 0;
  for (int64_t i = 0; i < got.size(); i++) {
    const double g = got.get(i), w = wanted[size_t(i)];
    if (std::isnan(w) ? std::isnan(g) : g == w) continue;
    const double storage = got.operand.dtype == DType::bf16 ? std::fabs(w) * 0x1p-8 : got.operand.dtype == DType::f16 ? std::fabs(w) * 0x1p-11 : 0;
    const double excess = (std::fabs(g - w) - storage - (slack.empty() ? 0 : slack[size_t(i)])) / (std::fabs(w) + floor);
    worst = std::isnan(excess) ? INFINITY : std::max(worst, excess);
  }
  check(what, worst, relative);
}

/** Largest |x|, as the scale of an error. */
inline double magnitude(const std::vector<double>& x) {
  double most = 0;
  for (double v : x) most = std::max(most, std::fabs(v));
  return most;
}

}  // namespace test
