/**
 * One step of several sessions over one base. All updates are one atomic group, so that a stop finds them at one step. A
 * micro-batch goes through the base once for all of them where that pays (stackOf.ts), else once for each: the bits are equal.
 */
import { type MicroBatch, type Queue, tokensIn } from "@graft/core"
import type { Session, StepScalars } from "./Session.ts"

export const stepTogether = (
  queue: Queue,
  sessions: ReadonlyArray<Session>,
  step: number,
  micro: ReadonlyArray<MicroBatch>,
  rateOf: (session: Session) => number,
  report: (session: Session, scalars: StepScalars) => void,
  /** Whether adapters may share a pass. */
  together = true
): void => {
  const gathered = sessions.map((session) => session.gather(step, micro))
  // One that ended leaves the others to passes of their own, whose memory is planned too.
  const stack = together && sessions.length > 1 ? sessions[0]?.stack : undefined
  const whole = stack?.adapters === sessions.length ? stack : undefined
  for (const documents of micro) {
    if (whole?.takes(tokensIn(documents)) === true) whole.pass(gathered, step, documents)
    else for (const one of gathered) one.pass(documents)
  }
  for (const one of gathered) one.close()
  const scalars: Array<readonly [Session, StepScalars]> = []
  queue.atomic(() => {
    for (const one of gathered) one.commit(rateOf(one.session), (s) => scalars.push([one.session, s]))
  })
  for (const [session, s] of scalars) report(session, s)
  for (const one of gathered) one[Symbol.dispose]()
}
