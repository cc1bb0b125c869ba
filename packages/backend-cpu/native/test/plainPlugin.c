/* A plug-in in C, as plugin.h shows it: one kernel, and a refusal when asked for by a macro. */
#include <graft/plugin.h>

static void scale_item(void* context, int64_t index, int worker) {
  const graft_call* call = (const graft_call*)context;
  (void)worker;
  ((float*)call->operands[0].data)[index] *= (float)call->params[0];
}

static void scale(const graft_call* call) {
  call->pool->run_parallel(call->pool->self, call->operands[0].shape[0], scale_item, (void*)call);
}

__attribute__((visibility("default"))) int graft_register(const graft_host* host) {
  static const char* const fields[] = {"factor"};
  const graft_registry* table = host->registry(host, "scalar");
  table->add_kernel(table->self, "plain.scale", fields, 1, scale);
#ifdef REFUSE
  return host->fail(host, "refused on purpose");
#endif
#ifdef TAKEN
  table->add_kernel(table->self, "fill", fields, 1, scale);
#endif
  return 0;
}
