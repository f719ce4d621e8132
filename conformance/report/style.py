"""The look of our pages: light and dark as the reader's system is, on a phone and on paper. Nothing comes from elsewhere."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --card: #f6f8fa; --line: #d0d7de; --text: #1f2328; --quiet: #59636e; --link: #0550ae;
  --pass: #1a7f37; --pass-soft: #dafbe1; --fail: #b3261e; --fail-soft: #ffe3e0; --skip: #7d5700; --skip-soft: #fff1c9;
  --gone: #7d5700; --changed: #0550ae;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0d1117; --card: #161b22; --line: #3d444d; --text: #e6edf3; --quiet: #9da7b3; --link: #79c0ff;
    --pass: #56d364; --pass-soft: #12361f; --fail: #ff8b82; --fail-soft: #4a1a17; --skip: #e3b341; --skip-soft: #3a2d0b;
    --gone: #e3b341; --changed: #79c0ff;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; line-height: 1.4; margin: 0; }
h4 { font-size: .75rem; letter-spacing: .05em; text-transform: uppercase; color: var(--quiet); margin: 1rem 0 .25rem; }
p { margin: .5rem 0; }
a { color: var(--link); }
.quiet { color: var(--quiet); }
.outcome {
  border-left: .4rem solid; border-radius: .4rem; padding: .75rem 1rem; margin: 1rem 0; font-size: 1.15rem; font-weight: 600;
}
.pass { color: var(--pass); } .fail { color: var(--fail); } .skip { color: var(--skip); }
.outcome.pass, .chip.pass { background: var(--pass-soft); }
.outcome.fail, .chip.fail { background: var(--fail-soft); }
.outcome.skip, .chip.skip { background: var(--skip-soft); }
dl.about { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .5rem 1.25rem; margin: 1rem 0; }
dl.about div { min-width: 0; }
dt { font-size: .8rem; color: var(--quiet); }
dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
.groups th { width: 1%; white-space: nowrap; padding-right: 1rem; }
thead th { font-size: .8rem; color: var(--quiet); }
.number { text-align: right; }
.zero { color: var(--quiet); }
.bar { display: flex; height: .7rem; min-width: 4rem; border-radius: .35rem; overflow: hidden; margin-top: .45rem; }
.bar span { background: currentColor; }
.bar .skip { color: var(--line); }
.chips { display: flex; flex-wrap: wrap; gap: .3rem; }
.chip {
  display: inline-block; min-width: 3.1rem; padding: .1rem .4rem; border-radius: .35rem; text-align: center; text-decoration: none;
  font-size: .85rem; font-variant-numeric: tabular-nums; white-space: nowrap; border: 1px solid transparent;
}
.chip.fail { border-color: currentColor; font-weight: 700; }
a.chip:hover, a.chip:focus-visible { border-color: currentColor; outline: none; }
.level {
  font-size: .75rem; font-weight: 700; white-space: nowrap; padding: .05rem .35rem; border: 1px solid var(--line); border-radius: .3rem;
}
.level.MUST { color: var(--fail); border-color: currentColor; }
.level.SHOULD { color: var(--skip); border-color: currentColor; }
article { border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: 0 0 1rem; background: var(--card); }
article:target, tr:target { outline: 2px solid var(--link); }
blockquote { margin: .6rem 0; padding-left: .8rem; border-left: .2rem solid var(--line); color: var(--quiet); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1rem; }
.pair > div { min-width: 0; }
pre {
  margin: 0; padding: .6rem .7rem; border: 1px solid var(--line); border-radius: .35rem; background: var(--page);
  font: .82rem/1.5 ui-monospace, "SFMono-Regular", Menlo, "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere;
}
pre .added { color: var(--fail); } pre .gone { color: var(--gone); } pre .changed { color: var(--changed); }
.wide { overflow-x: auto; }
.id, .verdict { white-space: nowrap; }
.wide td, .wide th { overflow-wrap: normal; }
.compared { border-collapse: separate; border-spacing: 0; }
.compared .kind { text-align: center; vertical-align: bottom; }
.compared td.kind { font-size: 1.05rem; vertical-align: top; white-space: nowrap; }
.compared .title { min-width: 14rem; width: 60%; }
.compared .group { padding-top: 1.5rem; font-size: 1.05rem; }
.compared .differs td { background: var(--card); }
.compared .id { position: sticky; left: 0; background: var(--page); }
@media (max-width: 40rem) {
  body { padding: 1rem .75rem 3rem; }
  h1 { font-size: 1.4rem; }
  dl.about { grid-template-columns: 1fr 1fr; }
  .pair { grid-template-columns: 1fr; }
  .summary .picture, .cases .seconds { display: none; }
  th, td { padding: .4rem .35rem; }
  article { padding: .75rem; }
  .groups, .groups tbody, .groups tr, .groups th, .groups td { display: block; border-bottom: 0; }
  .groups thead { display: none; }
  .groups tr { border-bottom: 1px solid var(--line); padding: .2rem 0; }
  .groups th { padding-bottom: 0; } .groups td { padding-top: .2rem; }
  .groups .chip { padding: .3rem .4rem; }
}
@media print {
  :root {
    color-scheme: light;
    --page: #fff; --card: #fff; --line: #c4c9cf; --text: #000; --quiet: #444; --link: #000;
    --pass: #1a7f37; --pass-soft: #dafbe1; --fail: #b3261e; --fail-soft: #ffe3e0; --skip: #7d5700; --skip-soft: #fff1c9;
    --gone: #7d5700; --changed: #0550ae;
  }
  @page { margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  a { text-decoration: none; }
  h2, h3, h4 { break-after: avoid; }
  tr, pre, .pair { break-inside: avoid; }
  .outcome, .chip, .bar span { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
