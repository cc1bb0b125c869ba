import { chatFlags } from "../flags/generateFlags.ts"
import { verb } from "./verb.ts"

export const chat = verb("chat", {
  description: "Talk with a model; an empty line or Ctrl-D ends it",
  examples: [
    { command: "graft chat --model ./model --adapter my-adapter", description: "with the adapter that was trained" }
  ],
  config: chatFlags,
  load: () => import("../verbs/chat.ts").then((module) => module.chat)
})
