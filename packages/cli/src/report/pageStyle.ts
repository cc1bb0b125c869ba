/** How the report looks, in light and in dark. */
export const style = `
:root { color-scheme: light dark; --ink: #1c1c1e; --quiet: #6b6b70; --paper: #fff; --card: #f4f4f6; --line: #dcdce0 }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --quiet: #9a9aa2; --paper: #17171a; --card: #222226; --line: #38383e } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 1100px; margin: 0 auto; padding: 24px 20px 64px }
h1 { font-size: 24px } h2 { font-size: 18px; margin-top: 40px } h3 { font-size: 15px; margin: 0 0 8px }
h4 { font-size: 12px; margin: 0; color: var(--quiet); font-weight: 500 }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 10px; margin: 0 0 24px }
.facts div { background: var(--card); border-radius: 8px; padding: 10px 12px }
dt { font-size: 12px; color: var(--quiet) } dd { margin: 0; font-size: 17px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
#charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(460px, 1fr)); gap: 24px }
@media (max-width: 520px) { #charts { grid-template-columns: 1fr } }
figure { margin: 0; min-width: 0 } figcaption { font-weight: 600; margin-bottom: 4px }
article { border-top: 1px solid var(--line); padding: 14px 0 }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 20px } .pair p { margin: 2px 0; white-space: pre-wrap }
pre { background: var(--card); border-radius: 8px; padding: 14px; overflow-x: auto; font-size: 13px }
.u-legend { font-size: 12px; text-align: left }
`
