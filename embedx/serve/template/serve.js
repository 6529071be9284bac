const MOST_RECORDED_SECONDS = 30;
let model = null, recorder = null, sent = 0;

/* what is told line by line is drawn line by line */
async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (held + value).split("\n");
    held = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

async function begin() {
  $("curl").textContent = `curl ${token ? "-H 'Authorization: Bearer TOKEN' " : ""}--data-binary @recording.wav ${location.origin}/predict`;
  try {
    model = await ask("model");
    $("token-card").hidden = true;
    const names = model.classes.slice(0, 12).join(", ") + (model.classes.length > 12 ? ` and ${model.classes.length - 12} more` : "");
    $("subline").textContent = `${model.head} on ${model.encoder}, ${model.classes.length} classes: ${names}`;
    say("");
  } catch (error) { say(error.message, true); }
}

async function give(blob, name) {
  const number = ++sent;
  if (model && blob.size > model.most_bytes) { say(`${name} has more than ${model.most_bytes / 1e6} MB`, true); return; }
  say(`Listening to ${name} …`);
  show(blob);
  try {
    const parts = lines(await post("listen", blob)), told = (await parts.next()).value;
    if (number !== sent) return; /* another recording was given meanwhile */
    draw(told);
    say(`${name}: ${told.seconds === null ? "" : seconds(told.seconds)}`);
    drawNearest(told.nearest);
    const line = await parts.next().catch(() => ({})); /* it takes longer than the label, which stays without it */
    if (number === sent && line.value && line.value.segments && !(told.seconds < 3 && told.seconds !== null)) drawTimeLine(line.value);
  } catch (error) { if (number === sent) { $("result").hidden = true; say(`${name}: ${error.message}`, true); } }
}

function draw(told) {
  $("label").textContent = told.label;
  $("certain").replaceChildren(pct(told.probability), told.known === false ? el("span", { class: "tag bad", title: `novelty ${told.novelty}` }, "unlike all that it learned from") : "");
  const most = Object.entries(told.probabilities).slice(0, 12);
  drawBars($("bars"), most);
  $("result").hidden = false;
}

function drawNearest(nearest) {
  $("timeline").replaceChildren(); $("near-card").hidden = true;
  if (!nearest) return;
  $("near").replaceChildren(...nearest.map((one) => {
    const more = el("button", { class: "more", type: "button" }, "Listen");
    more.addEventListener("click", () => play(one.clip, more));
    return el("li", {}, el("span", { class: "what" }, el("b", {}, one.label || "no label"), one.name, el("small", {}, `similarity ${one.similarity.toFixed(2)}`)), more);
  }));
  $("near-card").hidden = false;
}
async function play(clip, button) {
  const sound = await sound_of(clip);
  if (!sound) { button.textContent = "The audio was not found"; button.disabled = true; return; }
  const audio = el("audio", { controls: true, src: URL.createObjectURL(sound), "aria-label": "Play the clip" });
  button.replaceWith(audio);
  audio.play().catch(() => {});
}
function drawTimeLine(line) {
  const width = 640, height = 46, drawing = plot(width, height, `Time line: ${line.segments.map((s) => `${s.label} from ${s.onset_seconds} to ${s.offset_seconds} s`).join(", ") || "nothing for sure"}`);
  drawing.style.maxWidth = "none";
  drawing.append(svg("rect", { x: 0, y: 0, width, height: 26, rx: 5, class: "track" }));
  for (const one of line.segments) {
    const x = (width * one.onset_seconds) / line.seconds, wide = (width * (one.offset_seconds - one.onset_seconds)) / line.seconds;
    const box = svg("rect", { x, y: 0, width: Math.max(wide, 2), height: 26, rx: 4, fill: colorOf(line.classes.indexOf(one.label)) });
    drawing.append(titled(box, `${one.label}, ${one.onset_seconds} to ${one.offset_seconds} s, ${pct(one.mean_probability)}`));
    if (wide > 60) { const name = svg("text", { x: x + 6, y: 18 }, cut(one.label, Math.floor(wide / 8))); name.style.fill = "#fff"; drawing.append(name); }
  }
  for (const at of ticks(0, line.seconds, 8)) drawing.append(svg("text", { x: Math.min((width * at) / line.seconds, width - 20), y: 42 }, `${short(at)} s`));
  const rows = line.segments.map((one) => el("li", {}, `${one.onset_seconds.toFixed(1)} to ${one.offset_seconds.toFixed(1)} s: `, el("b", {}, one.label), ` ${pct(one.mean_probability)}`));
  $("timeline").replaceChildren(el("h3", {}, "When"), drawing, el("ul", { class: "vh" }, ...rows));
}

async function record() {
  if (recorder) { recorder.stop(); return; }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const parts = [], own = (recorder = new MediaRecorder(stream)), started = Date.now();
    const clock = setInterval(() => {
      const passed = (Date.now() - started) / 1000;
      say(`Recording: ${passed.toFixed(0)} s (R or the button stops it)`);
      if (passed >= MOST_RECORDED_SECONDS && own.state === "recording") own.stop();
    }, 250);
    own.ondataavailable = (event) => parts.push(event.data);
    own.onstop = () => {
      clearInterval(clock);
      stream.getTracks().forEach((track) => track.stop());
      recorder = null;
      $("record").setAttribute("aria-pressed", "false"); $("record").textContent = "Record";
      give(new Blob(parts, { type: own.mimeType.split(";")[0] }), "the recording");
    };
    own.start();
    $("record").setAttribute("aria-pressed", "true"); $("record").textContent = "Stop";
  } catch (error) { recorder = null; say(`The microphone cannot be used: ${error.message}`, true); }
}

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { const [file] = $("file").files; if (file) give(file, file.name); $("file").value = ""; });
$("record").addEventListener("click", record);
if (!navigator.mediaDevices || !window.MediaRecorder) { $("record").disabled = true; $("record").title = "A browser gives the microphone to https and to this machine's own address only"; }
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (event.key === "r" || event.key === "R") { event.preventDefault(); record(); }
  if (event.key === "o" || event.key === "O") { event.preventDefault(); $("choose").click(); }
});
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => { event.preventDefault(); const [file] = event.dataTransfer.files; if (file) give(file, file.name); });
begin().then(() => { document.documentElement.dataset.ready = "yes"; });
