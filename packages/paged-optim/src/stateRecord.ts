/**
 * How optimiser state lies in memory, in pages and in checkpoints: a record for each block of 256 parameters, one after the
 * other, so that any run of blocks is one run of bytes. For a block of n ≤ 256 (the last of a tensor may be shorter):
 *
 *   32 bits   state1 f32 [n], state2 f32 [n]
 *    8 bits   absmax f32 [states], codes1 u8 [n], codes2 u8 [n]     state = map[code] · absmax, state2 by the unsigned map
 *
 * with state2 where the optimiser has two. So 4 or 8 bytes a parameter, or 1 + 4/256 = 1.015625 or 2.03125. A record of
 * zeros is the state before the first step.
 */
export const BLOCK = 256

export type Bits = 8 | 32
export type States = 1 | 2

/** Bytes of the record of a block of `n` parameters. */
export const recordBytes = (bits: Bits, states: States, n: number): number =>
  bits === 32 ? 4 * states * n : states * (4 + n)

/** Bytes of the records of `count` parameters that begin a block. */
export const runBytes = (bits: Bits, states: States, count: number): number =>
  Math.floor(count / BLOCK) * recordBytes(bits, states, BLOCK) +
  (count % BLOCK === 0 ? 0 : recordBytes(bits, states, count % BLOCK))
