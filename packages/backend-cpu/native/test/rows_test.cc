// Every kernel that works by elements or rows against its formula in double, over odd sizes and all mixes of f32 and bf16.
#include "harness.h"

namespace test {

using Doubles = std::vector<double>;
static size_t z(int64_t i) { return size_t(i); }
static std::string label(const std::string& name, std::initializer_list<double> numbers) {
  std::string text = name;
  for (double x : numbers) text.append(" ").append(std::to_string(int64_t(x)));
  return text;
}
/** `present` + x if accumulating. */
static Doubles plus(bool accumulate, const Tensor& present, Doubles x) {
  if (accumulate) for (int64_t i = 0; i < present.size(); i++) x[z(i)] += present.get(i);
  return x;
}
/** `f(rest)` moved by +h and −h along element i. */
static double slope(Doubles& x, size_t i, const std::function<double()>& f) {
  const double at = x[i], h = 1e-4 * (1 + std::fabs(at));
  x[i] = at + h;
  const double above = f();
  x[i] = at - h;
  const double below = f();
  x[i] = at;
  return (above - below) / (2 * h);
}
static double dot(const Doubles& a, const Doubles& b) {
  double total = 0;
  for (size_t i = 0; i < a.size(); i++) total += a[i] * b[i];
  return total;
}

static void testElementwise() {
  for (int64_t n : {1, 7, 64, 1000, 16384 * 2 + 1029})
    for (int mix = 0; mix < 8; mix++) {
      for (double scale : {1.0, -0.7}) {
        Tensor a = randomTensor(mixed(mix, 1), {n}), b = randomTensor(mixed(mix, 2), {n});
        std::vector<Tensor> t{Tensor(mixed(mix, 0), {n}), a, b};
        Doubles wanted(z(n), 0.0);
        for (int64_t i = 0; i < n; i++) wanted[z(i)] = a.get(i) + scale * b.get(i);
        run("add", t, {{"scale", scale}});
        compare(label("add", {double(n), double(mix), scale * 10}), t[0], wanted, 1e-6);
        if (mixed(mix, 0) == mixed(mix, 1)) {  // out is a
          std::vector<Tensor> inPlace{a, a, b};
          run("add", inPlace, {{"scale", scale}});
          compare(label("add in place", {double(n), double(mix)}), a, wanted, 1e-6);
        }
      }
    }
  for (int64_t width : {1, 5, 64, 1030})
    for (int mix = 0; mix < 4; mix++)
      for (int accumulate = 0; accumulate < 2; accumulate++)
        for (double scale : {1.0, 0.3}) {
          const int64_t rows = 37, outRow = 2, xRow = 3;
          Tensor out = randomTensor(mixed(mix, 0), {rows + 5, width}), x = randomTensor(mixed(mix, 1), {rows + 4, width});
          Doubles wanted = out.values();
          for (int64_t i = 0; i < rows * width; i++) {
            double& w = wanted[z(outRow * width + i)];
            w = (accumulate ? w : 0) + scale * x.get(xRow * width + i);
          }
          std::vector<Tensor> t{out, x};
          run("addScaled", t, {{"width", double(width)}, {"rows", double(rows)}, {"outRow", double(outRow)}, {"xRow", double(xRow)}, {"scale", scale}, {"accumulate", double(accumulate)}});
          compare(label("addScaled", {double(width), double(mix), double(accumulate)}), out, wanted, 1e-6);
        }
  for (int64_t columns : {1, 33, 2051})
    for (int mix = 0; mix < 4; mix++)
      for (int accumulate = 0; accumulate < 2; accumulate++) {
        const int64_t rows = 41;
        Tensor out = randomTensor(mixed(mix, 0), {rows, columns}), x = randomTensor(mixed(mix, 1), {rows, columns}), s = randomTensor(DType::f32, {rows});
        Doubles product(z(rows * columns), 0.0);
        for (int64_t i = 0; i < rows * columns; i++) product[z(i)] = x.get(i) * s.get(i / columns);
        product = plus(accumulate, out, product);
        std::vector<Tensor> t{out, x, s};
        run("scaleRows", t, {{"accumulate", double(accumulate)}});
        compare(label("scaleRows", {double(columns), double(mix)}), out, product, 1e-6);
      }
  for (int64_t n : {1, 100, 40001})
    for (int mix = 0; mix < 2; mix++)
      for (int accumulate = 0; accumulate < 2; accumulate++) {
        Tensor dx = randomTensor(mixed(mix, 0), {n}), dy = randomTensor(DType::f32, {1});
        const Doubles wanted = plus(accumulate, dx, Doubles(z(n), 0.5 * dy.get(0)));
        std::vector<Tensor> t{dx, dy};
        run("broadcast", t, {{"scale", 0.5}, {"accumulate", double(accumulate)}});
        compare(label("broadcast", {double(n), double(mix)}), dx, wanted, 1e-6);
      }
}

static Doubles rmsNormOf(const Doubles& x, const Doubles& w, double epsilon) {
  const size_t n = w.size();
  Doubles y(x.size());
  for (size_t t = 0; t < x.size(); t += n) {
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += x[t + i] * x[t + i];
    const double r = 1 / std::sqrt(squares / double(n) + epsilon);
    for (size_t i = 0; i < n; i++) y[t + i] = x[t + i] * r * w[i];
  }
  return y;
}

static void testRmsNorm() {
  const double epsilon = 1e-5;
  for (int64_t n : {1, 9, 64, 1500})
    for (int64_t rows : {1, 67, 200})
      for (int mix = 0; mix < 16; mix++) {
        if (n * rows > 60000 && mix % 5) continue;
        const DType gain = mix & 8 ? DType::f16 : mixed(mix, 2);
        Tensor x = randomTensor(mixed(mix, 0), {rows, n}), w = randomTensor(gain, {n}), y(mixed(mix, 1), {rows, n});
        std::vector<Tensor> t{y, x, w};
        run("rmsNorm", t, {{"epsilon", epsilon}});
        compare(label("rmsNorm", {double(n), double(rows), double(mix)}), y, rmsNormOf(x.values(), w.values(), epsilon), 2e-6);

        Tensor dy = randomTensor(mixed(mix, 1), {rows, n});
        Doubles dx(z(rows * n), 0.0), dw(z(n), 0.0);
        for (int64_t row = 0; row < rows; row++) {
          double squares = 0, products = 0;
          for (int64_t i = row * n; i < (row + 1) * n; i++) squares += x.get(i) * x.get(i), products += dy.get(i) * w.get(i % n) * x.get(i);
          const double r = 1 / std::sqrt(squares / double(n) + epsilon);
          for (int64_t i = row * n; i < (row + 1) * n; i++) {
            dx[z(i)] = r * (dy.get(i) * w.get(i % n) - x.get(i) * r * r * products / double(n));
            dw[z(i % n)] += dy.get(i) * x.get(i) * r;
          }
        }
        for (int accumulate = 0; accumulate < 2; accumulate++) {
          Tensor outX = randomTensor(mixed(mix, 3), {rows, n}), outW = randomTensor(DType::f32, {n});
          const Doubles wantedX = plus(accumulate, outX, dx), wantedW = plus(accumulate, outW, dw);
          std::vector<Tensor> forX{outX, dy, x, w}, forW{outW, dy, x};
          const Params params{{"epsilon", epsilon}, {"accumulate", double(accumulate)}};
          run("rmsNormBackwardX", forX, params);
          compare(label("rmsNormBackwardX", {double(n), double(rows), double(mix)}), outX, wantedX, 5e-6, n == 1 ? 300 : 1 + magnitude(dx));
          run("rmsNormBackwardW", forW, params, z((rows + 63) / 64 * n));
          compare(label("rmsNormBackwardW", {double(n), double(rows), double(mix)}), outW, wantedW, 2e-6, 1 + std::sqrt(double(rows)));
        }
      }
  // Finite differences of Σ dy · y.
  const int64_t n = 13, rows = 3;
  Tensor x = randomTensor(DType::f32, {rows, n}), w = randomTensor(DType::f32, {n}), dy = randomTensor(DType::f32, {rows, n});
  Tensor dx(DType::f32, {rows, n}), dw(DType::f32, {n});
  std::vector<Tensor> forX{dx, dy, x, w}, forW{dw, dy, x};
  run("rmsNormBackwardX", forX, {{"epsilon", epsilon}, {"accumulate", 0}});
  run("rmsNormBackwardW", forW, {{"epsilon", epsilon}, {"accumulate", 0}}, z(n));
  Doubles xs = x.values(), ws = w.values(), slopesX, slopesW;
  const auto loss = [&]() { return dot(dy.values(), rmsNormOf(xs, ws, epsilon)); };
  for (size_t i = 0; i < xs.size(); i++) slopesX.push_back(slope(xs, i, loss));
  for (size_t i = 0; i < ws.size(); i++) slopesW.push_back(slope(ws, i, loss));
  compare("rmsNormBackwardX, finite differences", dx, slopesX, 1e-5);
  compare("rmsNormBackwardW, finite differences", dw, slopesW, 1e-5);
}

/** f(gate) · up with silu, or gelu by tanh */
static double gatedOf(bool gelu, double gate, double up) {
  if (!gelu) return gate / (1 + std::exp(-gate)) * up;
  return 0.5 * gate * (1 + std::tanh(std::sqrt(2 / M_PI) * (gate + 0.044715 * gate * gate * gate))) * up;
}

static void testGatedUnit(bool gelu) {
  const std::string name = gelu ? "geglu" : "swiglu";
  for (int64_t n : {1, 31, 1024, 35003})
    for (int mix = 0; mix < 32; mix++) {
      if (n > 1024 && mix % 7) continue;
      Tensor gate = randomTensor(mixed(mix, 0), {n}, 4), up = randomTensor(mixed(mix, 1), {n}), y(mixed(mix, 2), {n});
      if (n > 4) gate.set(0, -200), gate.set(1, 200), gate.set(2, 0), gate.set(3, -88);
      std::vector<Tensor> t{y, gate, up};
      run(name.c_str(), t, {});
      const Doubles none(z(n), 0.0);
      Doubles wanted = none, dGates = none, dUps = none;
      Tensor dy = randomTensor(mixed(mix, 2), {n}), dGate(mixed(mix, 3), {n}), dUp(mixed(mix, 4), {n});
      for (int64_t i = 0; i < n; i++) {
        Doubles at{gate.get(i), up.get(i)};
        const auto f = [&]() { return gatedOf(gelu, at[0], at[1]); };
        wanted[z(i)] = f();
        const double v = gelu ? std::sqrt(8 / M_PI) * (at[0] + 0.044715 * at[0] * at[0] * at[0]) : at[0];
        const double inner = gelu ? std::sqrt(8 / M_PI) * (1 + 3 * 0.044715 * at[0] * at[0]) : 1;
        const double s = 1 / (1 + std::exp(-v));
        dGates[z(i)] = dy.get(i) * at[1] * s * (1 + at[0] * (1 - s) * inner);
        dUps[z(i)] = dy.get(i) * at[0] * s;
        if (i < 40) {
          check(name + "'s formula, finite differences", std::fabs(dGates[z(i)] - dy.get(i) * slope(at, 0, f)), 1e-4 * (1 + std::fabs(dGates[z(i)])));
          check(name + "'s formula, finite differences", std::fabs(dUps[z(i)] - dy.get(i) * slope(at, 1, f)), 1e-4 * (1 + std::fabs(dUps[z(i)])));
        }
      }
      compare(label(name.c_str(), {double(n), double(mix)}), y, wanted, 2e-6);
      std::vector<Tensor> back{dGate, dUp, dy, gate, up};
      run((name + "Backward").c_str(), back, {});
      compare(label((name + "Backward, gate").c_str(), {double(n), double(mix)}), dGate, dGates, 3e-6);
      compare(label((name + "Backward, up").c_str(), {double(n), double(mix)}), dUp, dUps, 3e-6);
      // Over its inputs, y over dy.
      const bool same = mixed(mix, 0) == mixed(mix, 3) && mixed(mix, 1) == mixed(mix, 4);
      Tensor gateToo = same ? gate.copy() : Tensor(mixed(mix, 3), {n}), upToo = same ? up.copy() : Tensor(mixed(mix, 4), {n}), again = dy.copy();
      std::vector<Tensor> both{gateToo, upToo, again, again, same ? gateToo : gate, same ? upToo : up};
      run((name + "BackwardWithY").c_str(), both, {});
      const auto bits = [&](const Tensor& a, const Tensor& b) {
        check(label((name + "BackwardWithY, bits").c_str(), {double(n), double(mix)}), std::memcmp(a.operand.data, b.operand.data, a.bytes()) != 0, 0);
      };
      bits(gateToo, dGate), bits(upToo, dUp), bits(again, y);
    }
}

static void testRope() {
  for (int64_t headDim : {2, 8, 20, 64, 128})
    for (int mix = 0; mix < 4; mix++) {
      const int64_t tokens = 45, heads = 3, half = headDim / 2;
      Tensor keys(DType::i32, {tokens, 2}), frequencies(DType::f32, {half}), table(DType::f32, {tokens, headDim});
      for (int64_t t = 0; t < tokens; t++) keys.set(2 * t, double(t)), keys.set(2 * t + 1, double(t * t * 3));
      for (int64_t i = 0; i < half; i++) frequencies.set(i, std::pow(10000.0, -double(i) / double(half)));
      std::vector<Tensor> t{table, keys, frequencies};
      run("ropeTable", t, {{"scale", 1.25}});
      Doubles angles(z(tokens * headDim), 0.0);
      for (int64_t row = 0; row < tokens; row++)
        for (int64_t i = 0; i < half; i++) {
          const double angle = float(keys.get(2 * row + 1)) * float(frequencies.get(i));
          angles[z(row * headDim + i)] = 1.25 * std::cos(angle), angles[z(row * headDim + half + i)] = 1.25 * std::sin(angle);
        }
      compare(label("ropeTable", {double(headDim)}), table, angles, 1e-7);
      for (int inverse = 0; inverse < 2; inverse++)
        for (int accumulate = 0; accumulate < 2; accumulate++) {
          Tensor x = randomTensor(mixed(mix, 0), {tokens, heads * headDim}), y = randomTensor(mixed(mix, 1), {tokens, heads * headDim});
          Doubles wanted(z(x.size()), 0.0);
          for (int64_t at = 0; at < x.size(); at++) {
            const int64_t i = at % headDim, row = at / (heads * headDim), low = i % half;
            const double c = table.get(row * headDim + low), s = table.get(row * headDim + half + low) * (inverse ? -1 : 1);
            wanted[z(at)] = i < half ? x.get(at) * c - x.get(at + half) * s : x.get(at) * c + x.get(at - half) * s;
          }
          wanted = plus(accumulate, y, wanted);
          const Params params{{"heads", double(heads)}, {"headDim", double(headDim)}, {"inverse", double(inverse)}, {"accumulate", double(accumulate)}};
          std::vector<Tensor> u{y, x, table};
          run("rope", u, params);
          compare(label("rope", {double(headDim), double(mix), double(inverse), double(accumulate)}), y, wanted, 1e-6);
          if (!accumulate) {
            std::vector<Tensor> inPlace{x, x, table};
            run("rope", inPlace, params);
            compare(label("rope in place", {double(headDim), double(mix)}), x, wanted, 1e-6);
          }
        }
    }
}

/** Philox4x32-10, straight from the paper. */
static void philox(uint32_t c[4], uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; round++) {
    const uint64_t a = uint64_t(0xD2511F53u) * c[0], b = uint64_t(0xCD9E8D57u) * c[2];
    const uint32_t next[4]{uint32_t(b >> 32) ^ c[1] ^ key0, uint32_t(b), uint32_t(a >> 32) ^ c[3] ^ key1, uint32_t(a)};
    std::memcpy(c, next, sizeof(next));
    key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
  }
}

static void testDropout() {
  // The known answers that come with the authors' Random123.
  uint32_t zero[4]{}, ones[4]{~0u, ~0u, ~0u, ~0u}, pi[4]{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
  philox(zero, 0, 0), philox(ones, ~0u, ~0u), philox(pi, 0xa4093822, 0x299f31d0);
  check("philox of 0", zero[0] != 0x6627e8d5 || zero[1] != 0xe169c58d || zero[2] != 0xbc57ac4c || zero[3] != 0x9b00dbd8, 0);
  check("philox of ones", ones[0] != 0x408f276d || ones[1] != 0x41c83b0e || ones[2] != 0xa20bc7c6 || ones[3] != 0x6d5451fd, 0);
  check("philox of pi", pi[0] != 0xd16cfe09 || pi[1] != 0x94fdcceb || pi[2] != 0x5001e420 || pi[3] != 0x24126ea1, 0);
  for (int64_t width : {1, 3, 64, 1027, 2500})
    for (int mix = 0; mix < 4; mix++)
      for (double rate : {0.0, 0.1, 0.5, 1.0})
        for (int accumulate = 0; accumulate < 2; accumulate++) {
          const int64_t rows = 11, outRow = 1, xRow = 2, keyRow = 3;
          const double seed = 4294967295.0, step = 3000000000.0, site = 123456789;
          Tensor out = randomTensor(mixed(mix, 0), {rows + 2, width}), x = randomTensor(mixed(mix, 1), {rows + 2, width}), keys(DType::i32, {rows + 3, 2});
          for (int64_t i = 0; i < keys.size(); i++) keys.set(i, double(i * i + 1));
          x.set(xRow * width, INFINITY);  // dropped or not, it must not become NaN
          Doubles wanted = out.values();
          for (int64_t t = 0; t < rows; t++)
            for (int64_t column = 0; column < width; column++) {
              uint32_t c[4]{uint32_t(column / 4), uint32_t(keys.get(2 * (keyRow + t) + 1)), uint32_t(keys.get(2 * (keyRow + t))), uint32_t(step)};
              philox(c, uint32_t(seed), uint32_t(site));
              const bool keep = double(c[column % 4] >> 8) * 0x1p-24 >= rate;
              double& w = wanted[z((outRow + t) * width + column)];
              w = (accumulate ? w : 0) + (keep ? x.get((xRow + t) * width + column) / (1 - rate) : 0);
            }
          std::vector<Tensor> t{out, x, keys};
          run("dropout", t, {{"rate", rate}, {"seed", seed}, {"step", step}, {"site", site}, {"width", double(width)}, {"rows", double(rows)}, {"outRow", double(outRow)}, {"xRow", double(xRow)}, {"keyRow", double(keyRow)}, {"accumulate", double(accumulate)}});
          compare(label("dropout", {double(width), double(mix), rate * 10, double(accumulate)}), out, wanted, 1e-6);
        }
}

static void testCrossEntropy() {
  for (int64_t vocab : {1, 2, 37, 1024, 1025, 4100, 32003})
    for (int mix = 0; mix < 3; mix++)
      for (int variant = 0; variant < 5; variant++) {
        const int gradient = variant > 0;
        const bool apart = mix == 2;  // f32 logits, and their gradient in bf16 beside them
        if (apart && !gradient) continue;
        const double cap = variant == 2 || variant == 4 ? 3 : 0, smoothing = variant > 2 ? 0.1 : 0;
        const bool bentInBf16 = cap > 0 && mix == 1;  // the bent logits lie rounded
        const int64_t rows = vocab > 10000 ? 3 : 7, row0 = 2;
        Tensor logits = randomTensor(mixed(mix, 0), {rows, vocab}, 5), losses = randomTensor(DType::f32, {rows + 3}), targets(DType::i32, {rows + 3});
        for (int64_t t = 0; t < rows + 3; t++) targets.set(t, t == row0 + 1 ? -100 : double((t * 7919) % vocab));
        if (vocab > 2 && smoothing == 0) logits.set(1, -INFINITY), logits.set(2 * vocab, 90), logits.set(2 * vocab + 1, -150);
        Doubles wantedLosses = losses.values(), wantedLogits = logits.values();
        for (int64_t t = 0; t < rows; t++) {
          const int64_t y = int64_t(targets.get(row0 + t));
          double* row = &wantedLogits[z(t * vocab)];
          double top = -INFINITY, total = 0, all = 0;
          const Doubles raw(row, row + vocab);
          const auto bent = [&](double v) { return cap > 0 ? cap * std::tanh(v / cap) : v; };
          for (int64_t c = 0; c < vocab; c++) row[c] = bent(row[c]), all += row[c];
          for (int64_t c = 0; c < vocab; c++) top = std::max(top, row[c]);
          for (int64_t c = 0; c < vocab; c++) total += std::exp(row[c] - top);
          wantedLosses[z(row0 + t)] = y < 0 ? 0 : top + std::log(total) - (1 - smoothing) * row[y] - (smoothing > 0 ? smoothing / double(vocab) * all : 0);
          const auto derivative = [&](int64_t c) {
            return (std::exp(row[c] - top) / total - (c == y) * (1 - smoothing) - smoothing / double(vocab)) * (cap > 0 ? 1 - row[c] * row[c] / (cap * cap) : 1);
          };
          if (t == 0 && y >= 0 && gradient && vocab < 40) {  // the gradient's formula by finite differences
            for (int64_t c = 0; c < vocab; c++) {
              if (std::isinf(raw[z(c)])) continue;
              Doubles moved = raw;
              const double there = slope(moved, z(c), [&]() {
                double s = 0, sumOfAll = 0;
                for (double v : moved) s += std::exp(bent(v) - top), sumOfAll += bent(v);
                return top + std::log(s) - (1 - smoothing) * bent(moved[z(y)]) - (smoothing > 0 ? smoothing / double(vocab) * sumOfAll : 0);
              });
              check("cross-entropy's formula, finite differences", std::fabs(derivative(c) - there), 1e-6);
            }
          }
          if (!gradient) continue;
          Doubles derivatives(z(vocab));
          for (int64_t c = 0; c < vocab; c++) derivatives[z(c)] = y < 0 ? 0 : derivative(c);
          std::copy(derivatives.begin(), derivatives.end(), row);
        }
        Tensor out = apart ? Tensor(DType::bf16, logits.shape) : logits;
        std::vector<Tensor> t{losses, out, targets};
        if (apart) t.push_back(logits);
        run("crossEntropyRows", t, {{"row0", double(row0)}, {"rows", double(rows)}, {"vocab", double(vocab)}, {"gradient", double(gradient)}, {"softCap", cap}, {"smoothing", smoothing}});
        compare(label("crossEntropyRows, losses", {double(vocab), double(mix), double(variant)}), losses, wantedLosses, bentInBf16 ? 4e-3 : 1e-6);
        compare(label("crossEntropyRows, logits", {double(vocab), double(mix), double(variant)}), out, wantedLogits, bentInBf16 ? 1e-2 : 5e-7);
      }
  // Nothing finite must come of NaN, nor of a target beyond the vocabulary.
  Tensor logits = randomTensor(DType::f32, {2, 50}), losses(DType::f32, {2}), targets = filled(DType::i32, {2}, {3, 50});
  logits.set(20, NAN);
  std::vector<Tensor> t{losses, logits, targets};
  run("crossEntropyRows", t, {{"row0", 0}, {"rows", 2}, {"vocab", 50}, {"gradient", 1}, {"softCap", 0}, {"smoothing", 0}});
  check("crossEntropyRows of NaN", !std::isnan(losses.get(0)), 0);
  check("crossEntropyRows beyond the vocabulary", !std::isnan(losses.get(1)), 0);
}

static void testTakenRows() {
  for (int64_t width : {1, 5, 700})
    for (int mix = 0; mix < 4; mix++)
      for (int accumulate = 0; accumulate < 2; accumulate++) {
        const int64_t tokens = 90, limit = 61;
        Tensor order(DType::i32, {tokens}), ranks(DType::i32, {tokens}), targets(DType::i32, {tokens});
        for (int64_t t = 0; t < tokens; t++) targets.set(t, t % 3 ? double(t) : -100);
        std::vector<Tensor> orders{order, ranks, targets};
        run("learntOrder", orders, {});
        for (int64_t t = 0; t < tokens; t++) {
          check("learntOrder", ranks.get(int64_t(order.get(t))) != double(t) || (targets.get(int64_t(order.get(t))) >= 0) != (t < 60), 0);
          if (t != 0 && t != 60) check("learntOrder keeps the order", order.get(t) < order.get(t - 1), 0);
        }
        Tensor out = randomTensor(mixed(mix, 0), {tokens, width}), x = randomTensor(mixed(mix, 1), {tokens, width}), s = randomTensor(DType::f32, {tokens});
        Tensor some = randomTensor(mixed(mix, 1), {20, width});
        Doubles wanted = out.values(), wantedSome(z(20 * width));
        for (int64_t i = 0; i < tokens * width; i++) {
          const int64_t row = int64_t(ranks.get(i / width));
          wanted[z(i)] = (accumulate ? wanted[z(i)] : 0) + (row < limit ? s.get(i / width) * x.get(row * width + i % width) : 0);
        }
        for (int64_t i = 0; i < 20 * width; i++) {
          const int64_t row = int64_t(order.get(50 + i / width));
          wantedSome[z(i)] = row < limit ? x.get(row * width + i % width) : 0;
        }
        std::vector<Tensor> scaled{out, x, s, ranks}, taken{some, x, order};
        run("takeScaledRows", scaled, {{"limit", double(limit)}, {"accumulate", double(accumulate)}});
        compare(label("takeScaledRows", {double(width), double(mix), double(accumulate)}), out, wanted, 1e-6);
        run("takeRows", taken, {{"from", 50}, {"limit", double(limit)}});
        compare(label("takeRows", {double(width), double(mix)}), some, wantedSome, 0);
      }
}

static void testReductions() {
  for (int64_t n : {1, 9, 4096, 4097, 123457})
    for (int mix = 0; mix < 2; mix++)
      for (int accumulate = 0; accumulate < 2; accumulate++) {
        Tensor out = randomTensor(DType::f32, {1}), x = randomTensor(mixed(mix, 0), {n});
        double total = accumulate ? out.get(0) : 0;
        for (int64_t i = 0; i < n; i++) total += 0.25 * x.get(i);
        std::vector<Tensor> t{out, x};
        run("sum", t, {{"scale", 0.25}, {"accumulate", double(accumulate)}});
        compare(label("sum", {double(n), double(mix)}), out, {total}, 2e-7);
        if (mix) continue;
        Tensor partials = randomTensor(DType::f32, {3});
        Doubles wanted = partials.values();
        wanted[1] = 0;
        for (int64_t i = 0; i < n; i++) wanted[1] += x.get(i) * x.get(i);
        std::vector<Tensor> u{partials, x};
        run("sumSquares", u, {{"slot", 1}});
        compare(label("sumSquares", {double(n)}), partials, wanted, 2e-7);
      }
  struct Case { double squares, tokens, maxNorm; };
  for (const Case& c : {Case{400, 10, 1}, Case{400, 10, 0}, Case{0.01, 10, 1}, Case{INFINITY, 10, 1}, Case{NAN, 10, 0}, Case{4, 0, 1}}) {
    Tensor control = filled(DType::f32, {4}, {9, 9, 5, 9}), partials = filled(DType::f32, {2}, {c.squares / 4, c.squares * 3 / 4}), tokens = filled(DType::f32, {1}, {c.tokens});
    const double norm = std::sqrt(c.squares) / c.tokens;
    const bool finite = std::isfinite(norm) && c.tokens > 0;
    const double clip = c.maxNorm > 0 ? std::min(1.0, c.maxNorm / (norm + 1e-6)) : 1;
    std::vector<Tensor> t{control, partials, tokens};
    run("clipControl", t, {{"maxNorm", c.maxNorm}});
    compare("clipControl", control, {finite ? clip / c.tokens : 0, double(finite), 5.0 + finite, norm}, 2e-7);
  }
}

static void testGatherGradient() {
  for (int64_t hidden : {1, 30, 128, 300})
    for (int mix = 0; mix < 2; mix++)
      for (int accumulate = 0; accumulate < 2; accumulate++) {
        const int64_t vocab = 19, tokens = 77;
        Tensor dw = randomTensor(DType::f32, {vocab, hidden}), dy = randomTensor(mixed(mix, 0), {tokens, hidden}), ids(DType::i32, {tokens});
        Doubles wanted = accumulate ? dw.values() : Doubles(z(vocab * hidden));
        for (int64_t t = 0; t < tokens; t++) {
          ids.set(t, t == 5 ? -1 : t == 6 ? double(vocab) : double(t * t % vocab));
          if (t != 5 && t != 6) for (int64_t i = 0; i < hidden; i++) wanted[z(int64_t(ids.get(t)) * hidden + i)] += dy.get(t * hidden + i);
        }
        std::vector<Tensor> t{dw, dy, ids};
        run("gatherGradient", t, {{"accumulate", double(accumulate)}});
        compare(label("gatherGradient", {double(hidden), double(mix)}), dw, wanted, 1e-6, 10);
      }
}

static void testDora() {
  for (int64_t n : {1, 13, 256, 1100})
    for (int mix = 0; mix < 4; mix++)
      for (int accumulate = 0; accumulate < 2; accumulate++) {
        const int64_t rows = 150;
        Tensor y = randomTensor(mixed(mix, 0), {rows, n}), x = randomTensor(mixed(mix, 1), {rows, n}), m = randomTensor(DType::f32, {n}), norm(DType::f32, {n});
        for (int64_t i = 0; i < n; i++) norm.set(i, uniform(0.5, 2));
        Doubles scaled(z(rows * n), 0.0), dms(z(n), 0.0);
        for (int64_t i = 0; i < rows * n; i++) scaled[z(i)] = x.get(i) * m.get(i % n) / norm.get(i % n), dms[z(i % n)] += y.get(i) * x.get(i) / norm.get(i % n);
        Tensor dm = randomTensor(DType::f32, {n});
        dms = plus(accumulate, dm, dms);
        std::vector<Tensor> u{dm, y, x, norm};
        run("scaleColumnsBackwardM", u, {{"accumulate", double(accumulate)}});
        compare(label("scaleColumnsBackwardM", {double(n), double(mix)}), dm, dms, 1e-6, 20);
        scaled = plus(accumulate, y, scaled);
        std::vector<Tensor> t{y, x, m, norm};
        run("scaleColumns", t, {{"accumulate", double(accumulate)}});
        compare(label("scaleColumns", {double(n), double(mix)}), y, scaled, 1e-6);
      }
  for (int64_t out : {1, 33, 700})
    for (int64_t r : {1, 8, 19})
      for (int mix = 0; mix < 2; mix++) {
        // ‖w + s·b·a‖² of real w and a, so that the terms are as they come in use.
        const int64_t in = 40;
        const double s = 0.75;
        Tensor w = randomTensor(DType::f32, {out, in}), b = randomTensor(DType::f32, {out, r}), a = randomTensor(DType::f32, {r, in});
        Tensor norm(DType::f32, {out}), w2(DType::f32, {out}), aw(mixed(mix, 0), {r, out}), aa(DType::f32, {r, r});
        const auto inner = [&](const Tensor& p, int64_t i, const Tensor& q, int64_t j) { double t = 0; for (int64_t k = 0; k < in; k++) t += p.get(i * in + k) * q.get(j * in + k); return t; };
        for (int64_t o = 0; o < out; o++) w2.set(o, inner(w, o, w, o));
        for (int64_t i = 0; i < r; i++) for (int64_t o = 0; o < out; o++) aw.set(i * out + o, inner(a, i, w, o));
        for (int64_t i = 0; i < r; i++) for (int64_t j = 0; j < r; j++) aa.set(i * r + j, inner(a, i, a, j));
        Doubles wanted, dense;
        for (int64_t o = 0; o < out; o++) {
          double total = w2.get(o), whole = 0;
          for (int64_t i = 0; i < r; i++) {
            total += 2 * s * b.get(o * r + i) * aw.get(i * out + o);
            for (int64_t j = 0; j < r; j++) total += s * s * b.get(o * r + i) * aa.get(i * r + j) * b.get(o * r + j);
          }
          for (int64_t k = 0; k < in; k++) {
            double v = w.get(o * in + k);
            for (int64_t i = 0; i < r; i++) v += s * b.get(o * r + i) * a.get(i * in + k);
            whole += v * v;
          }
          wanted.push_back(std::sqrt(std::max(0.0, total))), dense.push_back(std::sqrt(whole));
        }
        std::vector<Tensor> t{norm, w2, b, aw, aa};
        run("doraNorm", t, {{"scale", s}});
        compare(label("doraNorm", {double(out), double(r), double(mix)}), norm, wanted, 1e-6);
        if (!mix) compare(label("doraNorm against the dense rows", {double(out), double(r)}), norm, dense, 1e-4);
      }
}

void testRows() {
  testElementwise();
  testRmsNorm();
  testGatedUnit(false);
  testGatedUnit(true);
  testRope();
  testDropout();
  testTakenRows();
  testCrossEntropy();
  testReductions();
  testGatherGradient();
  testDora();
}

}  // namespace test
