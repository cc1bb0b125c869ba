/**
 * report.html: one file that opens without a network. The curves are drawn by uPlot, which is put into the page; the data
 * stands in it as JSON.
 */
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { script } from "./pageScript.ts"
import { style } from "./pageStyle.ts"

/** What the page shows; its script knows these names. */
export interface ReportData {
  readonly title: string
  /** Pairs of a name and a value, in cards at the top. */
  readonly facts: ReadonlyArray<readonly [string, string]>
  readonly charts: ReadonlyArray<Chart>
  readonly samples: ReadonlyArray<{ readonly prompt: string; readonly before: string; readonly after: string }>
  readonly recipe: string
  readonly versions: string
}
export interface Chart {
  readonly title: string
  /** Values along the horizontal axis, and what they are. */
  readonly x: ReadonlyArray<number>
  readonly xLabel: string
  /** `null` where a line has no value. Stacked lines are areas, one on top of the other. */
  readonly lines: ReadonlyArray<{ readonly label: string; readonly values: ReadonlyArray<number | null> }>
  readonly stacked?: boolean
  readonly unit?: "bytes" | "exponent"
}

const asset = (name: string): string =>
  readFileSync(createRequire(import.meta.url).resolve(`uplot/dist/${name}`), "utf8")
const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)

export const reportPage = (data: ReportData): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(data.title)}</title>
<style>${asset("uPlot.min.css")}</style>
<style>${style}</style>
</head>
<body>
<main>
<h1>${escapeHtml(data.title)}</h1>
<dl class="facts">${data.facts.map(([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`).join("")}</dl>
<div id="charts"></div>
${data.samples.length === 0 ? "" : `<h2>Before and after</h2>${data.samples.map(sampleHtml).join("")}`}
<h2>Recipe</h2><pre>${escapeHtml(data.recipe)}</pre>
<h2>Versions</h2><pre>${escapeHtml(data.versions)}</pre>
</main>
<script type="application/json" id="data">${JSON.stringify(data.charts).replaceAll("<", "\\u003c")}</script>
<script>${asset("uPlot.iife.min.js")}</script>
<script>${script}</script>
</body>
</html>
`

const sampleHtml = ({ prompt, before, after }: ReportData["samples"][number]): string =>
  `<article><h3>${escapeHtml(prompt)}</h3><div class="pair"><div><h4>before</h4><p>${escapeHtml(before)}</p></div><div><h4>after</h4><p>${escapeHtml(after)}</p></div></div></article>`
