// Random visits to pages against a map of what they must hold, with frames, pages and prefetches as they come. By hand:
//
//   g++ -std=c++20 -O1 -g -fsanitize=thread -I../../../backend-cpu/native/include pages_test.cc -o /tmp/pages_test && /tmp/pages_test
//
// and with -fsanitize=address,undefined.
#define GRAFT_ISA scalar
#include "../pages.cc"

#include <map>
#include <vector>

using namespace graft;
using namespace graft::GRAFT_ISA;

static unsigned seed = 1;
static int upTo(int n) {
  seed = seed * 1103515245 + 12345;
  return static_cast<int>((seed >> 8) & 0xffff) % n;
}

int main() {
  constexpr int64_t bytes = 4096;
  char path[] = "/tmp/graft-pages-XXXXXX";
  for (int run = 0; run < 60; run++) {
    const int frames = 1 + upTo(6), pages = frames + upTo(20);
    Store* store = makeStore(run, &seed, frames, pages, bytes);
    std::strcpy(path + sizeof path - 7, "XXXXXX");
    store->file = mkstemp(path);
    unlink(path);
    // What lies in the file must never be seen.
    const std::vector<unsigned char> junk(static_cast<size_t>((pages + 1) * bytes), 7);
    if (writeWhole(store->file, junk.data(), static_cast<int64_t>(junk.size()), 0) != 0 || !startMovers(*store)) return 1;
    std::vector<unsigned char> memory(static_cast<size_t>(frames * bytes), 9);
    std::map<int, std::vector<unsigned char>> model;
    for (int visit = 0; visit < 400; visit++) {
      const int page = upTo(pages), index = page % frames;
      const bool reads = upTo(4) != 0, writes = upTo(2) != 0;
      unsigned char* frame = &memory[static_cast<size_t>(index * bytes)];
      if (!bringPage(*store, index, frame, page, reads, writes)) return std::puts(store->error), 1;
      auto& wanted = model.try_emplace(page, bytes, 0).first->second;
      if (reads && std::memcmp(frame, wanted.data(), bytes) != 0) return std::printf("run %d, visit %d: another page\n", run, visit), 1;
      if (!reads) std::memcpy(frame, wanted.data(), bytes);
      if (writes) {
        if (reads) frame[upTo(bytes)] = static_cast<unsigned char>(upTo(256));
        else std::memset(frame, upTo(256), bytes);
        wanted.assign(frame, frame + bytes);
      }
      if (upTo(3) != 0) prefetchPage(*store, index, frame, index + frames * upTo((pages - index + frames - 1) / frames));
    }
    closeStore(store);
  }
  std::puts("ok");
}
