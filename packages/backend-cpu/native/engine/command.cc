#include "command.h"

#include <cstring>

#include "failure.h"

namespace graft {

static constexpr int maxOperands = 64;
static constexpr int doublesPerOperand = 8;
static constexpr double largestInteger = 9007199254740992.0;  // 2^53

/** Whole and in [0, 2^53]: NaN and fractions fail too. */
static bool isIndex(double value) {
  return value >= 0 && value <= largestInteger && static_cast<double>(static_cast<int64_t>(value)) == value;
}

static std::string number(double value) {
  if (isIndex(value)) return std::to_string(static_cast<int64_t>(value));
  return std::to_string(value);
}

/** The address of a byte range, or null when it does not lie in an arena of the queue. */
static unsigned char* locate(const Arenas& arenas, double arena, double offset, double bytes) {
  if (!isIndex(arena) || arena >= static_cast<double>(arenas.size())) return nullptr;
  const auto& mapping = *arenas[static_cast<size_t>(arena)];
  const auto size = static_cast<double>(mapping.bytes());
  if (!isIndex(offset) || !isIndex(bytes) || offset > size || bytes > size - offset) return nullptr;
  return mapping.data() + static_cast<size_t>(offset);
}

[[noreturn]] static void refuseRange(const Arenas& arenas, double arena, double offset, double bytes,
                                     const std::string& what) {
  std::string sizes;
  for (const auto& mapping : arenas) sizes += (sizes.empty() ? "" : ", ") + std::to_string(mapping->bytes());
  throw Failure(what + ": " + number(bytes) + " bytes at offset " + number(offset) + " of arena " + number(arena) +
                    " do not exist; the queue's arenas have [" + sizes + "] bytes",
                FailureKind::range);
}

unsigned char* addressOf(const Arenas& arenas, double arena, double offset, double bytes, const char* what) {
  unsigned char* address = locate(arenas, arena, offset, bytes);
  if (address == nullptr) refuseRange(arenas, arena, offset, bytes, what);
  return address;
}

static Operand operandFrom(const Arenas& arenas, const double* doubles, const std::string& op, int index) {
  const double dtype = doubles[2], rank = doubles[3];
  const auto refuse = [&](const std::string& why) {
    throw Failure(op + ": operand " + std::to_string(index) + " " + why, FailureKind::range);
  };
  if (!isIndex(dtype) || dtype > static_cast<double>(DType::u8)) refuse("has dtype code " + number(dtype) + ", known are 0 to 5");
  if (!isIndex(rank) || rank > 4) refuse("has rank " + number(rank) + ", at most 4 is possible");
  Operand operand{};
  operand.dtype = static_cast<DType>(static_cast<int>(dtype));
  operand.rank = static_cast<int>(rank);
  double elements = 1;
  for (int d = 0; d < 4; ++d) {
    const double extent = d < operand.rank ? doubles[4 + d] : 1;
    if (!isIndex(extent)) refuse("has extent " + number(extent) + " in dimension " + std::to_string(d));
    operand.shape[d] = static_cast<int64_t>(extent);
    elements *= extent;  // inexact only past 2^53, which no arena holds
  }
  const auto elementBytes = static_cast<double>(bytesOf(operand.dtype));
  if (!isIndex(elements)) refuse("has " + number(elements) + " elements");
  operand.data = locate(arenas, doubles[0], doubles[1], elements * elementBytes);
  if (operand.data == nullptr) {
    refuseRange(arenas, doubles[0], doubles[1], elements * elementBytes, op + ": operand " + std::to_string(index));
  }
  if (static_cast<int64_t>(doubles[1]) % bytesOf(operand.dtype) != 0) {
    refuse("begins at byte " + number(doubles[1]) + ", which is not a multiple of its element of " +
           number(elementBytes) + " bytes");
  }
  return operand;
}

/** How many operands the command has, its length checked as far as they reach. */
static int operandCountOf(const double* doubles, size_t length, const std::string& op) {
  const double count = length >= 2 ? doubles[1] : -1;
  if (!isIndex(count) || count > maxOperands || length < 2 + doublesPerOperand * static_cast<size_t>(count)) {
    throw Failure(op + ": a command of " + std::to_string(length) + " numbers cannot hold " + number(count) +
                      " operands (at most " + std::to_string(maxOperands) + ", 8 numbers each)",
                  FailureKind::range);
  }
  return static_cast<int>(count);
}

static void decodeOperands(const Arenas& arenas, const double* doubles, int count, const std::string& op, Operand* into) {
  for (int i = 0; i < count; ++i) into[i] = operandFrom(arenas, doubles + 2 + doublesPerOperand * i, op, i);
}

void appendKernel(CommandRing& ring, const Arenas& arenas, Isa isa, const double* doubles, size_t length) {
  const double kernelNumber = length > 0 ? doubles[0] : -1;
  const KernelEntry* kernel = isIndex(kernelNumber) ? kernelEntry(static_cast<int64_t>(kernelNumber)) : nullptr;
  if (kernel == nullptr) {
    throw Failure("enqueue: there is no kernel number " + number(kernelNumber) + "; numbers come from kernel()",
                  FailureKind::range);
  }
  const ResolvedBody& resolved = kernel->bodies[static_cast<int>(isa)];
  if (resolved.body == nullptr) {
    throw Failure(kernel->name + ": no native body for instruction set " + std::string(nameOf(isa)));
  }
  Operand operands[maxOperands];
  const int operandCount = operandCountOf(doubles, length, kernel->name);
  decodeOperands(arenas, doubles, operandCount, kernel->name, operands);
  const size_t tail = 2 + doublesPerOperand * static_cast<size_t>(operandCount);
  const size_t paramCount = kernel->fields.size();
  if (length != tail + 3 + paramCount || doubles[tail + 2] != static_cast<double>(paramCount)) {
    throw Failure(kernel->name + ": the command has " + std::to_string(length) + " numbers, " +
                      std::to_string(tail + 3 + paramCount) + " are due for " + std::to_string(operandCount) +
                      " operands and " + std::to_string(paramCount) + " params",
                  FailureKind::range);
  }
  float* workspace = nullptr;
  if (doubles[tail] != -1) {
    auto* at = locate(arenas, doubles[tail], doubles[tail + 1], 0);
    if (at == nullptr) refuseRange(arenas, doubles[tail], doubles[tail + 1], 0, kernel->name + ": workspace");
    if (static_cast<int64_t>(doubles[tail + 1]) % static_cast<int64_t>(sizeof(float)) != 0) {
      throw Failure(kernel->name + ": the workspace begins at byte " + number(doubles[tail + 1]) +
                        ", which is not a multiple of 4",
                    FailureKind::range);
    }
    workspace = reinterpret_cast<float*>(at);
  }
  auto* command = ring.append<KernelCommand>(
      CommandKind::kernel, static_cast<size_t>(operandCount) * sizeof(Operand) + paramCount * sizeof(double));
  command->kernel = kernel;
  command->resolved = resolved;
  command->workspace = workspace;
  command->operandCount = operandCount;
  command->paramCount = static_cast<int>(paramCount);
  std::memcpy(command->operands(), operands, static_cast<size_t>(operandCount) * sizeof(Operand));
  std::memcpy(command->params(), doubles + tail + 3, paramCount * sizeof(double));
}

void appendHost(CommandRing& ring, const Arenas& arenas, const std::string& op, double token, int outputs,
                const double* doubles, size_t length) {
  Operand operands[maxOperands];
  const int operandCount = operandCountOf(doubles, length, op);
  decodeOperands(arenas, doubles, operandCount, op, operands);
  if (outputs < 0 || outputs > operandCount) {
    throw Failure(op + ": " + std::to_string(outputs) + " outputs of " + std::to_string(operandCount) + " operands",
                  FailureKind::range);
  }
  auto* command = ring.append<HostCommand>(CommandKind::host, static_cast<size_t>(operandCount) * sizeof(Operand));
  command->op = &interned(op);
  command->token = token;
  command->operandCount = operandCount;
  command->outputs = outputs;
  std::memcpy(command->operands(), operands, static_cast<size_t>(operandCount) * sizeof(Operand));
}

}  // namespace graft
