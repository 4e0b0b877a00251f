"""How the report looks, on a screen and on A4 or Letter paper. No script, no font or picture from elsewhere."""

STYLE = """
:root{--ink:#1b2330;--soft:#5b6675;--line:#dde2e8;--wash:#f5f7f9;--blue:#2f5d8a;--good:#1d7a4c;--good-bg:#e5f4ec;
--bad:#b3261e;--bad-bg:#fbe9e7;--warn:#8a5a00;--warn-bg:#fdf3dc}
*{box-sizing:border-box}
body{font:15px/1.5 "Source Sans 3","Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;color:var(--ink);margin:0;
background:#fff;-webkit-print-color-adjust:exact;print-color-adjust:exact}
main{max-width:1060px;margin:0 auto;padding:40px 28px 60px}
header{border-bottom:3px solid var(--ink);padding-bottom:18px;margin-bottom:22px}
.over{font-size:12px;letter-spacing:.09em;text-transform:uppercase;color:var(--soft);margin:0 0 6px}
h1{font-size:30px;line-height:1.2;margin:0 0 8px;font-weight:650;letter-spacing:-.01em}
h2{font-size:18px;margin:38px 0 10px;font-weight:650;border-bottom:1px solid var(--line);padding-bottom:5px}
h2 span{color:var(--soft);font-weight:400;margin-right:8px}
h3{font-size:15px;margin:20px 0 6px}
p{margin:0 0 10px;max-width:82ch}
.lead{font-size:17px;max-width:82ch}
.whole{white-space:nowrap}
.note{color:var(--soft);font-size:13px}
.chip{display:inline-block;border-radius:99px;padding:1px 10px;font-size:13px;font-weight:600;white-space:nowrap;
background:var(--warn-bg);color:var(--warn)}
.chip.good{background:var(--good-bg);color:var(--good)}.chip.bad{background:var(--bad-bg);color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:14px;margin:16px 0}
.card{border:1px solid var(--line);border-radius:10px;padding:14px 18px;break-inside:avoid}
.card h3{margin:0 0 8px;font-size:17px;display:flex;justify-content:space-between;align-items:center;gap:10px}
.figures{display:grid;grid-template-columns:1fr 1fr;gap:8px 18px;margin:0}
.figures div{min-width:0}
.figures dt{font-size:12px;color:var(--soft)}
.figures dd{margin:0;font-size:18px;font-weight:600;font-variant-numeric:tabular-nums;line-height:1.3}
.figures dd small{font-weight:400;font-size:12.5px;color:var(--soft);display:block}
table{border-collapse:collapse;width:100%;font-size:13px;margin:8px 0 14px;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:600;color:var(--soft);font-size:12px;border-bottom:1.5px solid var(--ink);
padding:4px 10px 4px 0;vertical-align:bottom}
td{border-bottom:1px solid var(--line);padding:5px 10px 5px 0;vertical-align:top}
td.number,th.number{text-align:right}
tr{break-inside:avoid}
code{font:12px/1.4 "JetBrains Mono",ui-monospace,Consolas,monospace;overflow-wrap:anywhere;color:#33415c}
.facts{display:grid;grid-template-columns:190px 1fr;gap:4px 18px;font-size:14px;margin:8px 0 14px}
.facts dt{color:var(--soft)}.facts dd{margin:0;min-width:0}
.scroll{overflow-x:auto}
.timeline{width:100%;height:auto;display:block;margin:6px 0 16px}
.points{columns:3;font-size:12.5px;color:var(--soft);margin:-6px 0 18px;padding-left:20px}
header .note{max-width:none}
.legend{font-size:12.5px;color:var(--soft)}
.legend i{display:inline-block;width:11px;height:11px;border-radius:2.5px;margin:0 5px -1px 14px}
.legend i:first-child{margin-left:0}
.callout{border-left:4px solid var(--blue);background:var(--wash);padding:10px 16px;border-radius:0 6px 6px 0;
margin:14px 0}
.callout p:last-child{margin:0}
footer{margin-top:44px;border-top:1px solid var(--line);padding-top:12px;color:var(--soft);font-size:12.5px}
@media print{@page{size:A4;margin:16mm 15mm 18mm;
@bottom-right{content:counter(page) " / " counter(pages);font:8pt "Segoe UI",Arial,sans-serif;color:#5b6675}}
body{font-size:10.5pt}main{max-width:none;padding:0}
h1{font-size:22pt}h2{break-after:avoid;margin-top:22pt}h3{break-after:avoid}.card{padding:10px 14px}
.cards{grid-template-columns:1fr 1fr}.scroll{overflow:visible}table{font-size:8.8pt}code{font-size:8pt}
thead{display:table-header-group}.timeline{break-inside:avoid}footer{margin-top:10pt;break-before:avoid}}
""".strip()

# Stands within each drawing: what prints a page to PDF styles a drawing by nothing outside of it, without variables.
DRAWING_STYLE = """
.timeline text{font-family:"Segoe UI",Arial,sans-serif;font-size:12.5px;fill:#1b2330}
.timeline .label{text-anchor:end}
.timeline .time{text-anchor:middle;fill:#5b6675}
.timeline .marked{fill:#fff;font-size:11.5px;font-weight:700;text-anchor:middle}
.timeline .point{fill:#1b2330}.timeline .point.rollback{fill:#b3261e}
.timeline .tick{stroke:#dde2e8}
.timeline .mark{stroke:#1b2330;stroke-dasharray:3 3}.timeline .mark.rollback{stroke:#b3261e}
.timeline .do{fill:#4a7fb5}.timeline .undo{fill:#d99a2b}.timeline .failed{fill:#b3261e}
""".strip()
