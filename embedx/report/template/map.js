const canvas = $("map"), tip = $("tip");
let placed = [];

/* groups by their number of clips, so that the large ones get the first colours */
const groupSizes = new Map();
for (const clip of D.clips) if (clip.group !== null) groupSizes.set(clip.group, (groupSizes.get(clip.group) || 0) + 1);
const GROUPS = [...groupSizes.keys()].sort((a, b) => groupSizes.get(b) - groupSizes.get(a));
const groupNumber = new Map(GROUPS.map((name, i) => [name, i]));
/* what colour and shape of a dot stand for: its class, or its group */
const kindOf = (clip) => (state.color === "group" ? groupNumber.get(clip.group) ?? -1 : clip.label);

function prediction(i) {
  const said = D.predictions[state.head];
  return said.predicted[i] < 0 ? null : { label: said.predicted[i], sure: said.confidence[i], right: said.predicted[i] === D.clips[i].label };
}

function drawMap() {
  const view = D.map.find((one) => one.name === state.view);
  if (!view) return;
  const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight, pad = 22;
  canvas.width = w * ratio; canvas.height = h * ratio;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, w, h);
  const xs = view.xy.map((p) => p[0]), ys = view.xy.map((p) => p[1]);
  const lx = Math.min(...xs), ly = Math.min(...ys), sx = Math.max(...xs) - lx || 1, sy = Math.max(...ys) - ly || 1;
  placed = view.xy.map((p) => [pad + ((p[0] - lx) / sx) * (w - 2 * pad), h - pad - ((p[1] - ly) / sy) * (h - 2 * pad)]);
  const size = placed.length > 1500 ? 3 : placed.length > 500 ? 4 : 5.5, colors = [...Array(PAL)].map((_, i) => colorOf(i)), good = css("--good"), bad = css("--bad"), soft = css("--soft"), card = css("--card");
  const order = placed.map((_, i) => i);
  if (state.color === "error") order.sort((a, b) => Number((prediction(a) || { right: true }).right === false) - Number((prediction(b) || { right: true }).right === false));
  for (const i of order) {
    const said = prediction(i), label = kindOf(D.clips[i]);
    const path = new Path2D(state.color === "error" ? shapePath(said && !said.right ? "cross" : "circle", placed[i][0], placed[i][1], said && !said.right ? size * 1.1 : size * 0.9) : shapePath(label < 0 ? "circle" : shapeOf(label), placed[i][0], placed[i][1], size));
    pen.globalAlpha = state.color === "error" && said && said.right ? 0.5 : 0.88;
    pen.fillStyle = state.color === "error" ? (said === null ? soft : said.right ? good : bad) : label < 0 ? soft : colors[label % PAL];
    pen.fill(path);
    pen.globalAlpha = 1; pen.strokeStyle = card; pen.lineWidth = 0.8; pen.stroke(path);
  }
  if (state.selected >= 0) { pen.beginPath(); pen.arc(placed[state.selected][0], placed[state.selected][1], size + 6, 0, 7); pen.lineWidth = 2.5; pen.strokeStyle = css("--ink"); pen.stroke(); }
  drawLegend();
}

function drawLegend() {
  const mark = (shape, color) => { const icon = svg("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }); icon.append(svg("path", { d: shapePath(shape, 7, 7, 5), fill: color })); return icon; };
  const items = state.color === "error" ? [["circle", "var(--good)", `right (${row(state.head).title})`], ["cross", "var(--bad)", "wrong"]] : (state.color === "group" ? GROUPS : D.classes).map((name, i) => [shapeOf(i), `var(--c${i % PAL})`, name]);
  const more = items.length > 60 ? el("span", {}, `and ${items.length - 40} more ${state.color === "group" ? "groups" : "classes"}, in the same colours and shapes`) : null;
  $("legend").replaceChildren(...items.slice(0, more ? 40 : 60).map(([shape, color, text]) => el("span", {}, mark(shape, color), text)), ...(more ? [more] : []));
}

function nearest(x, y, reach) {
  let best = -1, least = reach * reach;
  placed.forEach(([px, py], i) => { const far = (px - x) ** 2 + (py - y) ** 2; if (far < least) { least = far; best = i; } });
  return best;
}
function describe(i) {
  const clip = D.clips[i], said = prediction(i);
  return [el("strong", {}, D.classes[clip.label]), el("br"), clip.id, el("br"), said === null ? "not tested" : el("span", {}, `heard as ${D.classes[said.label]}, ${pct(said.sure, 0)} sure`)];
}
function showTip(i) {
  if (i < 0) { tip.hidden = true; canvas.style.cursor = "crosshair"; return; }
  canvas.style.cursor = "pointer";
  tip.replaceChildren(...describe(i)); tip.hidden = false;
  const [x, y] = placed[i], w = canvas.clientWidth;
  tip.style.left = Math.max(6, Math.min(x + 12, w - tip.offsetWidth - 6)) + "px";
  tip.style.top = (y + 16 + tip.offsetHeight > canvas.clientHeight ? Math.max(4, y - tip.offsetHeight - 12) : y + 14) + "px";
}
function select(i) {
  state.selected = i;
  const box = $("detail");
  if (i < 0) { box.replaceChildren(el("p", { class: "hint" }, "Click a dot: its label, what the head heard, and the recording appear here.")); drawMap(); return; }
  const clip = D.clips[i], said = prediction(i);
  box.replaceChildren(el("h3", {}, D.classes[clip.label]), el("small", {}, clip.id), el("p", {}, said === null ? "Not tested." : el("span", { class: said.right ? "rightly" : "wrongly" }, `${said.right ? "Rightly" : "Wrongly"} heard as ${D.classes[said.label]} (${pct(said.sure, 0)} sure) by ${row(state.head).title}`), el("br"), `${clip.seconds.toFixed(1)} s`, clip.group ? `, group ${clip.group}` : "", clip.fold ? `, fold ${clip.fold}` : ""), player(i));
  drawMap();
}
function step(dx, dy) {
  if (!placed.length) return;
  if (state.selected < 0) { select(nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, 1e6)); showTip(state.selected); return; }
  const [x, y] = placed[state.selected];
  let best = -1, least = Infinity;
  placed.forEach(([px, py], i) => {
    const ahead = (px - x) * dx + (py - y) * dy, aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
    if (i !== state.selected && ahead > 0.01 && ahead + 2 * aside < least) { least = ahead + 2 * aside; best = i; }
  });
  if (best >= 0) { select(best); showTip(best); }
}
function at(event) { const box = canvas.getBoundingClientRect(); return nearest(event.clientX - box.left, event.clientY - box.top, 16); }

function choice(name, options, current, change) {
  const box = el("span", { class: "seg", role: "group", "aria-label": name });
  for (const [value, text] of options) box.append(el("button", { type: "button", "aria-pressed": String(value === current()), onclick: () => { change(value); for (const button of box.children) button.setAttribute("aria-pressed", String(button === document.activeElement || button.dataset.value === current())); sync(); }, "data-value": value }, text));
  function sync() { for (const button of box.children) button.setAttribute("aria-pressed", String(button.dataset.value === current())); }
  return box;
}

function startMap() {
  if (!D.map.length) { $("map-card").hidden = true; return; }
  if (D.map.length > 1) $("map-choices").append(choice("Projection", D.map.map((one) => [one.name, one.name]), () => state.view, (value) => { state.view = value; drawMap(); }));
  $("map-choices").append(choice("Colour", [["class", "by class"], ...(GROUPS.length > 1 ? [["group", "by group"]] : []), ["error", "by error"]], () => state.color, (value) => { state.color = value; drawMap(); }));
  if (D.clips.length < D.n_clips) $("map-hint").append(` Shown: ${D.clips.length} of ${D.n_clips} clips, a sample of every class and those worth hearing; tables and predictions.csv have all.`);
  canvas.addEventListener("mousemove", (event) => showTip(at(event)));
  canvas.addEventListener("mouseleave", () => showTip(-1));
  canvas.addEventListener("click", (event) => { const i = at(event); if (i >= 0) { select(i); const audio = $("detail").querySelector("audio"); if (audio) audio.play().catch(() => {}); } });
  canvas.addEventListener("blur", () => showTip(-1));
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (moves[event.key]) { event.preventDefault(); step(...moves[event.key]); }
    else if (event.key === "Enter" || event.key === " ") { event.preventDefault(); const audio = $("detail").querySelector("audio"); if (audio) audio.play().catch(() => {}); }
    else if (event.key === "Escape") { showTip(-1); select(-1); }
  });
  select(-1);
}

function clipList(id, title, hint, items) {
  const box = $(id), list = el("ul", { class: "clips" }), first = 6;
  const lines = items.map((item) => { const clip = D.clips[item.clip]; return el("li", {}, el("div", { class: "what" }, el("b", {}, D.classes[clip.label]), el("span", { class: "wrongly" }, item.text)), el("small", {}, clip.id), player(item.clip)); });
  list.append(...lines.slice(0, first));
  box.replaceChildren(el("h3", {}, title), el("p", { class: "hint" }, hint), items.length ? list : el("p", {}, "None."));
  if (lines.length > first) { const more = el("button", { type: "button", class: "more", onclick: () => { list.append(...lines.slice(first)); more.remove(); lines[first].setAttribute("tabindex", "-1"); lines[first].focus(); } }, `Show ${lines.length - first} more`); box.append(more); }
}
function drawLists() {
  clipList("mislabelled", "Perhaps labelled wrongly", D.mislabelled_hint, D.mislabelled.map((one) => ({ clip: one.clip, text: `sounds more like ${D.classes[one.as]} (${pct(one.p, 0)}; its own label ${pct(one.own, 0)})` })));
  const wrong = D.clips.map((_, i) => ({ clip: i, said: prediction(i) })).filter((one) => one.said && !one.said.right).sort((a, b) => b.said.sure - a.said.sure).slice(0, 24);
  clipList("wrong", "Most confidently wrong", `Where ${row(state.head).title} was surest and mistaken, each clip by a head that never learned from it.`, wrong.map((one) => ({ clip: one.clip, text: `heard as ${D.classes[one.said.label]}, ${pct(one.said.sure, 0)} sure` })));
}

function drawHead() { drawConfusion(); drawRecall(); drawReliability(); drawFolds(); drawMap(); drawLists(); if (state.selected >= 0) select(state.selected); }
function paint(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = theme === "dark" ? "Light" : "Dark";
  drawConfusion(); drawMap();
}

$("head").append(...D.rows.map((one) => el("option", { value: one.name, selected: one.name === D.best }, one.title)));
$("head").addEventListener("change", (event) => { state.head = event.target.value; drawHead(); });
let drawnFor = String([isNarrow(), isPhone()]);
window.addEventListener("resize", () => {
  if (drawnFor === String([isNarrow(), isPhone()])) { drawMap(); return; }
  drawnFor = String([isNarrow(), isPhone()]);
  drawTable(); drawCurves(); drawHead();
});
$("theme").addEventListener("click", () => paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
document.documentElement.dataset.theme = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
drawTop(); drawTable(); drawTests(); drawEncoders(); drawGroups(); drawFacts(); drawFindings(); drawCurves(); startMap(); drawHead();
paint(document.documentElement.dataset.theme);
document.documentElement.dataset.ready = "yes";
