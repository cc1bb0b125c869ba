/** Counts checks one by one and says at the end which failed. Needs nothing installed. */

export class Checks {
  passed = 0
  readonly failures: Array<string> = []

  /** Counts one check; `detail` is shown when it failed. */
  record(name: string, ok: boolean, detail = ""): void {
    if (ok) {
      this.passed += 1
      console.log(`ok    ${name}`)
    } else {
      this.failures.push(name)
      console.log(`FAIL  ${name}${detail === "" ? "" : `\n${detail.trimEnd().replace(/^/gm, "      ")}`}`)
    }
  }

  /** Runs a part of the whole under a headline with its time; what it throws is one failure, and the rest goes on. */
  async part(name: string, run: () => Promise<void>): Promise<void> {
    console.log(`\n── ${name}`)
    const start = performance.now()
    try {
      await run()
    } catch (error) {
      this.record(name, false, error instanceof Error ? (error.stack ?? error.message) : String(error))
    }
    console.log(`   ${((performance.now() - start) / 1000).toFixed(1)} s`)
  }

  /** Prints the failures again and the closing line, and sets the exit code. */
  close(): void {
    if (this.failures.length > 0) console.log(`\nFailed:\n${this.failures.map((name) => `  ${name}`).join("\n")}`)
    console.log(`\n${this.passed} passed, ${this.failures.length} failed`)
    process.exitCode = this.failures.length === 0 ? 0 : 1
  }
}
