export { type ByteSource, memorySource, openFile } from "./ByteSource.ts"
export { FileError, fileError } from "./FileError.ts"
export { fromThrowing } from "./fromThrowing.ts"
export { int64Bytes, integersOf } from "./integers.ts"
export { keptHash } from "./keptHash.ts"
export { openSafetensors } from "./openSafetensors.ts"
export { joinShards, openSharded, parseShardIndex } from "./openSharded.ts"
export {
  type ComputeTensor,
  parseSafetensors,
  type SafetensorsFile,
  type SafetensorsTensor
} from "./parseSafetensors.ts"
export { removeHalves } from "./removeHalves.ts"
export { type Chunks, replaceFile } from "./replaceFile.ts"
export { FreeSpace, type Need, NotEnoughDisk, requireSpace } from "./requireSpace.ts"
export {
  bitsOf,
  type ComputeDtype,
  computeDtypeOf,
  isSafetensorsDtype,
  type SafetensorsDtype,
  safetensorsDtypeOf
} from "./SafetensorsDtype.ts"
export { SafetensorsError } from "./SafetensorsError.ts"
export { isJsonObject, type JsonObject, type JsonValue, strictJson } from "./strictJson.ts"
export {
  safetensorsChunks,
  safetensorsLayout,
  type TensorToWrite,
  type WriteOptions,
  writeSafetensors
} from "./writeSafetensors.ts"
