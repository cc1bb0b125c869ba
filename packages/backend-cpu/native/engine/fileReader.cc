#include "fileReader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

namespace graft {

static constexpr size_t openFiles = 4;
/** Long enough that a disk streams, short enough that two workers share one tensor. */
static constexpr int64_t pieceBytes = int64_t{4} << 20;
/** What the disk reads on its own behind a range, while the program works on it; a layer of a large model has some three of it. */
static constexpr int64_t aheadBytes = int64_t{128} << 20;
/** Behind small ranges nothing is asked for: many of them stand together, and asking has a price. */
static constexpr int64_t leastAsked = int64_t{1} << 20;

FileReader::~FileReader() { closeAll(); }

void FileReader::closeAll() {
  for (const auto& file : open_) ::close(file.descriptor);
  open_.clear();
}

/** A file that was replaced under its path is opened anew. */
int FileReader::descriptorOf(const std::string& path, std::string& error) {
  const auto failed = [&](const char* verb) {
    error = std::string(verb) + " " + path + ": " + std::strerror(errno);
    return -1;
  };
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) return failed("cannot look at");
  const auto known = std::find_if(open_.begin(), open_.end(), [&](const Open& file) { return file.path == path; });
  if (known != open_.end()) {
    if (known->device == status.st_dev && known->inode == status.st_ino) {
      std::rotate(known, known + 1, open_.end());
      return open_.back().descriptor;
    }
    ::close(known->descriptor);
    open_.erase(known);
  }
  if (open_.size() == openFiles) {
    ::close(open_.front().descriptor);
    open_.erase(open_.begin());
  }
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return failed("cannot open");
  if (::fstat(descriptor, &status) != 0) {
    ::close(descriptor);
    return failed("cannot look at");
  }
  open_.push_back({path, descriptor, static_cast<uint64_t>(status.st_dev), static_cast<uint64_t>(status.st_ino)});
  return descriptor;
}

std::string FileReader::read(const Pool& pool, const std::string& path, int64_t offset, unsigned char* to, size_t bytes) {
  std::string error;
  const int descriptor = descriptorOf(path, error);
  if (descriptor < 0) return error;
  const auto total = static_cast<int64_t>(bytes);
#ifdef POSIX_FADV_WILLNEED
  // Advice: what comes of it is no failure.
  if (total >= leastAsked) (void)::posix_fadvise(descriptor, offset, total + aheadBytes, POSIX_FADV_WILLNEED);
#endif
  std::atomic<int> failure{0};       // an errno
  std::atomic<int64_t> end{total};   // where the file ended early, counted from `offset`
  pool.parallel((total + pieceBytes - 1) / pieceBytes, [&](int64_t piece, int) {
    int64_t at = piece * pieceBytes;
    const int64_t stop = std::min(at + pieceBytes, total);
    while (at < stop && failure.load(std::memory_order_relaxed) == 0) {
      const ssize_t got = ::pread(descriptor, to + at, static_cast<size_t>(stop - at), static_cast<off_t>(offset + at));
      if (got > 0) {
        at += got;
      } else if (got == 0) {
        for (int64_t seen = end.load(); at < seen && !end.compare_exchange_weak(seen, at);) {
        }
        return;
      } else if (errno != EINTR) {
        failure.store(errno);
      }
    }
  });
  const std::string range =
      path + ": " + std::to_string(total) + " bytes at " + std::to_string(offset) + " were wanted, ";
  if (failure.load() != 0) return range + std::strerror(failure.load());
  if (end.load() < total) return range + "but the file ends at " + std::to_string(offset + end.load());
  return {};
}

}  // namespace graft
