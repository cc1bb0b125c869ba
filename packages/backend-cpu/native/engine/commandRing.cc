#include "commandRing.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace graft {

static constexpr size_t chunkBytes = size_t{256} << 10;

CommandRing::Chunk* CommandRing::makeChunk(size_t bytes) {
  void* memory = std::malloc(sizeof(Chunk) + bytes);
  if (memory == nullptr) throw std::bad_alloc();
  auto* chunk = static_cast<Chunk*>(memory);
  chunk->bytes = bytes;
  chunk->data = static_cast<unsigned char*>(memory) + sizeof(Chunk);
  return chunk;
}

void CommandRing::freeChunk(Chunk* chunk) { std::free(chunk); }

CommandRing::CommandRing() : writing_(makeChunk(chunkBytes)), reading_(writing_) {}

CommandRing::~CommandRing() {
  while (taken_ < appended_) {  // what nobody read
    next();
    pop();
  }
  freeChunk(reading_);
  if (writing_ != reading_) freeChunk(writing_);
}

void* CommandRing::appendBytes(CommandKind kind, size_t bytes) {
  bytes = (bytes + 7) / 8 * 8;
  if (written_ + bytes + sizeof(Jump) > writing_->bytes) {
    Chunk* fresh = makeChunk(std::max(chunkBytes, bytes + sizeof(Jump)));
    auto* jump = reinterpret_cast<Jump*>(writing_->data + written_);
    jump->kind = CommandKind::jump;
    jump->to = fresh;
    writing_ = fresh;
    written_ = 0;
  }
  auto* header = reinterpret_cast<CommandHeader*>(writing_->data + written_);
  header->bytes = static_cast<uint32_t>(bytes);
  header->kind = kind;
  header->groupEnd = 0;
  if (inGroup_ && groupFirst_ == nullptr) groupFirst_ = header;
  written_ += bytes;
  appended_ += 1;
  return header;
}

void CommandRing::endGroup() {
  if (groupFirst_ != nullptr) groupFirst_->groupEnd = appended_;
  groupFirst_ = nullptr;
  inGroup_ = false;
}

CommandHeader* CommandRing::next() {
  auto* header = reinterpret_cast<CommandHeader*>(reading_->data + read_);
  if (header->kind == CommandKind::jump) {
    Chunk* done = reading_;
    reading_ = static_cast<Jump*>(header)->to;
    read_ = 0;
    freeChunk(done);
    header = reinterpret_cast<CommandHeader*>(reading_->data);
  }
  return header;
}

void CommandRing::pop() {
  read_ += reinterpret_cast<CommandHeader*>(reading_->data + read_)->bytes;
  taken_ += 1;
}

}  // namespace graft
