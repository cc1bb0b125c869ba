// AdamW against its formula in double and against the states that torch 2.15 left (golden/optimizers.safetensors).
#include "harness.h"

#include <fstream>

namespace test {

/** An f32 tensor of a safetensors file: eight bytes of header length, the header, the data. */
static std::vector<float> golden(const std::string& file, const std::string& name) {
  const size_t entry = file.find("\"" + name + "\"");
  if (entry == std::string::npos) { check("golden tensor " + name, 1, 0); return {}; }
  uint64_t header;
  std::memcpy(&header, file.data(), 8);
  const size_t at = file.find("data_offsets", entry), bracket = file.find('[', at);
  char* rest;
  const size_t begin = std::strtoull(file.data() + bracket + 1, &rest, 10), end = std::strtoull(rest + 1, nullptr, 10);
  std::vector<float> values((end - begin) / 4);
  std::memcpy(values.data(), file.data() + 8 + header + begin, end - begin);
  return values;
}

static Tensor tensorOf(const std::vector<float>& values) {
  Tensor t(DType::f32, {int64_t(values.size())});
  std::memcpy(t.operand.data, values.data(), t.bytes());
  return t;
}

/** Units in the last place between two floats. */
static int64_t distance(float a, float b) {
  const auto ordered = [](float x) { int32_t bits; std::memcpy(&bits, &x, 4); return bits < 0 ? -int64_t(bits & 0x7fffffff) : int64_t(bits); };
  return std::llabs(ordered(a) - ordered(b));
}
static double worst(const Tensor& got, const std::vector<float>& wanted) {
  int64_t most = 0;
  for (int64_t i = 0; i < got.size(); i++) most = std::max(most, distance(got.operand.as<float>()[i], wanted[size_t(i)]));
  return double(most);
}

static const Params torchs{{"learningRate", 1e-3}, {"beta1", 0.9}, {"beta2", 0.999}, {"epsilon", 1e-8}, {"weightDecay", 0.01}};

/**
 * Error of w in units of the last place of the largest of w before, w after and the step's length, about 1e-3 here. Torch's
 * square root is MKL's, off by one unit for some elements, which moves a step by up to two: those are the ones that differ.
 */
static double worstWeight(const Tensor& got, const std::vector<float>& wanted, const std::vector<float>& before) {
  double most = 0;
  for (int64_t i = 0; i < got.size(); i++) {
    const float a = before[size_t(i)], b = wanted[size_t(i)], scale = std::max({std::fabs(a), std::fabs(b), 1e-3f});
    most = std::max(most, std::fabs(double(got.get(i)) - wanted[size_t(i)]) / (std::nextafter(scale, INFINITY) - scale));
  }
  return most;
}

static void testGolden(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string file((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (file.size() < 8) return check("golden file " + path, 1, 0);
  std::vector<float> w = golden(file, "p0"), m(w.size()), v(w.size());
  Tensor chained[3]{tensorOf(w), tensorOf(m), tensorOf(v)};
  for (int step = 0; step < 5; step++) {
    const std::string now = "torch.AdamW." + std::to_string(step);
    const std::vector<float> after[3]{golden(file, now + ".p"), golden(file, now + ".exp_avg"), golden(file, now + ".exp_avg_sq")};
    Tensor g = tensorOf(golden(file, "grad." + std::to_string(step))), control = filled(DType::f32, {4}, {1, 1, step + 1.0, 0});
    // From torch's own state before the step, and in a chain of our own.
    std::vector<Tensor> t{tensorOf(w), tensorOf(m), tensorOf(v), g, control}, chain{chained[0], chained[1], chained[2], g, control};
    run("adamW", t, torchs), run("adamW", chain, torchs);
    int64_t different = 0;
    for (size_t i = 0; i < w.size(); i++) different += t[0].operand.as<float>()[i] != after[0][i];
    std::printf("  adamW step %d against torch: w %g ulp (%lld of %zu differ), m %g, v %g; in a chain w %g, m %g, v %g\n", step, worstWeight(t[0], after[0], w),
      static_cast<long long>(different), w.size(), worst(t[1], after[1]), worst(t[2], after[2]), worstWeight(chained[0], after[0], w), worst(chained[1], after[1]), worst(chained[2], after[2]));
    check("adamW against torch: w", worstWeight(t[0], after[0], w), 2);
    check("adamW against torch: elements of w that differ", double(different), 0.01 * double(w.size()));
    check("adamW against torch: m", worst(t[1], after[1]), 0);
    check("adamW against torch: v", worst(t[2], after[2]), 0);
    check("adamW against torch: w after steps of our own", worstWeight(chained[0], after[0], w), 2 + step);
    w = after[0], m = after[1], v = after[2];
  }
}

static void testFormula() {
  for (int64_t n : {1, 15, 1000, 40003}) {
    const double coefficient = 0.37, steps = 7, rate = 2e-3, beta1 = 0.8, beta2 = 0.95, epsilon = 1e-6, decay = 0.1;
    Tensor w = randomTensor(DType::f32, {n}), m = randomTensor(DType::f32, {n}), v(DType::f32, {n}), g = randomTensor(DType::f32, {n});
    for (int64_t i = 0; i < n; i++) v.set(i, uniform(0, 2));
    std::vector<double> ws, ms, vs;
    for (int64_t i = 0; i < n; i++) {
      const double x = g.get(i) * coefficient;
      ms.push_back(m.get(i) + (1 - beta1) * (x - m.get(i)));
      vs.push_back(beta2 * v.get(i) + (1 - beta2) * x * x);
      ws.push_back(w.get(i) * (1 - rate * decay) - rate / (1 - std::pow(beta1, steps)) * ms.back() / (std::sqrt(vs.back()) / std::sqrt(1 - std::pow(beta2, steps)) + epsilon));
    }
    const Params params{{"learningRate", rate}, {"beta1", beta1}, {"beta2", beta2}, {"epsilon", epsilon}, {"weightDecay", decay}};
    const Tensor before = w.copy();
    std::vector<Tensor> stopped{w, m, v, g, filled(DType::f32, {4}, {0, 0, 6, NAN})}, t{w, m, v, g, filled(DType::f32, {4}, {coefficient, 1, steps, 1})};
    run("adamW", stopped, params);
    check("adamW does nothing unless finite", std::memcmp(before.operand.data, w.operand.data, w.bytes()) != 0, 0);
    run("adamW", t, params);
    compare("adamW: w", w, ws, 1e-6), compare("adamW: m", m, ms, 1e-6), compare("adamW: v", v, vs, 1e-6);
  }
}

void testAdamW(const std::string& goldenPath) {
  testFormula();
  if (goldenPath.empty()) std::printf("  no golden file given: adamW not compared with torch\n");
  else testGolden(goldenPath);
}

}  // namespace test
