// Kernel tables: filled from the generated list at first use, then by plug-ins.
#include "tables.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <set>

#include "failure.h"

namespace graft {

struct Tables {
  std::mutex mutex;
  Table byIsa[isaCount];
  std::deque<KernelEntry> entries;
  std::set<std::string> strings;

  Tables() {
    Registration builtIns;
    for (const Isa isa : availableIsas()) registerBuiltIns(isa, builtIns.registry(isa));
    builtIns.mergeInto(byIsa, "internal: built-in kernels");
  }
};

/** Leaked on purpose: queue threads of an environment that ends with the process may still read it. */
static Tables& tables() {
  static Tables* const all = new Tables;
  return *all;
}

Registration::Registration() {
  for (int i = 0; i < isaCount; ++i) {
    staged_[i].owner = this;
    registries_[i] = Registry{&staged_[i], add, addSource, addReader};
  }
}

void Registration::add(void* self, const char* name, const char* const* fields, int fieldCount, Body body) {
  auto& [owner, table] = *static_cast<Staged*>(self);
  RegisteredKernel kernel{std::vector<std::string>(fields, fields + fieldCount), body};
  if (!table.kernels.emplace(name, std::move(kernel)).second && owner->problem_.empty()) {
    owner->problem_ = "kernel " + std::string(name) + " is registered twice";
  }
}

void Registration::addSource(void* self, const char* codec, const PanelSource* source) {
  auto& [owner, table] = *static_cast<Staged*>(self);
  if (!table.sources.emplace(codec, source).second && owner->problem_.empty()) {
    owner->problem_ = "panel source " + std::string(codec) + " is registered twice";
  }
}

void Registration::addReader(void* self, const char* format, const ScaleReader* reader) {
  auto& [owner, table] = *static_cast<Staged*>(self);
  if (!table.readers.emplace(format, reader).second && owner->problem_.empty()) {
    owner->problem_ = "scale reader " + std::string(format) + " is registered twice";
  }
}

void Registration::mergeInto(Table* into, const std::string& whose) {
  const auto taken = [this](const char* kind, const auto& added, const auto& known) {
    for (const auto& [name, value] : added) {
      if (known.contains(name)) problem_ = kind + (" " + name) + " is already registered: choose another name";
    }
  };
  for (int i = 0; i < isaCount && problem_.empty(); ++i) {
    taken("kernel", staged_[i].table.kernels, into[i].kernels);
    taken("panel source", staged_[i].table.sources, into[i].sources);
    taken("scale reader", staged_[i].table.readers, into[i].readers);
  }
  if (!problem_.empty()) throw Failure(whose + ": " + problem_);
  for (int i = 0; i < isaCount; ++i) {
    into[i].kernels.merge(staged_[i].table.kernels);
    into[i].sources.merge(staged_[i].table.sources);
    into[i].readers.merge(staged_[i].table.readers);
  }
}

void Registration::commit(const std::string& whose) {
  auto& all = tables();
  const std::lock_guard lock(all.mutex);
  mergeInto(all.byIsa, whose);
}

/** The nearest table at or below `isa` that has `key`. */
template <class Value>
static const Value* nearest(const Tables& all, std::map<std::string, Value> Table::*kind, const std::string& key, Isa isa) {
  for (std::optional<Isa> at = isa; at; at = below(*at)) {
    const auto& table = all.byIsa[static_cast<int>(*at)].*kind;
    if (const auto found = table.find(key); found != table.end()) return &found->second;
  }
  return nullptr;
}

static std::string listed(const std::vector<std::string>& names) {
  std::string text = "[";
  for (const auto& name : names) text += (text.size() > 1 ? ", " : "") + name;
  return text + "]";
}

static ResolvedBody resolve(const Tables& all, const KernelEntry& entry, Isa isa) {
  ResolvedBody resolved;
  const RegisteredKernel* registered = nearest(all, &Table::kernels, entry.name, isa);
  const auto dot = entry.name.find('.');
  if (registered == nullptr && dot != std::string::npos) {
    const auto plus = std::min(entry.name.find('+'), dot);
    const auto* source = nearest(all, &Table::sources, entry.name.substr(0, plus), isa);
    const auto* reader = plus < dot ? nearest(all, &Table::readers, entry.name.substr(plus + 1, dot - plus - 1), isa) : nullptr;
    if (source != nullptr && (plus == dot || reader != nullptr)) {
      resolved.source = *source;
      if (reader != nullptr) resolved.scales = *reader;
      registered = nearest(all, &Table::kernels, std::string("X").append(entry.name, dot), isa);
    }
  }
  if (registered == nullptr) return {};
  if (registered->fields != entry.fields) {
    throw Failure("kernel " + entry.name + ": the native body (" + std::string(nameOf(isa)) + ") takes params " +
                      listed(registered->fields) + ", asked for " + listed(entry.fields) +
                      "; make the two lists equal, in this order, and rebuild the native library",
                  FailureKind::type);
  }
  resolved.body = registered->body;
  return resolved;
}

int kernelNumber(const std::string& name, const std::vector<std::string>& fields, int outputs, Isa isa) {
  auto& all = tables();
  const std::lock_guard lock(all.mutex);
  const auto numberFor = [&](size_t at) {
    return all.entries[at].bodies[static_cast<int>(isa)].body != nullptr ? static_cast<int>(at) : -1;
  };
  for (size_t i = 0; i < all.entries.size(); ++i) {
    const auto& entry = all.entries[i];
    if (entry.name == name && entry.fields == fields && entry.outputs == outputs) return numberFor(i);
  }
  KernelEntry entry{name, fields, outputs, {}};
  bool any = false;
  for (const Isa one : availableIsas()) {
    auto& resolved = entry.bodies[static_cast<int>(one)] = resolve(all, entry, one);
    any = any || resolved.body != nullptr;
  }
  if (!any) return -1;  // and no entry: a plug-in may still bring it
  all.entries.push_back(std::move(entry));
  return numberFor(all.entries.size() - 1);
}

const KernelEntry* kernelEntry(int64_t number) {
  auto& all = tables();
  const std::lock_guard lock(all.mutex);
  const bool known = number >= 0 && number < static_cast<int64_t>(all.entries.size());
  return known ? &all.entries[static_cast<size_t>(number)] : nullptr;
}

const std::string& interned(const std::string& text) {
  auto& all = tables();
  const std::lock_guard lock(all.mutex);
  return *all.strings.insert(text).first;
}

}  // namespace graft
