/* Everything that the service answers (labels, messages) reaches the page as text nodes, never as markup. */
const MOST_RECORDED_SECONDS = 30;
let model = null, recorder = null, sent = 0;

function remembered() { try { return sessionStorage.getItem("embedx-token") || ""; } catch { return ""; } }
let token = new URLSearchParams(location.hash.slice(1)).get("token") || remembered();
if (location.hash) history.replaceState(null, "", location.pathname);
function remember(text) { token = text; try { sessionStorage.setItem("embedx-token", text); } catch { /* this tab only */ } }
remember(token);

function say(text, isWrong = false) { $("status").textContent = text; $("status").classList.toggle("wrong", isWrong); }

async function ask(path, body) {
  const headers = token ? { Authorization: "Bearer " + token } : {};
  if (body) headers["Content-Type"] = body.type && /^(audio|video)\//.test(body.type) ? body.type : "application/octet-stream";
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body });
  if (answer.status === 401) { $("token-card").hidden = false; $("token").focus(); }
  const told = await answer.json().catch(() => ({ error: "the service answered " + answer.status }));
  if (!answer.ok) throw new Error(told.error || "the service answered " + answer.status);
  return told;
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
    const told = await ask("predict", blob);
    if (number !== sent) return; /* another recording was given meanwhile */
    draw(told);
    say(`${name}: ${told.seconds === null ? "" : seconds(told.seconds)}`);
  } catch (error) { if (number === sent) { $("result").hidden = true; say(`${name}: ${error.message}`, true); } }
}

let playing = null;
function show(blob) {
  if (playing) URL.revokeObjectURL(playing);
  playing = URL.createObjectURL(blob);
  $("sound").replaceChildren(el("audio", { controls: true, src: playing, "aria-label": "Play the recording" }));
  const canvas = $("picture");
  canvas.hidden = true;
  if (!window.OfflineAudioContext) return;
  blob.arrayBuffer().then((bytes) => new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes))
    .then((sound) => { canvas.hidden = false; paintSpectrogram(canvas, sound.getChannelData(0)); canvas.setAttribute("aria-label", `Spectrogram, 0 to 8 kHz upwards, ${sound.duration.toFixed(1)} s`); })
    .catch(() => { canvas.hidden = true; }); /* a format that the service knows and the browser does not */
}

function draw(told) {
  $("label").textContent = told.label;
  $("certain").textContent = pct(told.probability);
  const most = Object.entries(told.probabilities).slice(0, 12);
  $("bars").replaceChildren(...most.map(([name, value]) => {
    const bar = el("i", {});
    bar.style.width = 100 * value + "%";
    return el("li", {}, el("span", {}, name), el("span", { class: "track" }, bar), el("span", {}, pct(value)));
  }));
  $("result").hidden = false;
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

const dark = matchMedia("(prefers-color-scheme: dark)");
function paint(theme) { document.documentElement.dataset.theme = theme; $("theme").textContent = theme === "dark" ? "Light" : "Dark"; }
paint(dark.matches ? "dark" : "light");
$("theme").addEventListener("click", () => paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { const [file] = $("file").files; if (file) give(file, file.name); $("file").value = ""; });
$("record").addEventListener("click", record);
if (!navigator.mediaDevices || !window.MediaRecorder) { $("record").disabled = true; $("record").title = "A browser gives the microphone to https and to this machine's own address only"; }
$("token-form").addEventListener("submit", (event) => { event.preventDefault(); remember($("token").value.trim()); begin(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (event.key === "r" || event.key === "R") { event.preventDefault(); record(); }
  if (event.key === "o" || event.key === "O") { event.preventDefault(); $("choose").click(); }
});
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => { event.preventDefault(); const [file] = event.dataTransfer.files; if (file) give(file, file.name); });
begin().then(() => { document.documentElement.dataset.ready = "yes"; });
