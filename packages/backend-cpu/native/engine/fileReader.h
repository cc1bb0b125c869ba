// Reads byte ranges of files straight into arenas, by pread on all workers, with what follows asked of the disk ahead; keeps the last files open while a load runs.
#pragma once

#include <graft/kernel.h>

#include <string>
#include <vector>

namespace graft {

class FileReader {
 public:
  FileReader() = default;
  FileReader(const FileReader&) = delete;
  ~FileReader();
  /** Fills `to` with the range. Empty when all bytes were read, else what went wrong, path included. */
  std::string read(const Pool& pool, const std::string& path, int64_t offset, unsigned char* to, size_t bytes);
  void closeAll();

 private:
  struct Open {
    std::string path;
    int descriptor;
    uint64_t device, inode;
  };
  int descriptorOf(const std::string& path, std::string& error);

  std::vector<Open> open_;  // least recently used first
};

}  // namespace graft
