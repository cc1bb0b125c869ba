/** config.json as text. transformers 5 refuses a whole number where its class says float, and JSON.stringify knows no 30.0. */
const floats = /"(attn_logit_softcapping|final_logit_softcapping)": (\d+)(?=[,\n])/g

export const configJson = (config: object): string =>
  `${JSON.stringify(config, null, 2)}\n`.replace(floats, '"$1": $2.0')
