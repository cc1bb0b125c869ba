#include "mapping.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "failure.h"

namespace graft {

static constexpr size_t hugePage = size_t{2} << 20;
#if defined(MAP_NORESERVE)
static constexpr int anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#else
static constexpr int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
#endif

static void adviseHugePages([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#if defined(MADV_HUGEPAGE)
  madvise(data, bytes, MADV_HUGEPAGE);  // advice: a kernel without it is slower, not wrong
#endif
}

Mapping::Mapping(size_t bytes) : bytes_(bytes) {
  reservedBytes_ = bytes + hugePage;
  reserved_ = mmap(nullptr, reservedBytes_, PROT_READ | PROT_WRITE, anonymous, -1, 0);
  if (reserved_ == MAP_FAILED) {
    throw Failure("the system refused " + std::to_string(bytes) + " bytes of address space: " + std::strerror(errno) +
                  "; a smaller plan, or a higher limit on virtual memory (ulimit -v), is needed");
  }
  const auto address = (reinterpret_cast<uintptr_t>(reserved_) + hugePage - 1) / hugePage * hugePage;
  data_ = reinterpret_cast<unsigned char*>(address);
  adviseHugePages(data_, bytes_);
}

Mapping::~Mapping() { munmap(reserved_, reservedBytes_); }

void Mapping::discard() {
  if (bytes_ == 0) return;
  mmap(data_, bytes_, PROT_READ | PROT_WRITE, anonymous | MAP_FIXED, -1, 0);
}

}  // namespace graft
