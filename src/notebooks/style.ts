/** The look of the book's pages: a narrow column of text, code and results set apart, two sets of colours, print. */

const LIGHT = `--ground:#fff;--ink:#1b1f24;--faint:#57606a;--line:#d8dee4;--code:#f6f8fa;--link:#0a5fa4;--bad:#a33b00;--bad-ground:#fff4ec;
--keyword:#a1260d;--string:#0a5040;--comment:#5f6b76;--number:#0550ae;--name:#6639a6`;
const DARK = `--ground:#14181d;--ink:#dfe4ea;--faint:#98a3af;--line:#343b44;--code:#1c2229;--link:#6cb6ff;--bad:#ffab70;--bad-ground:#33241a;
--keyword:#ff8f70;--string:#8ddbb7;--comment:#98a3af;--number:#7cc0ff;--name:#d2a8ff`;

export const STYLE = `
:root{${LIGHT};color-scheme:light}
@media (prefers-color-scheme:dark){:root:not([data-colours=light]){${DARK};color-scheme:dark}}
:root[data-colours=dark]{${DARK};color-scheme:dark}
*{box-sizing:border-box}
body{margin:0 auto;max-width:860px;padding:0 20px 40px;background:var(--ground);color:var(--ink);font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
a{color:var(--link)}
h1,h2,h3,h4{line-height:1.25;margin:1.6em 0 .5em}
h1{font-size:1.9em;margin-top:.8em}
h2{border-bottom:1px solid var(--line);padding-bottom:.2em}
pre,code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:13.5px}
p code,li code,td code{background:var(--code);padding:.1em .3em;border-radius:4px}
pre{overflow-x:auto;line-height:1.5;margin:.6em 0}
pre.code,.text pre{background:var(--code);border:1px solid var(--line);border-radius:6px;padding:10px 12px}
blockquote{margin:1em 0;padding:.1em 1em;border-left:4px solid var(--line);color:var(--faint)}
.cell{position:relative;margin:1em 0}
.count{position:absolute;right:100%;top:11px;padding-right:8px;color:var(--faint);font:12px ui-monospace,monospace}
.outputs{padding:0 0 0 12px;border-left:3px solid var(--line);margin-left:1px}
.outputs pre{max-height:480px;overflow:auto}
pre.stderr,pre.failure{color:var(--bad);background:var(--bad-ground);padding:8px 12px;border-radius:6px;white-space:pre-wrap}
.html{overflow-x:auto;contain:layout paint}
img{max-width:100%}
.picture{display:block;height:auto;background:#fff;border-radius:6px;margin:.6em 0}
table{border-collapse:collapse;margin:.8em 0;font-size:14.5px;font-variant-numeric:tabular-nums}
.text table{display:block;overflow-x:auto}
caption{text-align:left;color:var(--faint);padding-bottom:.3em}
th,td{padding:3px 12px 3px 0;border-bottom:1px solid var(--line);text-align:left}
th{font-weight:600}
.katex-display{overflow-x:auto;overflow-y:hidden;padding:.2em 0}
nav.bar{display:flex;justify-content:space-between;gap:16px;flex-wrap:wrap;padding:14px 0;font-size:14px;border-bottom:1px solid var(--line)}
main+nav.bar{border-bottom:0;border-top:1px solid var(--line);margin-top:2.5em}
nav.contents{font-size:14px;margin-top:1em;color:var(--faint)}
nav.contents ul{list-style:none;padding-left:1em;margin:.4em 0}
.level-3{padding-left:1.2em}
button.colours{font:inherit;background:none;border:1px solid var(--line);border-radius:6px;color:inherit;padding:0 8px;cursor:pointer}
.chapters{list-style:none;padding:0}
.chapters li{padding:.7em 0;border-bottom:1px solid var(--line)}
.chapters p{margin:.2em 0;color:var(--faint)}
.failed{color:var(--bad)}
.hljs-comment,.hljs-quote{color:var(--comment)}
.hljs-keyword,.hljs-literal,.hljs-built_in,.hljs-type{color:var(--keyword)}
.hljs-string,.hljs-regexp,.hljs-attr,.hljs-subst .hljs-string{color:var(--string)}
.hljs-number,.hljs-symbol,.hljs-meta{color:var(--number)}
.hljs-title,.hljs-class,.hljs-property .hljs-title{color:var(--name)}
.hljs-subst{color:inherit}
@media (max-width:980px){.count{display:none}}
@media print{
:root,:root[data-colours=dark]{${LIGHT};color-scheme:light}
body{max-width:none;font-size:11pt}
nav,button{display:none!important}
pre{white-space:pre-wrap}
.outputs pre{max-height:none}
.picture,tr,h2,h3{break-inside:avoid}h2,h3{break-after:avoid}
}`;
