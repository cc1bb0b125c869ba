/** LoRA, rsLoRA and DoRA over any frozen weight, in PEFT's adapter format. */
export * from "./adapterConfig.ts"
export { doraLinear, doraNorm } from "./dora.ts"
export * from "./Lora.ts"
export * from "./LoraOptions.ts"
export * from "./loraPlan.ts"
export * from "./readAdapter.ts"
export * from "./targetModules.ts"
export { wholeProblem, wholeTensors } from "./wholeModules.ts"
