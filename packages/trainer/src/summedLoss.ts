/** The loss of a micro-batch as it is trained, f32 [1]: cross-entropy under the model's head, summed over supervised tokens. */
import { type Batch, type Graph, linearCrossEntropy, type Model, sum, type Tensor } from "@graft/core"

/** hidden [tokens, hidden] */
export const summedLoss = (
  g: Graph,
  hidden: Tensor,
  { head, description: { logitSoftCap: softCap = 0 } }: Model,
  { targets, supervised }: Pick<Batch, "targets" | "supervised">,
  smoothing = 0
): Tensor =>
  sum(
    g,
    linearCrossEntropy(g, hidden, head, targets, {
      softCap,
      smoothing,
      ...(supervised === undefined ? {} : { supervised })
    }),
    1
  )
