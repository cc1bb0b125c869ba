import test from "node:test"
import { assertClose } from "../../../testing/src/closeness.ts"
import { onReference } from "../../../testing/src/onReference.ts"
import { tensorOf } from "../../../testing/src/tensorOf.ts"
import { Graph } from "../Tape.ts"
import { geglu } from "./gatedUnit.ts"

/** torch.nn.functional.gelu(gate, approximate="tanh") · up in f64, with its gradients for d. */
const gate = [-30, -8, -5, -3, -1.5, -0.7517916, -0.1, 0, 0.1, 0.5, 1, 2.5, 6, 30]
const up = gate.map((_, i) => -1.5 + (3.5 * i) / 13)
const d = gate.map((_, i) => 1 - (2 * i) / 13)
const y = [
  0, 0, 2.20365019e-7, 0.00251819452, 0.0424889482, 0.0261601006, -0.00530968257, 0, 0.0352964141, 0.319120624,
  1.00295968, 3.63179992, 10.3846154, 60
]
const dGate = [
  0, 0, 1.02938298e-6, 0.00431835797, 0.0207813421, -1.0241373e-5, 0.00373205512, -0.0147928994, -0.0874426368,
  -0.307941978, -0.695275758, -1.05023503, -1.46449704, -2
]
const dUp = [
  0, 0, -1.58662814e-7, -0.00195859574, -0.0386263165, -0.0392401509, -0.00353978838, 0, -0.0124575579, -0.132966927,
  -0.452949533, -1.72032628, -5.07692308, -30
]

test("geglu is torch's GELU by tanh times up, forwards and backwards", () =>
  onReference(async (queue, scope) => {
    const [g1, u1, dy] = [gate, up, d].map((values, i) => tensorOf(scope, `${i}`, [14], values))
    const [toGate, toUp] = [scope.tensor([14], "dGate"), scope.tensor([14], "dUp")]
    using g = new Graph(queue)
    g.watch(g1!, u1!)
    const out = geglu(g, g1!, u1!)
    const value = queue.read(out)
    g.backward(out, dy!, (t) => ({ tensor: t === g1 ? toGate : toUp, accumulate: false }))
    assertClose(await value, y, 1e-6, "y")
    assertClose(await queue.read(toGate), dGate, 1e-6, "dGate")
    assertClose(await queue.read(toUp), dUp, 1e-6, "dUp")
  }))
