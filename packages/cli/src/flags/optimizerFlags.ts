/** Which optimiser, with how many bits of state, in how much memory. */
import * as Flag from "effect/cli/Flag"
import { byteSize } from "./byteSize.ts"
import { maybe } from "./maybe.ts"
import { fraction, nonNegative, positive } from "./numbers.ts"

const described =
  (description: string) =>
  <A>(flag: Flag.Flag<A>): Flag.Flag<A> =>
    Flag.withDescription(flag, description)

export const optimizerFlags = {
  optimizer: Flag.String("optimizer").pipe(
    Flag.withAlias("optim"),
    Flag.withMetavar("NAME"),
    Flag.withDefault("adamw"),
    described(
      "adamw, adam, lion or sgd; with -8bit for state in 8 bits, paged- before it for state under --optimizer-memory: paged-adamw-8bit. The names of TRL and bitsandbytes serve too, as paged_adamw_32bit (default adamw)"
    )
  ),
  optimizerMemory: maybe(
    byteSize("optimizer-memory").pipe(
      Flag.withMetavar("SIZE"),
      described(
        "the most memory that its state may take, as 32MiB; the rest lies in a file (default for paged-: 256MiB)"
      )
    )
  ),
  spillFolder: maybe(
    Flag.String("spill-folder").pipe(
      Flag.withMetavar("DIR"),
      described("where that file lies while the run lasts (default --out)")
    )
  ),
  weightDecay: nonNegative("weight-decay").pipe(
    Flag.withDefault(0),
    described("decoupled, but for adam and sgd; not on norms and biases (default 0)")
  ),
  adamBeta1: maybe(fraction("adam-beta1").pipe(described("decay of the first moment, Lion's too (default 0.9)"))),
  adamBeta2: maybe(
    fraction("adam-beta2").pipe(described("decay of the second moment (default 0.999; Lion's other one: 0.99)"))
  ),
  adamEpsilon: maybe(nonNegative("adam-epsilon").pipe(described("(default 1e-8)"))),
  momentum: maybe(fraction("momentum").pipe(described("of sgd (default 0.9)"))),
  loraPlusRatio: maybe(
    positive("lora-plus-ratio").pipe(
      described("LoRA+: B learns so many times as fast as A (arXiv:2402.12354; 16 in the paper; default 1)")
    )
  ),
  groupLearningRate: maybe(
    Flag.KeyValuePair("group-learning-rate").pipe(
      described(
        "peak rate of one group of parameters: --group-learning-rate lora_B=3e-4; may be repeated. Groups: lora_A, lora_B, lora_magnitude_vector; of the model itself embedding (with the head), norm, base"
      )
    )
  )
}
