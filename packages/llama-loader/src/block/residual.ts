/** How attention and feed-forward network join the residual stream x [tokens, hidden]. */
import { addRows } from "@graft/core"
import type { Residual } from "./Layer.ts"

/** h = x + attention(norm(x)),  h + mlp(norm(h)) */
export const preNorm: Residual = {
  norms: ({ hiddenSize: width }) => [
    { module: "input_layernorm", width },
    { module: "post_attention_layernorm", width }
  ],
  forward: (layer, x, attention, mlp) => {
    const { g, norm, addNorm } = layer
    const mixed = attention.forward(layer, norm("input_layernorm", x))
    const [h, normed] = addNorm("post_attention_layernorm", x, mixed)
    return addRows(g, h, mlp.forward(layer, normed), 0, 1)
  }
}

/** h = x + norm(attention(norm(x))),  h + norm(mlp(norm(h))): what each half adds is normed too (Gemma 2 and 3). */
export const sandwichNorm: Residual = {
  norms: ({ hiddenSize: width }) => [
    { module: "input_layernorm", width },
    { module: "post_attention_layernorm", width },
    { module: "pre_feedforward_layernorm", width },
    { module: "post_feedforward_layernorm", width }
  ],
  forward: (layer, x, attention, mlp) => {
    const { g, norm, addNorm } = layer
    const mixed = norm("post_attention_layernorm", attention.forward(layer, norm("input_layernorm", x)))
    const [h, normed] = addNorm("pre_feedforward_layernorm", x, mixed)
    const fed = mlp.forward(layer, normed)
    return addRows(g, h, norm("post_feedforward_layernorm", fed), 0, 1)
  }
}
