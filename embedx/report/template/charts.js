function drawPairs(one) {
  const pairs = one.confused, line = 24, w = plotWidth(), left = isNarrow() ? 190 : 270, most = Math.max(1, ...pairs.map((pair) => pair[2])), names = isNarrow() ? 13 : 19, node = plot(w, Math.max(30, line * pairs.length), `Classes that ${one.title} confuses most`);
  pairs.forEach(([i, j, count], at) => {
    const y = line * at + 4, width = Math.max(2, ((w - left - 40) * count) / most);
    node.append(svg("text", { x: left - 8, y: y + 12, "text-anchor": "end" }, `${cut(D.classes[i], names)} → ${cut(D.classes[j], names)}`), svg("rect", { x: left, y, width, height: line - 9, rx: 4, fill: "var(--accent)", opacity: 0.85 }), svg("text", { class: "strong", x: left + width + 6, y: y + 12 }, String(+count.toFixed(1))));
  });
  figure("confusion", "Confused most", `What it is → what the head heard, clips. The ${D.classes.length} classes are too many for a matrix.`, node);
}

function drawConfusion() {
  if (!row(state.head).confusion) { drawPairs(row(state.head)); return; }
  const one = row(state.head), k = D.classes.length, matrix = one.confusion;
  const names = isNarrow() ? 11 : 15, left = isNarrow() ? 84 : 116, side = Math.max(k > 40 ? 8 : 16, Math.min(64, ((isNarrow() ? 344 : 500) - left) / k)), top = 8, tilted = Math.max(...D.classes.map((name) => name.length)) * 6.6 > side, bottom = tilted ? 92 : 34, size = side * k;
  const node = plot(left + size + 8, top + size + bottom, `Confusion matrix of ${one.title}`);
  matrix.forEach((line, i) => {
    const total = line.reduce((a, b) => a + b, 0) || 1;
    node.append(svg("text", { x: left - 8, y: top + side * (i + 0.5) + 4, "text-anchor": "end" }, cut(D.classes[i], names)));
    line.forEach((count, j) => {
      const share = count / total, x = left + side * j, y = top + side * i;
      const cell = svg("rect", { x: x + 1, y: y + 1, width: side - 2, height: side - 2, rx: 4, fill: `rgba(var(--heat),${count ? 0.08 + 0.92 * share : 0.03})`, stroke: i === j ? "var(--soft)" : "none", "stroke-opacity": 0.5 });
      node.append(titled(cell, `${D.classes[i]} heard as ${D.classes[j]}: ${+count.toFixed(1)} of ${+total.toFixed(1)} clips (${pct(share, 0)})`));
      if (side >= 22 && count > 0) { const text = svg("text", { x: x + side / 2, y: y + side / 2 + 4, "text-anchor": "middle", "pointer-events": "none", class: "strong" }, String(Math.round(count * 10) / 10)); text.style.fill = share > 0.5 ? (document.documentElement.dataset.theme === "dark" ? "#0c1016" : "#fff") : "var(--ink)"; node.append(text); }
    });
  });
  D.classes.forEach((name, j) => {
    const x = left + side * (j + 0.5), y = top + size + 16;
    node.append(svg("text", tilted ? { x, y: y - 4, "text-anchor": "end", transform: `rotate(-45 ${x} ${y - 4})` } : { x, y, "text-anchor": "middle" }, cut(name, names)));
  });
  figure("confusion", "Confusion matrix", "Rows: what it is. Columns: what the head heard. Number: clips. Shade: share of the row.", node);
}

const MOST_BARS = 60;
function worst(one) { return D.classes.length <= MOST_BARS ? D.classes : [...D.classes].sort((a, b) => (one.recall[a] ?? 2) - (one.recall[b] ?? 2)).slice(0, 40); }
function drawRecall() {
  const one = row(state.head), narrow = isNarrow(), line = 34, left = narrow ? 92 : 122, w = plotWidth(), shown = worst(one), h = 44 + line * shown.length, x = (value) => left + value * (w - left - 46);
  const node = plot(w, h, `Recall and precision of every class, ${one.title}`);
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) node.append(svg("line", { class: "gridline", x1: x(tick), x2: x(tick), y1: 0, y2: h - 38 }), svg("text", { x: x(tick), y: h - 22, "text-anchor": "middle" }, 100 * tick));
  node.append(svg("text", { x: x(0.5), y: h - 4, "text-anchor": "middle" }, "recall, % (strong) and precision, % (pale)"));
  shown.forEach((name, i) => {
    const y = line * i + 3;
    node.append(svg("text", { x: left - 8, y: y + 17, "text-anchor": "end" }, cut(name, narrow ? 12 : 16)));
    [["recall", one.recall[name], 0.9, "no clip tested"], ["precision", one.precision[name], 0.4, "never named"]].forEach(([what, value, opacity, none], j) => {
      const top = y + 13 * j;
      if (value === null || value === undefined) { node.append(svg("text", { x: left + 4, y: top + 10 }, none)); return; }
      node.append(titled(svg("rect", { x: left, y: top, width: Math.max(2, x(value) - left), height: 11, rx: 3, fill: "var(--accent)", opacity }), `${name}: ${what} ${pct(value)}`), svg("text", { class: j ? "" : "strong", x: x(value) + 6, y: top + 10 }, pct(value, 0)));
    });
  });
  figure("recall", "Recall and precision of every class", "Recall: of the clips of a class, how many were found. Precision: of the clips that were given its name, how many are of it." + (shown.length < D.classes.length ? ` The worst ${shown.length} of ${D.classes.length}.` : ""), node);
}

function drawReliability() {
  const one = row(state.head), s = plotWidth() - 90, pad = 48, x = (value) => pad + value * (s - pad - 14), y = (value) => 14 + (1 - value) * (s - pad - 14);
  const node = plot(plotWidth(), s, `Reliability diagram of ${one.title}`), most = Math.max(...one.reliability.map((bin) => bin.n)), radius = (n) => 2.5 + 8 * Math.sqrt(n / most);
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) node.append(svg("line", { class: "gridline", x1: x(tick), x2: x(tick), y1: y(0), y2: y(1) }), svg("line", { class: "gridline", y1: y(tick), y2: y(tick), x1: x(0), x2: x(1) }), svg("text", { x: x(tick), y: y(0) + 17, "text-anchor": "middle" }, 100 * tick), svg("text", { x: x(0) - 7, y: y(tick) + 4, "text-anchor": "end" }, 100 * tick));
  node.append(svg("line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), stroke: "var(--soft)", "stroke-dasharray": "4 4" }));
  const dots = one.reliability.map((bin) => [x(bin.confidence), y(bin.accuracy)]);
  node.append(svg("polyline", { points: dots.map((dot) => dot.join(",")).join(" "), fill: "none", stroke: "var(--accent)", "stroke-width": 1.5, opacity: 0.5 }));
  one.reliability.forEach((bin, i) => node.append(titled(svg("circle", { cx: dots[i][0], cy: dots[i][1], r: radius(bin.n), fill: "var(--accent)", "fill-opacity": 0.75 }), `${bin.n} predictions, ${pct(bin.confidence, 0)} sure, ${pct(bin.accuracy, 0)} right`)));
  node.append(svg("text", { x: (x(0) + x(1)) / 2, y: s - 6, "text-anchor": "middle" }, "how sure the head is, %"), upright((y(0) + y(1)) / 2, "how often it is right, %"));
  const sizes = [...new Set([1, Math.round(most / 4), most])].filter((n) => n > 0), right = x(1) + 24;
  node.append(svg("text", { x: right - 8, y: y(1) + 4 }, "predictions"));
  sizes.forEach((n, i) => node.append(svg("circle", { cx: right, cy: y(1) + 24 + 24 * i, r: radius(n), fill: "var(--accent)", "fill-opacity": 0.75 }), svg("text", { x: right + 16, y: y(1) + 28 + 24 * i }, n)));
  figure("reliability", "Reliability diagram", `On the dashed line a head is as sure as it is right. Calibration error ${num(one.scores.ece)}.`, node);
}

function drawFolds() {
  const rows = D.rows, narrow = isNarrow(), w = plotWidth(), line = 30, left = narrow ? 112 : 150, h = line * rows.length + 42;
  const low = Math.max(0, Math.floor(10 * Math.min(...rows.flatMap((one) => one.folds.map((fold) => fold.accuracy)))) / 10), x = (value) => left + 8 + ((value - low) / (1 - low || 1)) * (w - left - 24);
  const node = plot(w, h, "Accuracy of every head in every fold");
  for (const tick of ticks(low, 1, narrow ? 4 : 5)) node.append(svg("line", { class: "gridline", x1: x(tick), x2: x(tick), y1: 0, y2: h - 38 }), svg("text", { x: x(tick), y: h - 22, "text-anchor": "middle" }, short(100 * tick)));
  node.append(svg("text", { x: (x(low) + x(1)) / 2, y: h - 4, "text-anchor": "middle" }, "accuracy, %"));
  rows.forEach((one, i) => {
    const y = line * i + 14, mine = one.name === state.head;
    node.append(svg("text", { x: left - 10, y: y + 4, "text-anchor": "end", class: mine ? "strong" : "" }, cut(one.title, narrow ? 16 : 22)));
    for (const fold of one.folds) { const more = Object.entries(fold.chosen).map(([key, value]) => `${key} ${value}`).join(", "); node.append(titled(svg("circle", { cx: x(fold.accuracy), cy: y, r: 5, fill: mine ? "var(--accent)" : "var(--soft)", "fill-opacity": mine ? 0.7 : 0.35 }), `fold ${fold.fold}: ${pct(fold.accuracy)} of ${fold.n_test} clips${more ? "; chosen inside: " + more : ""}`)); }
    node.append(svg("line", { x1: x(one.scores.accuracy), x2: x(one.scores.accuracy), y1: y - 9, y2: y + 9, stroke: mine ? "var(--accent)" : "var(--soft)", "stroke-width": 2 }));
  });
  figure("folds", "Fold by fold", "A dot is the accuracy in one fold, the bar that of all clips.", node);
}

/* curves */
const upright = (y, text) => svg("text", { x: 11, y, "text-anchor": "middle", transform: `rotate(-90 11 ${y})` }, text);
function frame(w, h, low, high, label, axes) {
  const marks = ticks(low, high, 5), box = { left: 54, right: w - 14, top: 12, bottom: h - 44 }, y = (value) => box.bottom - ((value - low) / (high - low || 1)) * (box.bottom - box.top), node = plot(w, h, label);
  for (const tick of marks) node.append(svg("line", { class: "gridline", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }), svg("text", { x: box.left - 7, y: y(tick) + 4, "text-anchor": "end" }, short(axes.percent ? 100 * tick : tick)));
  node.append(svg("text", { x: (box.left + box.right) / 2, y: h - 6, "text-anchor": "middle" }, axes.x), upright((box.top + box.bottom) / 2, axes.y));
  return { node, y, box };
}
/* a little more than the values span, out to round numbers */
function range(values, floor, ceiling) {
  const low = Math.min(...values), high = Math.max(...values), step = Math.max(0.02, (high - low) / 5), unit = 10 ** Math.floor(Math.log10(step)), round = unit * [1, 2, 5, 10].find((times) => times * unit >= step * 0.999);
  return [Math.max(floor, Math.floor(low / round + 1e-9) * round), Math.min(ceiling, Math.ceil(high / round - 1e-9) * round)];
}
const band = (xs, lows, highs) => "M" + xs.map((x, i) => `${x} ${highs[i]}`).join("L") + "L" + xs.map((x, i) => `${x} ${lows[i]}`).reverse().join("L") + "Z";

function drawLayers(store, points) {
  const [low, high] = range(points.flatMap((point) => [point.accuracy, ...(point.interval || [])]), 0, 1), w = plotWidth(), h = 280;
  const { node, y, box } = frame(w, h, low, high, "Accuracy by layer", { x: "layer of the encoder", y: "accuracy, %", percent: true }), x = (i) => box.left + 14 + (i / Math.max(1, points.length - 1)) * (box.right - box.left - 28), every = Math.ceil(points.length / (isNarrow() ? 9 : 14));
  points.forEach((point, i) => {
    if (point.interval) node.append(svg("line", { x1: x(i), x2: x(i), y1: y(point.interval[0]), y2: y(point.interval[1]), stroke: "var(--accent)", "stroke-width": 4, "stroke-linecap": "round", opacity: 0.25 }));
    if (i && point.layer !== "mean") node.append(svg("line", { x1: x(i - 1), y1: y(points[i - 1].accuracy), x2: x(i), y2: y(point.accuracy), stroke: "var(--accent)", "stroke-width": 2 }));
  });
  points.forEach((point, i) => {
    const isMean = point.layer === "mean", mark = isMean ? svg("rect", { x: x(i) - 5, y: y(point.accuracy) - 5, width: 10, height: 10, rx: 2, fill: "var(--c1)" }) : svg("circle", { cx: x(i), cy: y(point.accuracy), r: 5, fill: "var(--accent)" });
    node.append(titled(mark, `${isMean ? "mean of all layers" : "layer " + point.layer}: ${pct(point.accuracy)}, log-loss ${num(point.log_loss)}`));
    if (isMean || (i % every === 0 && i < points.length - 1 - every / 2)) node.append(svg("text", { x: x(i), y: box.bottom + 17, "text-anchor": "middle" }, String(point.layer)));
  });
  return figure(el("figure", { class: "plot-layers" }), "Another layer?" + (store ? " " + store : ""), `Accuracy of ${D.curves.title} on each layer, and (square) on the mean of all` + (points.some((point) => point.interval) ? ", with 95% intervals." : "."), node);
}

function drawLearning(store, curve) {
  const xs = [...curve.points.map((point) => point.n_train), ...(curve.grid || [])], ys = curve.points.flatMap((point) => [point.accuracy, ...(point.interval || [])]).concat(curve.fit || [], curve.low || [], curve.high || []);
  const [low, high] = range(ys, 0, 1), w = plotWidth(), h = 280, { node, y, box } = frame(w, h, low, high, "Learning curve", { x: "clips learned from (log scale)", y: "accuracy, %", percent: true });
  const a = Math.log(Math.min(...xs)), b = Math.log(Math.max(...xs)), x = (n) => box.left + 10 + ((Math.log(n) - a) / (b - a || 1)) * (box.right - box.left - 30), last = curve.points[curve.points.length - 1].n_train;
  if (curve.low) node.append(svg("path", { d: band(curve.grid.map(x), curve.low.map(y), curve.high.map(y)), fill: "var(--accent)", opacity: 0.13 }));
  if (curve.grid) for (const ahead of [false, true]) { const points = curve.grid.map((n, i) => [n, curve.fit[i]]).filter(([n]) => (ahead ? n >= last * 0.93 : n <= last * 1.07)); node.append(svg("polyline", { points: points.map(([n, value]) => `${x(n)},${y(value)}`).join(" "), fill: "none", stroke: "var(--accent)", "stroke-width": 2, "stroke-dasharray": ahead ? "5 5" : "none" })); }
  for (const point of curve.points) node.append(titled(svg("circle", { cx: x(point.n_train), cy: y(point.accuracy), r: 5, fill: "var(--accent)" }), `${Math.round(point.n_train)} clips: ${pct(point.accuracy)}`));
  const wanted = curve.forecast ? [...curve.points.map((point) => point.n_train), curve.forecast.n_train] : curve.points.map((point) => point.n_train);
  let end = -99; for (const n of wanted) if (x(n) - end > 34) { end = x(n); node.append(svg("text", { x: end, y: box.bottom + 17, "text-anchor": "middle" }, Math.round(n))); }
  if (curve.forecast) node.append(titled(svg("circle", { cx: x(curve.forecast.n_train), cy: y(curve.forecast.accuracy), r: 5.5, fill: "var(--card)", stroke: "var(--accent)", "stroke-width": 2 }), `forecast for ${Math.round(curve.forecast.n_train)} clips: ${pct(curve.forecast.accuracy)}`));
  const note = curve.law ? el("span", {}, `Fitted: error = ${curve.law.a.toFixed(3)} + ${curve.law.b.toFixed(2)} × clips`, el("sup", {}, "\u2212" + curve.law.c.toFixed(2)), ". Dashed, and the open circle: if that holds" + (curve.low ? ", with its 95% interval." : ".")) : curve.reason;
  return figure(el("figure", { class: "plot-learning" }), "More data?" + (store ? " " + store : ""), el("span", {}, `Accuracy of ${D.curves.title}. `, note), node);
}

/* one line a fold, coloured and dashed by row */
const DASHES = ["none", "7 4", "2 3", "9 3 2 3"];
function lines(kind, title, note, rows, values, axes, floor, ceiling) {
  const all = rows.flatMap((one) => one.folds.flatMap(values)), most = Math.max(...all.map((line) => line.length)), numbers = all.flat().filter((value) => value !== null);
  const [low, high] = range(numbers, floor, ceiling), w = plotWidth(), h = 280, { node, y, box } = frame(w, h, low, high, title, axes), x = (i) => box.left + 8 + (i / Math.max(1, most - 1)) * (box.right - box.left - 16);
  for (const tick of ticks(1, Math.max(2, most), 6)) if (Number.isInteger(tick) && tick <= most) node.append(svg("text", { x: x(tick - 1), y: box.bottom + 17, "text-anchor": "middle" }, tick));
  rows.forEach((one, s) => {
    for (const fold of one.folds) values(fold).forEach((line, k) => {
      const dots = line.map((value, i) => [x(i), value]).filter(([, value]) => value !== null), style = { stroke: `var(--c${s % PAL})`, "stroke-dasharray": DASHES[(s + k) % DASHES.length] };
      node.append(titled(svg("polyline", { points: dots.map(([at, value]) => `${at},${y(value)}`).join(" "), fill: "none", "stroke-width": 1.6, opacity: 0.8, ...style }), `${one.title}, fold ${fold.fold}`));
    });
  });
  const key = el("div", { class: "legend" });
  rows.forEach((one, s) => { const icon = svg("svg", { viewBox: "0 0 28 10", "aria-hidden": "true", class: "dash" }); icon.append(svg("line", { x1: 1, x2: 27, y1: 5, y2: 5, stroke: `var(--c${s % PAL})`, "stroke-width": 2, "stroke-dasharray": DASHES[s % DASHES.length] })); key.append(el("span", {}, icon, one.title)); });
  const box2 = figure(el("figure", { class: kind }), title, note, node);
  box2.append(key);
  return box2;
}
function drawStudies() {
  const studies = D.rows.filter((one) => one.folds.some((fold) => fold.history.length));
  return studies.length ? lines("plot-study", "Other hyper-parameters?", "Best value so far, one line an outer fold. Trial 1 is the default.", studies, (fold) => (fold.history.length ? [fold.history] : []), { x: "trial", y: "log-loss of the inner folds", percent: false }, 0, Infinity) : null;
}
function drawEpochs() {
  const tuned = D.rows.filter((one) => one.folds.some((fold) => fold.epochs.length));
  if (!tuned.length) return [];
  const of = (name) => (fold) => (fold.epochs.some((epoch) => epoch[name] !== null) ? [fold.epochs.map((epoch) => epoch[name])] : []), has = (name) => tuned.some((one) => one.folds.some((fold) => of(name)(fold).length)), loss = has("valid_loss") ? "valid_loss" : "train_loss", accuracy = has("valid_accuracy") ? "valid_accuracy" : "train_accuracy", where = has("valid_loss") ? "a part held out of the training clips" : "the training clips";
  return [lines("plot-epochs", "Fine-tuning: loss", `On ${where}, one line a fold.`, tuned, of(loss), { x: "epoch", y: "log-loss", percent: false }, 0, Infinity), lines("plot-epochs-accuracy", "Fine-tuning: accuracy", `On ${where}, one line a fold.`, tuned, of(accuracy), { x: "epoch", y: "accuracy, %", percent: true }, 0, 1)];
}

/* accuracy of every store against what its encoder costs; names go where they meet no other */
function drawCost(kind, title, points, axis, told) {
  const [low, high] = range(points.flatMap((point) => [point.accuracy, ...(point.interval || [])]), 0, 1), w = plotWidth(), h = 280;
  const { node, y, box } = frame(w, h, low, high, title, { x: `${axis} (log scale)`, y: "accuracy, %", percent: true }), a = Math.log10(Math.min(...points.map((point) => point.x))), b = Math.log10(Math.max(...points.map((point) => point.x))), margin = 0.12 * (b - a), x = (value) => box.left + ((Math.log10(value) - a + margin) / (b - a + 2 * margin)) * (box.right - box.left);
  const taken = points.map((point) => ({ from: x(point.x) - 6, to: x(point.x) + 6, line: y(point.accuracy) + 4 })), isFree = (place) => place.line > 11 && place.line < box.bottom && place.from > box.left && place.to < w && !taken.some((one) => Math.abs(one.line - place.line) < 13 && one.from < place.to && one.to > place.from);
  let end = -99;
  for (const point of [...points].sort((one, other) => one.x - other.x)) {
    const at = x(point.x), top = y(point.accuracy), name = cut(point.store, 18), wide = 7.6 * name.length + 2, sides = at > (box.left + box.right) / 2 ? [at - 9 - wide, at + 9] : [at + 9, at - 9 - wide];
    const places = [0, -13, 13, -26, 26, -39, 39].flatMap((shift) => sides.map((from) => ({ from, to: from + wide, line: top + 4 + shift }))), place = places.find(isFree) || places[0];
    taken.push(place);
    if (point.interval) node.append(svg("line", { x1: at, x2: at, y1: y(point.interval[0]), y2: y(point.interval[1]), stroke: "var(--accent)", "stroke-width": 4, "stroke-linecap": "round", opacity: 0.25 }));
    node.append(titled(svg("circle", { cx: at, cy: top, r: 5, fill: "var(--accent)" }), `${point.store}: ${pct(point.accuracy)}, ${told(point.x)}`), svg("text", { class: "strong", x: place.from < at ? place.to : place.from, y: place.line, "text-anchor": place.from < at ? "end" : "start" }, name));
    if (at - end > 56) { end = at; node.append(svg("text", { x: at, y: box.bottom + 17, "text-anchor": "middle" }, told(point.x))); }
  }
  return figure(el("figure", { class: kind }), title, `Accuracy with ${D.encoders.head}` + (points.some((point) => point.interval) ? ", with 95% intervals." : "."), node);
}
const millions = (value) => (value < 1e5 ? Math.round(value / 1e3) + " k" : value < 1e7 ? (value / 1e6).toFixed(1) + " M" : Math.round(value / 1e6) + " M");
function drawCosts() {
  const { parameters = [], seconds: time = [] } = D.encoders, found = [];
  if (parameters.length) found.push(drawCost("plot-parameters", "A bigger model?", parameters, "parameters of the encoder", millions));
  if (time.length) found.push(drawCost("plot-seconds", "A slower model?", time, "embedding an hour of audio", seconds));
  return found;
}

function drawCurves() {
  const found = drawCosts();
  for (const [store, points] of Object.entries(D.curves.layers || {})) found.push(drawLayers(store, points));
  for (const [store, curve] of Object.entries(D.curves.learning || {})) found.push(drawLearning(store, curve));
  const studies = drawStudies(); if (studies) found.push(studies);
  found.push(...drawEpochs());
  $("curves").replaceChildren(...found);
  $("curves-card").hidden = !found.length;
}
