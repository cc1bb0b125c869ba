// Blocks are hashed side by side and their hashes combined in order. The mixing is SplitMix64's finaliser (Steele, Lea
// and Flood 2014) over 8 bytes at a time in four chains; it finds differences, it does not withstand an adversary.
#include "contentHash.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace graft {

static constexpr int64_t blockBytes = int64_t{256} << 10;

static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static uint64_t absorb(uint64_t chain, uint64_t word) {
  chain = (chain ^ word) * 0x9e3779b97f4a7c15u;
  return chain ^ (chain >> 29);
}

static uint64_t wordAt(const unsigned char* bytes, int64_t count) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, static_cast<size_t>(count));
  return word;
}

static uint64_t hashBlock(const unsigned char* bytes, int64_t count) {
  uint64_t chains[4] = {1, 2, 3, 4};
  int64_t at = 0;
  for (; at + 32 <= count; at += 32) {
    for (int c = 0; c < 4; ++c) chains[c] = absorb(chains[c], wordAt(bytes + at + 8 * c, 8));
  }
  for (; at < count; at += 8) chains[0] = absorb(chains[0], wordAt(bytes + at, std::min<int64_t>(8, count - at)));
  uint64_t hash = static_cast<uint64_t>(count);
  for (const uint64_t chain : chains) hash = mix(hash ^ chain) + chain;
  return hash;
}

uint64_t contentHash(const Pool& pool, uint64_t seed, const Operand& operand) {
  const auto* bytes = static_cast<const unsigned char*>(operand.data);
  const int64_t total = operand.size() * bytesOf(operand.dtype);
  std::vector<uint64_t> blocks(static_cast<size_t>((total + blockBytes - 1) / blockBytes));
  pool.parallel(static_cast<int64_t>(blocks.size()), [&](int64_t block, int) {
    const int64_t from = block * blockBytes;
    blocks[static_cast<size_t>(block)] = hashBlock(bytes + from, std::min(blockBytes, total - from));
  });
  uint64_t hash = mix(seed + 0x9e3779b97f4a7c15u);
  for (const uint64_t block : blocks) hash = mix(hash ^ block) + block;
  return hash;
}

}  // namespace graft
