function drawConfusion() {
  const one = row(state.head), k = D.classes.length, matrix = one.confusion;
  const side = Math.max(16, Math.min(64, 380 / k)), left = 116, top = 8, tilted = Math.max(...D.classes.map((name) => name.length)) * 6.6 > side, bottom = tilted ? 92 : 34, size = side * k;
  const node = plot(left + size + 8, top + size + bottom, `Confusion matrix of ${one.title}`);
  matrix.forEach((line, i) => {
    const total = line.reduce((a, b) => a + b, 0) || 1;
    node.append(svg("text", { x: left - 8, y: top + side * (i + 0.5) + 4, "text-anchor": "end" }, cut(D.classes[i], 15)));
    line.forEach((count, j) => {
      const share = count / total, x = left + side * j, y = top + side * i;
      const cell = svg("rect", { x: x + 1, y: y + 1, width: side - 2, height: side - 2, rx: 4, fill: `rgba(var(--heat),${count ? 0.08 + 0.92 * share : 0.03})`, stroke: i === j ? "var(--soft)" : "none", "stroke-opacity": 0.5 });
      node.append(titled(cell, `${D.classes[i]} heard as ${D.classes[j]}: ${+count.toFixed(1)} of ${+total.toFixed(1)} clips (${pct(share, 0)})`));
      if (side >= 22 && count > 0) { const text = svg("text", { x: x + side / 2, y: y + side / 2 + 4, "text-anchor": "middle", "pointer-events": "none", class: "strong" }, String(Math.round(count * 10) / 10)); text.style.fill = share > 0.5 ? (document.documentElement.dataset.theme === "dark" ? "#0c1016" : "#fff") : "var(--ink)"; node.append(text); }
    });
  });
  D.classes.forEach((name, j) => {
    const x = left + side * (j + 0.5), y = top + size + 16;
    node.append(svg("text", tilted ? { x, y: y - 4, "text-anchor": "end", transform: `rotate(-45 ${x} ${y - 4})` } : { x, y, "text-anchor": "middle" }, cut(name, 15)));
  });
  node.style.maxWidth = Math.max(300, (left + size + 8) * 1.15) + "px";
  figure("confusion", "Confusion matrix", "Rows: what it is. Columns: what the head heard. Shade: share of the row.", node);
}

function drawRecall() {
  const one = row(state.head), line = 26, left = 122, w = 460, h = 26 + line * D.classes.length, x = (value) => left + value * (w - left - 52);
  const node = plot(w, h, `Recall of every class, ${one.title}`);
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) { node.append(svg("line", { class: "gridline", x1: x(tick), x2: x(tick), y1: 0, y2: h - 20 }), svg("text", { x: x(tick), y: h - 4, "text-anchor": "middle" }, 100 * tick)); }
  D.classes.forEach((name, i) => {
    const value = one.recall[name], y = line * i + 4;
    node.append(svg("text", { x: left - 8, y: y + 13, "text-anchor": "end" }, cut(name, 16)));
    if (value === null) { node.append(svg("text", { x: left + 4, y: y + 13 }, "no clip tested")); return; }
    node.append(titled(svg("rect", { x: left, y, width: Math.max(2, x(value) - left), height: line - 9, rx: 4, fill: "var(--accent)", opacity: 0.85 }), `${name}: ${pct(value)}`), svg("text", { class: "strong", x: x(value) + 6, y: y + 13 }, pct(value, 0)));
  });
  figure("recall", "Recall of every class", "Of the clips of a class, how many were found. Percent.", node);
}

function drawReliability() {
  const one = row(state.head), s = 300, pad = 44, x = (value) => pad + value * (s - pad - 10), y = (value) => 10 + (1 - value) * (s - pad - 10);
  const node = plot(s + 60, s, `Reliability diagram of ${one.title}`), most = Math.max(...one.reliability.map((bin) => bin.n));
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) node.append(svg("line", { class: "gridline", x1: x(tick), x2: x(tick), y1: y(0), y2: y(1) }), svg("line", { class: "gridline", y1: y(tick), y2: y(tick), x1: x(0), x2: x(1) }), svg("text", { x: x(tick), y: y(0) + 17, "text-anchor": "middle" }, 100 * tick), svg("text", { x: x(0) - 7, y: y(tick) + 4, "text-anchor": "end" }, 100 * tick));
  node.append(svg("line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), stroke: "var(--soft)", "stroke-dasharray": "4 4" }));
  const dots = one.reliability.map((bin) => [x(bin.confidence), y(bin.accuracy)]);
  node.append(svg("polyline", { points: dots.map((dot) => dot.join(",")).join(" "), fill: "none", stroke: "var(--accent)", "stroke-width": 1.5, opacity: 0.6 }));
  one.reliability.forEach((bin, i) => node.append(titled(svg("circle", { cx: dots[i][0], cy: dots[i][1], r: 3 + 8 * Math.sqrt(bin.n / most), fill: "var(--accent)", "fill-opacity": 0.75 }), `${bin.n} predictions, ${pct(bin.confidence, 0)} sure, ${pct(bin.accuracy, 0)} right`)));
  node.append(svg("text", { x: (x(0) + x(1)) / 2, y: s - 8, "text-anchor": "middle" }, "how sure the head is, %"));
  const up = svg("text", { x: 10, y: (y(0) + y(1)) / 2, "text-anchor": "middle", transform: `rotate(-90 10 ${(y(0) + y(1)) / 2})` }, "how often it is right, %"); node.append(up);
  node.style.maxWidth = "430px";
  figure("reliability", "Reliability diagram", `On the dashed line a head is as sure as it is right. Calibration error ${num(one.scores.ece)}.`, node);
}

function drawFolds() {
  const rows = D.rows, w = 460, line = 30, left = 150, h = line * rows.length + 26;
  const low = Math.max(0, Math.floor(10 * Math.min(...rows.flatMap((one) => one.folds.map((fold) => fold.accuracy)))) / 10), x = (value) => left + ((value - low) / (1 - low || 1)) * (w - left - 14);
  const node = plot(w, h, "Accuracy of every head in every fold");
  for (let i = 0; i <= 4; i++) { const tick = low + ((1 - low) * i) / 4; node.append(svg("line", { class: "gridline", x1: x(tick), x2: x(tick), y1: 0, y2: h - 20 }), svg("text", { x: x(tick), y: h - 4, "text-anchor": "middle" }, Math.round(100 * tick))); }
  rows.forEach((one, i) => {
    const y = line * i + 14, mine = one.name === state.head;
    node.append(svg("text", { x: left - 10, y: y + 4, "text-anchor": "end", class: mine ? "strong" : "" }, cut(one.title, 22)));
    for (const fold of one.folds) { const more = Object.entries(fold.chosen).map(([key, value]) => `${key} ${value}`).join(", "); node.append(titled(svg("circle", { cx: x(fold.accuracy), cy: y, r: 5, fill: mine ? "var(--accent)" : "var(--soft)", "fill-opacity": mine ? 0.7 : 0.35 }), `fold ${fold.fold}: ${pct(fold.accuracy)} of ${fold.n_test} clips${more ? "; chosen inside: " + more : ""}`)); }
    node.append(svg("line", { x1: x(one.scores.accuracy), x2: x(one.scores.accuracy), y1: y - 9, y2: y + 9, stroke: mine ? "var(--accent)" : "var(--soft)", "stroke-width": 2 }));
  });
  figure("folds", "Fold by fold", "A dot is the accuracy in one fold, the bar that of all clips.", node);
}

/* curves */
function frame(w, h, yLow, yHigh, label) {
  const box = { left: 46, right: w - 14, top: 12, bottom: h - 40 }, y = (value) => box.bottom - ((value - yLow) / (yHigh - yLow || 1)) * (box.bottom - box.top), node = plot(w, h, label);
  for (let i = 0; i <= 4; i++) { const tick = yLow + ((yHigh - yLow) * i) / 4; node.append(svg("line", { class: "gridline", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }), svg("text", { x: box.left - 7, y: y(tick) + 4, "text-anchor": "end" }, (yHigh <= 1.0001 ? Math.round(100 * tick) : tick.toFixed(2)))); }
  return { node, y, box };
}
function range(values, floor, ceiling) {
  const low = Math.min(...values), high = Math.max(...values), pad = Math.max(0.02, 0.08 * (high - low));
  return [Math.max(floor, low - pad), Math.min(ceiling, high + pad)];
}
const band = (xs, lows, highs) => "M" + xs.map((x, i) => `${x} ${highs[i]}`).join("L") + "L" + xs.map((x, i) => `${x} ${lows[i]}`).reverse().join("L") + "Z";

function drawLayers(store, points) {
  const [low, high] = range(points.flatMap((point) => [point.accuracy, ...(point.interval || [])]), 0, 1), w = 460, h = 270;
  const { node, y, box } = frame(w, h, low, high, "Accuracy by layer"), x = (i) => box.left + 14 + (i / Math.max(1, points.length - 1)) * (box.right - box.left - 28);
  points.forEach((point, i) => {
    if (point.interval) node.append(svg("line", { x1: x(i), x2: x(i), y1: y(point.interval[0]), y2: y(point.interval[1]), stroke: "var(--accent)", "stroke-width": 4, "stroke-linecap": "round", opacity: 0.25 }));
    if (i && point.layer !== "mean") node.append(svg("line", { x1: x(i - 1), y1: y(points[i - 1].accuracy), x2: x(i), y2: y(point.accuracy), stroke: "var(--accent)", "stroke-width": 2 }));
  });
  points.forEach((point, i) => node.append(titled(svg(point.layer === "mean" ? "rect" : "circle", point.layer === "mean" ? { x: x(i) - 5, y: y(point.accuracy) - 5, width: 10, height: 10, rx: 2, fill: "var(--c1)" } : { cx: x(i), cy: y(point.accuracy), r: 5, fill: "var(--accent)" }), `${point.layer === "mean" ? "mean of all layers" : "layer " + point.layer}: ${pct(point.accuracy)}, log-loss ${num(point.log_loss)}`), svg("text", { x: x(i), y: box.bottom + 17, "text-anchor": "middle" }, String(point.layer))));
  node.append(svg("text", { x: (box.left + box.right) / 2, y: h - 6, "text-anchor": "middle" }, "layer of the encoder"));
  return figure(el("figure", { class: "plot-layers" }), "Another layer?" + (store ? " " + store : ""), `Accuracy of ${D.curves.title} on each layer, percent, with 95% intervals.`, node);
}

function drawLearning(store, curve) {
  const xs = [...curve.points.map((point) => point.n_train), ...(curve.grid || [])], ys = curve.points.flatMap((point) => [point.accuracy, ...(point.interval || [])]).concat(curve.fit || [], curve.low || [], curve.high || []);
  const [low, high] = range(ys, 0, 1), w = 460, h = 270, { node, y, box } = frame(w, h, low, high, "Learning curve");
  const a = Math.log(Math.min(...xs)), b = Math.log(Math.max(...xs)), x = (n) => box.left + 10 + ((Math.log(n) - a) / (b - a || 1)) * (box.right - box.left - 30), last = curve.points[curve.points.length - 1].n_train;
  if (curve.low) node.append(svg("path", { d: band(curve.grid.map(x), curve.low.map(y), curve.high.map(y)), fill: "var(--accent)", opacity: 0.13 }));
  if (curve.grid) for (const ahead of [false, true]) { const points = curve.grid.map((n, i) => [n, curve.fit[i]]).filter(([n]) => (ahead ? n >= last * 0.93 : n <= last * 1.07)); node.append(svg("polyline", { points: points.map(([n, value]) => `${x(n)},${y(value)}`).join(" "), fill: "none", stroke: "var(--accent)", "stroke-width": 2, "stroke-dasharray": ahead ? "5 5" : "none" })); }
  for (const point of curve.points) node.append(titled(svg("circle", { cx: x(point.n_train), cy: y(point.accuracy), r: 5, fill: "var(--accent)" }), `${Math.round(point.n_train)} clips: ${pct(point.accuracy)}`));
  const wanted = curve.forecast ? [...curve.points.map((point) => point.n_train), curve.forecast.n_train] : curve.points.map((point) => point.n_train);
  let end = -99; for (const n of wanted) if (x(n) - end > 30) { end = x(n); node.append(svg("text", { x: end, y: box.bottom + 17, "text-anchor": "middle" }, Math.round(n))); }
  if (curve.forecast) node.append(titled(svg("circle", { cx: x(curve.forecast.n_train), cy: y(curve.forecast.accuracy), r: 5.5, fill: "var(--card)", stroke: "var(--accent)", "stroke-width": 2 }), `forecast for ${Math.round(curve.forecast.n_train)} clips: ${pct(curve.forecast.accuracy)}`));
  node.append(svg("text", { x: (box.left + box.right) / 2, y: h - 6, "text-anchor": "middle" }, "clips learned from, log scale"));
  const note = curve.law ? `Power law: error = ${curve.law.a.toFixed(3)} + ${curve.law.b.toFixed(2)} n^-${curve.law.c.toFixed(2)}. Dashed: if it holds` + (curve.low ? ", with 95% interval." : ".") : curve.reason;
  return figure(el("figure", { class: "plot-learning" }), "More data?" + (store ? " " + store : ""), `Accuracy of ${D.curves.title}, percent. ${note}`, node);
}

function drawStudies() {
  const studies = D.rows.filter((one) => one.folds.some((fold) => fold.history.length));
  if (!studies.length) return null;
  const values = studies.flatMap((one) => one.folds.flatMap((fold) => fold.history)), most = Math.max(...studies.flatMap((one) => one.folds.map((fold) => fold.history.length)));
  const low = Math.min(...values), high = Math.max(...values), w = 460, h = 270, { node, y, box } = frame(w, h, low - 0.02, Math.max(high + 0.02, 1.001), "Study history"), x = (i) => box.left + 8 + (i / Math.max(1, most - 1)) * (box.right - box.left - 16);
  studies.forEach((one, s) => {
    for (const fold of one.folds) node.append(titled(svg("polyline", { points: fold.history.map((value, i) => `${x(i)},${y(value)}`).join(" "), fill: "none", stroke: `var(--c${s % PAL})`, "stroke-width": 1.6, opacity: 0.75 }), `${one.title}, fold ${fold.fold}`));
    node.append(svg("text", { x: box.right - 4, y: box.top + 14 + 16 * s, "text-anchor": "end", style: `fill:var(--c${s % PAL})` }, cut(one.title, 34)));
  });
  node.append(svg("text", { x: (box.left + box.right) / 2, y: h - 6, "text-anchor": "middle" }, "trial"));
  return figure(el("figure", { class: "plot-study" }), "Other hyper-parameters?", "Best log-loss of the inner folds so far, one line an outer fold. Trial 1 is the default.", node);
}

function drawCurves() {
  const found = [];
  for (const [store, points] of Object.entries(D.curves.layers || {})) found.push(drawLayers(store, points));
  for (const [store, curve] of Object.entries(D.curves.learning || {})) found.push(drawLearning(store, curve));
  const studies = drawStudies(); if (studies) found.push(studies);
  $("curves").replaceChildren(...found);
  $("curves-card").hidden = !found.length;
}
