/**
 * Names under which models know the end of a text or of a turn (llama.cpp, src/llama-vocab.cpp, special_eog_ids). Files often
 * name only one of the two as EOS, so that the others are found by their text.
 */
export const endsOfTurn: ReadonlySet<string> = new Set([
  "<|eot_id|>",
  "<|eom_id|>",
  "<|im_end|>",
  "<|end|>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<end_of_turn>",
  "<EOT>",
  "</s>",
  "<｜end▁of▁sentence｜>"
])
