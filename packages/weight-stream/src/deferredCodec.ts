/**
 * A codec whose weights are not read while a model loads, where a stream asked for it: they are made for their shapes only,
 * and each of their tensors knows where its bytes lie (`Tensor.source`). Elsewhere it is the codec below.
 */
import type { Codec, Scope, SourceTensor, Weight } from "@graft/core"
import { WeightStreamError } from "./WeightStreamError.ts"

/** The scopes of loads that stream, and which weights these want deferred. */
const wanted = new WeakMap<Scope, (path: string) => boolean>()
export const defer = (scope: Scope, paths: (path: string) => boolean): void => void wanted.set(scope, paths)
export const deferNoMore = (scope: Scope): void => void wanted.delete(scope)

export const deferredCodec = (codec: Codec): Codec => {
  const made = <W extends Weight | undefined>(scope: Scope, path: string, make: () => W): W =>
    wanted.get(scope)?.(path) === true ? scope.queue.mute(make) : make()
  const { adopt } = codec
  return {
    name: codec.name,
    encode: (source, scope, path) => {
      const weight = made(scope, path, () => codec.encode(source, scope, path))
      if (wanted.get(scope)?.(path) === true) requireSources(source, path, weight)
      return weight
    },
    ...(adopt === undefined ? {} : { adopt: (file, path, scope) => made(scope, path, () => adopt(file, path, scope)) })
  }
}

/** Where only shapes are known, a plan speaks of the file that will be prepared. */
const requireSources = (source: SourceTensor, path: string, { storage, codec }: Weight): void => {
  if (source.file === undefined || storage.every((tensor) => tensor.source !== undefined)) return
  throw new WeightStreamError({
    reason: "source",
    message: `${path} is made ${codec} while it loads, and only weights that lie in a file as they are used can stream; prepare it first: graft quantize`
  })
}
