/** Runs in the report's page: draws each chart of its data into #charts. */
export const script = `
const charts = JSON.parse(document.getElementById("data").textContent)
const colours = ["#3b7dd8", "#e07b39", "#3fa66b", "#b05fc4", "#c9a227", "#d1495b", "#4aa3a2"]
const ink = getComputedStyle(document.body).color
const grid = getComputedStyle(document.documentElement).getPropertyValue("--line")
const bytes = (v) => v == null ? "" : v >= 1e9 ? (v / 1e9).toFixed(2) + " GB" : v >= 1e6 ? (v / 1e6).toFixed(1) + " MB" : (v / 1e3).toFixed(0) + " kB"
const plain = (v) => v == null ? "" : Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en") : Number(v.toPrecision(5)).toString()
const texts = { bytes, exponent: (v) => v == null ? "" : v === 0 ? "0" : v.toExponential(2) }
const drawn = charts.map((chart) => {
  const figure = document.createElement("figure")
  figure.innerHTML = "<figcaption></figcaption>"
  figure.firstChild.textContent = chart.title
  document.getElementById("charts").append(figure)
  const text = texts[chart.unit] || plain
  const own = chart.lines.map((line) => line.values)
  const sums = []
  const shown = chart.stacked ? own.map((values, i) => (sums[i] = values.map((v, j) => v + (i > 0 ? sums[i - 1][j] : 0)))) : own
  const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } }
  const options = {
    width: figure.clientWidth, height: 260,
    scales: { x: { time: false }, ...(chart.stacked ? { y: { range: (u, low, high) => [0, high * 1.05] } } : {}) },
    axes: [{ ...axis, label: chart.xLabel, labelSize: 20 }, { ...axis, size: 70, values: (u, ticks) => ticks.map(text) }],
    series: [{ label: chart.xLabel }, ...chart.lines.map((line, i) => ({
      label: line.label, stroke: colours[i % colours.length], width: chart.stacked ? 1 : 1.5, spanGaps: true,
      ...(chart.stacked ? { fill: colours[i % colours.length] + "55" } : {}),
      points: { show: line.values.filter((v) => v !== null).length < 40 },
      value: (u, v, s, at) => at == null ? "" : text(own[i][at])
    }))],
    bands: chart.stacked ? own.slice(1).map((_, i) => ({ series: [i + 2, i + 1] })) : []
  }
  return [figure, new uPlot(options, [chart.x, ...shown], figure)]
})
addEventListener("resize", () => { for (const [figure, plot] of drawn) plot.setSize({ width: figure.clientWidth, height: 260 }) })
`
