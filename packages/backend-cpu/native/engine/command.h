// The records of the ring, and the decoding of what JavaScript sends into them.
//
// A kernel's or host body's command is a row of doubles:
//   [kernel, operandCount, (arena, byteOffset, dtype, rank, d0, d1, d2, d3) × operandCount,
//    workspaceArena (-1: none), workspaceOffset, paramCount, params…]
// Every number is checked against the arenas before it becomes an address: a mistaken command throws, never reads astray.
#pragma once

#include <graft/kernel.h>

#include <memory>
#include <string>
#include <vector>

#include "commandRing.h"
#include "mapping.h"
#include "tables.h"

namespace graft {

using Arenas = std::vector<std::shared_ptr<Mapping>>;

/** Operands stand behind the record, params behind the operands. */
struct KernelCommand : CommandHeader {
  const KernelEntry* kernel;
  ResolvedBody resolved;
  float* workspace;
  int operandCount;
  int paramCount;
  Operand* operands() { return reinterpret_cast<Operand*>(this + 1); }
  double* params() { return reinterpret_cast<double*>(operands() + operandCount); }
};
/** Operands stand behind the record: the flight recorder hashes the first `outputs`. */
struct HostCommand : CommandHeader {
  const std::string* op;
  double token;
  int operandCount;
  int outputs;
  Operand* operands() { return reinterpret_cast<Operand*>(this + 1); }
};
struct UploadCommand : CommandHeader {
  unsigned char* to;
  unsigned char* from;  // owned, malloc
  size_t bytes;
};
struct UploadFileCommand : CommandHeader {
  unsigned char* to;
  size_t bytes;
  const std::string* path;
  int64_t fileOffset;
};
struct ReadCommand : CommandHeader {
  const unsigned char* from;
  unsigned char* to;
  size_t bytes;
  void* request;
};
struct PoisonCommand : CommandHeader {
  unsigned char* at;
  size_t bytes;
};
struct RecordCommand : CommandHeader {
  bool on;
};
struct CloseCommand : CommandHeader {};

/** Address of a byte range of an arena; `what` says in an error whose range it is. Throws a range error. */
unsigned char* addressOf(const Arenas& arenas, double arena, double offset, double bytes, const char* what);

/** Appends the kernel command that `doubles` spell. Throws before anything is appended. */
void appendKernel(CommandRing& ring, const Arenas& arenas, Isa isa, const double* doubles, size_t length);

/** Appends a host body's command; of `doubles` the operands count, kernel and params are ignored. */
void appendHost(CommandRing& ring, const Arenas& arenas, const std::string& op, double token, int outputs,
                const double* doubles, size_t length);

}  // namespace graft
