export type { Architecture } from "./architectures/Architecture.ts"
export { architectureOf, architectures } from "./architectures/known.ts"
export {
  type ChatMessage,
  type ChatPiece,
  type ChatTemplate,
  ChatTemplateError,
  chatTemplate,
  type RenderOptions,
  type TemplateTokens
} from "./chat/ChatTemplate.ts"
export { ConfigError, UnknownArchitecture } from "./config/ConfigError.ts"
export { configJson } from "./config/configJson.ts"
export { decodeHuggingFace } from "./config/decodeHuggingFace.ts"
export { encodeHuggingFace } from "./config/encodeHuggingFace.ts"
export { inverseFrequencies } from "./config/inverseFrequencies.ts"
export { LlamaConfig, type Quantization, type RopeScaling } from "./config/LlamaConfig.ts"
export { checkWeights, WeightsMismatch } from "./folder/checkWeights.ts"
export { contentHashes, filesOf, type PreparedFrom } from "./folder/contentFingerprint.ts"
export { describe, parameterCount } from "./folder/describe.ts"
export { type ExpectedTensor, expectedTensors } from "./folder/expectedTensors.ts"
export { TOKENIZER_FILES, type TokenizerTexts, withTokenizer, withTokens } from "./folder/moreTokens.ts"
export { type OpenError, type OpenedModel, openModel } from "./folder/openModel.ts"
export { openFolderShapes, openShapes } from "./folder/openShapes.ts"
export { ggufConfig } from "./gguf/ggufConfig.ts"
export { ggufModule } from "./gguf/ggufNames.ts"
export { ggufTensors } from "./gguf/ggufTensors.ts"
export { rotaryOrder } from "./gguf/rotaryRows.ts"
export { type Decoder, type DecoderOptions, eachLogits, makeDecoder } from "./model/decoding.ts"
export { FullTraining, randomTensors } from "./model/FullTraining.ts"
export { type GenerateOptions, generate, planGeneration } from "./model/generate.ts"
export { LlamaLoader } from "./model/LlamaLoader.ts"
export { describeLlama, type LlamaSource, loadLlama } from "./model/llamaModel.ts"
export { argmax, greedy, type Sampling, sample } from "./model/sampling.ts"
export { folderTokenizer } from "./tokenizer/folderTokenizer.ts"
export { ggufTokenizer } from "./tokenizer/ggufTokenizer.ts"
export { StreamDecoder } from "./tokenizer/StreamDecoder.ts"
export { type Tokenizer, TokenizerError } from "./tokenizer/Tokenizer.ts"
