const points = (value) => (value >= 0 ? "+" : "\u2212") + fixed(Math.abs(100 * value), 1);

function drawTop() {
  const best = row(D.best), guess = D.guess;
  document.title = D.title;
  $("headline").textContent = D.headline;
  $("subline").textContent = D.subline;
  const bounds = best.intervals.accuracy;
  const tiles = [
    [pct(best.scores.accuracy), `accuracy of ${best.title}` + (bounds ? `, ${pct(bounds[0])} to ${pct(bounds[1])}` : "")],
    [points(best.scores.accuracy - guess), "points over guessing (" + pct(guess) + ")"],
    [String(D.n_clips), `clips of ${D.classes.length} classes` + (D.n_groups ? ` from ${D.n_groups} groups` : "") + `, ${D.folds_text}`],
  ];
  if (D.control) tiles.splice(2, 0, [points(D.control.difference), `points against log-mel alone (${pct(D.control.accuracy)}): ${D.control.real ? "a real difference" : "within chance"}`]);
  $("tiles").append(...tiles.map(([big, small]) => el("div", { class: "tile" }, el("b", {}, big), el("span", {}, small))));
  $("verdict").append(...D.verdict.map((text) => { const at = text.indexOf("?") + 1; return at && at < 40 ? el("li", {}, el("b", {}, text.slice(0, at)), text.slice(at)) : el("li", {}, text); }));
  $("notes").append(...D.notes.map((text) => el("p", { class: "note" }, text)));
}

const COLUMNS = [
  ["accuracy", "accuracy", true, true], ["balanced_accuracy", "balanced", true, true], ["macro_f1", "macro F1", true, true],
  ["log_loss", "log-loss", false, false], ["brier", "Brier", false, false], ["ece", "calibration error", false, false],
];
let sorting = null;

function intervalScale(low) { const w = isPhone() ? 120 : 140; return [w, (value) => 8 + ((value - low) / (1 - low)) * (w - 18)]; }
function intervalAxis(low) {
  const [w, x] = intervalScale(low), node = plot(w, 15, "Scale of accuracy in percent");
  node.style.width = w + "px";
  for (const tick of ticks(low, 1, isPhone() ? 2 : 4)) node.append(svg("text", { x: x(tick), y: 12, "text-anchor": "middle" }, short(100 * tick)));
  return node;
}

function intervalCell(one, low) {
  const [w, x] = intervalScale(low), h = 34;
  const node = plot(w, h, `accuracy ${pct(one.scores.accuracy)}`);
  node.style.width = w + "px"; node.style.margin = "-7px 0";
  for (const tick of ticks(low, 1, 4)) node.append(svg("line", { class: "gridline", x1: x(tick), x2: x(tick), y1: 0, y2: h }));
  if (D.guess >= low) node.append(svg("line", { x1: x(D.guess), x2: x(D.guess), y1: 0, y2: h, stroke: "var(--soft)", "stroke-dasharray": "2 3" }));
  const quiet = one.kind === "baseline" || one.kind === "control", color = quiet ? "var(--soft)" : "var(--accent)";
  const bounds = one.intervals.accuracy;
  if (bounds) node.append(svg("line", { x1: x(bounds[0]), x2: x(bounds[1]), y1: h / 2, y2: h / 2, stroke: color, "stroke-width": 7, "stroke-linecap": "round", opacity: 0.35 }));
  else for (const fold of one.folds) node.append(svg("circle", { cx: x(Math.max(low, fold.accuracy)), cy: h / 2, r: 2.5, fill: color, opacity: 0.45 }));
  node.append(svg("circle", { cx: x(Math.max(low, one.scores.accuracy)), cy: h / 2, r: 4.5, fill: color }));
  titled(node, bounds ? `95% interval ${pct(bounds[0])} to ${pct(bounds[1])}; the dashed line is guessing` : "small dots are folds; the dashed line is guessing");
  return node;
}

function drawTable() {
  const all = D.rows.flatMap((one) => [one.scores.accuracy, ...(one.intervals.accuracy || one.folds.map((fold) => fold.accuracy))]);
  const low = Math.max(0, Math.floor(10 * Math.min(D.guess, ...all)) / 10 - 0.0001);
  const rows = [...D.rows];
  if (sorting) rows.sort((a, b) => sorting.sign * (sorting.value(a) - sorting.value(b)));
  const head = el("tr", {}, el("th", { scope: "col" }, "head"), el("th", { scope: "col", class: "left" }, "accuracy, 95% interval", intervalAxis(low)));
  const sortable = [...COLUMNS.map(([key, title, more]) => [title, more, (one) => one.scores[key]]), ["time", false, (one) => one.seconds], ["memory", false, (one) => one.peak_bytes || 0]];
  for (const [title, more, value] of sortable) {
    const active = sorting && sorting.title === title;
    const press = () => { sorting = { title, value, sign: active ? -sorting.sign : more ? -1 : 1 }; drawTable(); $("table").querySelector(`th button[data-key="${CSS.escape(title)}"]`).focus(); };
    head.append(el("th", { scope: "col", "aria-sort": active ? (sorting.sign > 0 ? "ascending" : "descending") : null }, el("button", { type: "button", "data-key": title, onclick: press }, title)));
  }
  const body = rows.map((one) => {
    const tag = one.collapsed !== null && one.kind !== "baseline" ? el("span", { class: "tag bad" }, "collapsed") : one.name === D.best ? el("span", { class: "tag" }, "best") : one.kind === "baseline" || one.kind === "control" ? el("span", { class: "tag plain" }, "control") : one.kind === "auto" ? el("span", { class: "tag plain" }, "chosen inside") : null;
    const line = el("tr", { class: one.name === D.best ? "best" : one.kind === "head" || one.kind === "tuned" ? null : "quiet" }, el("td", { title: one.title }, el("span", { class: "name" }, one.title), tag), el("td", { class: "left" }, intervalCell(one, low)));
    for (const [key, , , percent] of COLUMNS) {
      const bounds = one.intervals[key];
      const text = percent ? fixed(100 * one.scores[key], 1) : num(one.scores[key]);
      const around = bounds ? (percent ? `${(100 * bounds[0]).toFixed(1)} to ${(100 * bounds[1]).toFixed(1)}` : `${num(bounds[0])} to ${num(bounds[1])}`) : null;
      line.append(el("td", { title: around ? "95% interval " + around : null }, text, around && key === "accuracy" ? el("small", { class: "under" }, around) : null));
    }
    line.append(el("td", { title: `${seconds(one.seconds_fit)} fitting, ${seconds(one.seconds_predict)} predicting, all folds` }, seconds(one.seconds)), el("td", {}, bytes(one.peak_bytes)));
    return line;
  });
  $("table").replaceChildren(el("caption", { class: "vh" }, "Scores of every head"), el("thead", {}, head), el("tbody", {}, ...body));
  $("table-hint").textContent = D.table_hint;
}

function drawTests() {
  const head = ["pair", "difference", "95% interval", "p", "p (Holm)", "", "test"];
  const lines = D.tests.map((test) => el("tr", {},
    el("td", {}, `${row(test.a).title} against ${test.family === "baseline" ? "guessing" : row(test.b).title}`),
    el("td", {}, (test.difference >= 0 ? "+" : "") + (100 * test.difference).toFixed(1)),
    el("td", {}, test.interval ? `${(100 * test.interval[0]).toFixed(1)} to ${(100 * test.interval[1]).toFixed(1)}` : "–"),
    el("td", {}, num(test.p_value, 4)), el("td", {}, num(test.p_holm, 4)),
    el("td", {}, test.is_real ? el("span", { class: "tag" }, "real") : el("span", { class: "tag plain" }, "within chance")), el("td", { class: "left" }, test.method)));
  $("tests").querySelector(".scroll").append(el("table", {}, el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, ...lines)));
}

function drawGroups() {
  const names = Object.keys(D.group_scores);
  if (!names.length) return;
  const groups = Object.keys(D.group_scores[names[0]]);
  const table = el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "accuracy by group"), ...groups.map((group) => el("th", { scope: "col", title: group }, cut(group, 18))))),
    el("tbody", {}, ...names.map((name) => el("tr", {}, el("td", {}, row(name).title), ...groups.map((group) => el("td", {}, pct(D.group_scores[name][group])))))));
  $("groups").append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores by group" }, table));
}

function drawEncoders() {
  if (!D.encoders.table) return;
  const [head, ...lines] = D.encoders.table;
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, ...lines.map((line) => el("tr", {}, ...line.map((text) => el("td", {}, text))))));
  $("encoders").append(el("p", { class: "hint" }, `Encoders, with ${D.encoders.head}:`), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of encoders, scrolls sideways" }, table));
}

function drawFacts() {
  for (const [name, value] of D.facts) $("facts").append(el("dt", {}, name), el("dd", {}, value));
}

function itemList(items) {
  const list = (some) => el("ul", {}, ...some.map((item) => el("li", {}, item))), first = 12;
  if (!items.length) return [];
  return items.length <= first ? [list(items)] : [list(items.slice(0, first)), el("details", {}, el("summary", {}, `${items.length - first} more`), list(items.slice(first)))];
}
function drawFindings() {
  if (!D.findings.length) return;
  $("data-card").hidden = false;
  $("findings").append(...D.findings.map((one) => el("div", { class: "finding" },
    el("h3", {}, one.title, " ", el("span", { class: one.level === "bad" ? "tag bad" : "tag plain" }, one.level === "bad" ? "look at this" : one.level === "good" ? "fine" : "note")),
    el("p", {}, one.text), ...itemList(one.items))));
}
