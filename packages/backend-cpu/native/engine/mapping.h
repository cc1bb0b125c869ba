// Anonymous memory of the process: address space at once, pages as they are touched.
#pragma once

#include <cstddef>

namespace graft {

class Mapping {
 public:
  /** Zero pages, 2 MiB aligned so that huge pages fit. Throws when the system refuses. */
  explicit Mapping(size_t bytes);
  Mapping(const Mapping&) = delete;
  ~Mapping();
  unsigned char* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  /** Gives the pages back and keeps the addresses: who still looks sees zeros and does not crash. */
  void discard();

 private:
  unsigned char* data_ = nullptr;
  size_t bytes_ = 0;
  void* reserved_ = nullptr;
  size_t reservedBytes_ = 0;
};

}  // namespace graft
