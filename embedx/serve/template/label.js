const KEYS = "1234567890";
const WHY = {
  random: ["drawn at random", "Its guess is hidden: this clip judges the head, and who sees a guess is led by it."],
  uncertain: ["the head is unsure", ""],
  different: ["unlike the labelled ones", "It learns as soon as two classes have a label."],
  suspect: ["is this label right?", "A head that has not learned from this clip says:"],
};
let asked = null, isBusy = false, progress = null;

function tabName() {
  const fresh = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    const old = sessionStorage.getItem("embedx-tab") || fresh();
    sessionStorage.removeItem("embedx-tab"); /* a copy of this tab takes a name of its own */
    return old;
  } catch { return fresh(); }
}
const tab = tabName();
addEventListener("pagehide", () => { try { sessionStorage.setItem("embedx-tab", tab); } catch { /* a new name next time */ } });

async function tell(path, facts = {}, done = "") {
  if (isBusy) return;
  isBusy = true;
  try {
    const told = await ask(path, JSON.stringify({ tab, ...facts }), "application/json");
    $("token-card").hidden = true;
    say(done);
    show_question(told);
  } catch (error) {
    say(error.message, true);
    if (error.status === 409) { isBusy = false; await tell("next", {}, error.message); return; }
  } finally { isBusy = false; }
  follow();
}

function show_question(told) {
  const before = asked;
  asked = told;
  const isOver = told.clip === null;
  $("name").textContent = isOver ? "Every clip is labelled" : told.name + (told.stop !== null ? ` ${told.start} to ${told.stop} s` : told.start ? ` from ${told.start} s` : "");
  $("why").textContent = isOver ? "" : WHY[told.why][0];
  $("why").hidden = isOver;
  draw_keys();
  draw_guesses();
  if (isOver) { $("sound").replaceChildren(); $("picture").hidden = true; }
  else if (!before || before.clip !== told.clip) hear(told.clip);
  document.documentElement.dataset.clip = told.clip;
}
async function hear(clip) {
  const sound = await sound_of(clip).catch(() => null);
  if (!asked || asked.clip !== clip) return;
  if (!sound) { $("sound").replaceChildren("The audio cannot be played: skip it"); $("picture").hidden = true; return; }
  show(sound);
  $("sound").firstChild.play().catch(() => {}); /* a browser may want a key or a click first */
}

function draw_keys() {
  $("classes").replaceChildren(...asked.classes.map((name, i) => {
    const button = el("button", { class: "act", type: "button", "aria-pressed": String(name === asked.label), disabled: asked.clip === null }, i < KEYS.length ? el("kbd", {}, KEYS[i]) : null, name);
    button.addEventListener("click", () => give(name));
    return button;
  }));
  $("known").replaceChildren(...asked.classes.map((name) => el("option", { value: name })));
}
function draw_guesses() {
  const isOver = asked.clip === null, note = isOver ? "" : WHY[asked.why][1];
  $("thinks").textContent = !isOver && asked.guesses === null && asked.why === "uncertain" ? "Nothing yet." : note;
  drawBars($("bars"), (asked.guesses || []).slice(0, 8).map((one) => [one.label, one.probability]));
}

function give(label) {
  if (!asked || asked.clip === null) return;
  tell("label", { clip: asked.clip, label, seen: asked.label }, `${asked.name}: ${label}`);
}
function pass() { if (asked && asked.clip !== null) tell("skip", { clip: asked.clip }, asked.label ? `${asked.name} stays ${asked.label}` : `${asked.name} is passed over`); }
function undo() { tell("undo", {}, "Taken back"); }

/* the head learns while the next clip plays: its figures are asked for until it knows every label */
let following = 0;
async function follow() {
  const number = ++following;
  for (let wait = 150; number === following; wait = Math.min(2 * wait, 2000)) {
    try { progress = await ask("state"); } catch (error) { say(error.message, true); return; }
    if (number !== following) return;
    draw_state();
    if (!progress.is_learning) return;
    await new Promise((done) => setTimeout(done, wait));
  }
}
function draw_state() {
  const some = progress.counts.map(([name, n]) => `${name} ${n}`).join(", ");
  $("subline").textContent = `${progress.store}: ${progress.n_labels} of ${progress.n_clips} clips have a label${progress.n_passed ? `, ${progress.n_passed} passed over` : ""}${some ? ` (${some})` : ""}`;
  $("file").textContent = progress.file;
  draw_curve();
  const root = document.documentElement.dataset;
  root.labels = progress.n_labels; root.learned = String(!progress.is_learning); root.points = progress.curve.length;
}
function draw_curve() {
  const points = progress.curve, last = points[points.length - 1];
  if (progress.n_folds < 2) { $("told").textContent = "All clips are one group: none can be held out, so nothing honest can be said. Name speakers or recordings in the group column."; $("curve").replaceChildren(); return; }
  if (!last) { $("told").textContent = "Every fifth clip is drawn at random; from the fifth of them on the head is judged on those, by heads that have heard no clip of the same group."; $("curve").replaceChildren(); return; }
  $("told").textContent = `${pct(last.accuracy)} right of ${last.n_judged} clips drawn at random, groups held out (95 % interval ${pct(last.interval[0], 0)} to ${pct(last.interval[1], 0)}); always the most frequent class: ${pct(last.majority)}.`;
  const w = plotWidth(), h = 230, left = 44, low = points[0].n_labels, high = Math.max(last.n_labels, low + 1);
  const x = (n) => left + ((n - low) / (high - low)) * (w - left - 12), y = (share) => 10 + (1 - share) * (h - 50);
  const node = plot(w, h, `Held-out accuracy by number of labels: ${points.map((one) => `${one.n_labels}: ${pct(one.accuracy, 0)}`).join(", ")}`);
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) node.append(svg("line", { class: "gridline", x1: left, x2: w - 12, y1: y(tick), y2: y(tick) }), svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, 100 * tick));
  for (const tick of ticks(low, high, 5).filter((one) => Number.isInteger(one))) node.append(svg("text", { x: x(tick), y: h - 22, "text-anchor": "middle" }, tick));
  node.append(svg("text", { x: (left + w) / 2, y: h - 4, "text-anchor": "middle" }, "labels"));
  const path = (value) => points.map((one) => `${x(one.n_labels)},${y(value(one))}`);
  const band = [...path((one) => one.interval[1]), ...path((one) => one.interval[0]).reverse()];
  node.append(svg("polygon", { points: band.join(" "), fill: "var(--accent)", opacity: 0.14 }));
  node.append(svg("polyline", { points: path((one) => one.majority).join(" "), fill: "none", stroke: "var(--soft)", "stroke-width": 1.5, "stroke-dasharray": "5 4" }));
  node.append(svg("polyline", { points: path((one) => one.accuracy).join(" "), fill: "none", stroke: "var(--accent)", "stroke-width": 2 }));
  for (const one of points) node.append(titled(svg("circle", { cx: x(one.n_labels), cy: y(one.accuracy), r: points.length > 30 ? 2 : 3.5, fill: "var(--accent)" }), `${one.n_labels} labels: ${pct(one.accuracy)}; most frequent class ${pct(one.majority)}`));
  figure("curve", "Accuracy, %", "Line: the head. Dashes: always the most frequent class. Every point is judged on all clips drawn at random so far.", node);
}

async function begin() { await tell("next"); }
$("new-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("new").value.trim();
  if (!name) return;
  $("new").value = ""; $("new").blur();
  give(name);
});
$("pass").addEventListener("click", pass);
$("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.tagName === "INPUT") { if (event.key === "Escape") { event.target.value = ""; event.target.blur(); } return; }
  const name = asked && KEYS.includes(event.key) ? asked.classes[KEYS.indexOf(event.key)] : null, audio = $("sound").querySelector("audio");
  const acts = { n: () => $("new").focus(), s: pass, u: undo, " ": () => { if (audio) { if (audio.paused) audio.play().catch(() => {}); else audio.pause(); } } };
  if (event.key === " " && /^(BUTTON|AUDIO)$/.test(event.target.tagName)) return;
  const act = name ? () => give(name) : acts[event.key.toLowerCase()];
  if (act) { event.preventDefault(); act(); }
});
addEventListener("resize", () => { if (progress) draw_curve(); });
begin().then(() => { document.documentElement.dataset.ready = "yes"; });
