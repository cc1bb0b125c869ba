// Commands on their way from the JavaScript thread to the queue thread: records of any size in a chain of chunks, one
// writer, one reader, no lock. Appended records become visible together by `publish`, which is what makes a group whole.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace graft {

enum class CommandKind : uint32_t { jump, kernel, host, upload, uploadFile, read, poison, record, close };

/** Head of every record. Records are trivially destructible; what they own is freed by the queue. */
struct CommandHeader {
  uint32_t bytes;  // of the record, a multiple of 8
  CommandKind kind;
  /** On the first record of an atomic group: the number of the first command after it. Else 0. */
  uint64_t groupEnd;
};

class CommandRing {
 public:
  CommandRing();
  CommandRing(const CommandRing&) = delete;
  ~CommandRing();

  // The writer's side.

  /** An uninitialised record of sizeof(Record) + extra bytes behind what was appended before; header filled in. */
  template <class Record>
  Record* append(CommandKind kind, size_t extra = 0) {
    return static_cast<Record*>(appendBytes(kind, sizeof(Record) + extra));
  }
  /** Commands appended so far: the number of the next one. */
  uint64_t appended() const { return appended_; }
  /** What is appended until endGroup is one group; its first record says where it ends. */
  void beginGroup() { inGroup_ = true; }
  void endGroup();
  /** Lets the reader see everything appended. Sequentially consistent: look for a sleeping reader afterwards. */
  void publish() { published_.store(appended_); }

  // The reader's side.

  bool hasNext() const { return taken_ < published_.load(); }
  /** The next record, which stays valid until `pop`. Only when hasNext(). */
  CommandHeader* next();
  void pop();
  /** The number of the next record. */
  uint64_t taken() const { return taken_; }

 private:
  struct Chunk {
    size_t bytes;
    unsigned char* data;
  };
  struct Jump : CommandHeader {
    Chunk* to;
  };
  static Chunk* makeChunk(size_t bytes);
  static void freeChunk(Chunk* chunk);
  void* appendBytes(CommandKind kind, size_t bytes);

  // Writer.
  Chunk* writing_;
  size_t written_ = 0;
  uint64_t appended_ = 0;
  bool inGroup_ = false;
  CommandHeader* groupFirst_ = nullptr;
  alignas(64) std::atomic<uint64_t> published_{0};
  // Reader.
  alignas(64) Chunk* reading_;
  size_t read_ = 0;
  uint64_t taken_ = 0;
};

}  // namespace graft
