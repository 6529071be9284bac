/* What every page of the service has: the token, questions, a sound, the theme. What is answered (labels, messages) reaches a page as text nodes, never as markup. */
function remembered() { try { return sessionStorage.getItem("embedx-token") || ""; } catch { return ""; } }
let token = new URLSearchParams(location.hash.slice(1)).get("token") || remembered();
if (location.hash) history.replaceState(null, "", location.pathname);
function remember(text) { token = text; try { sessionStorage.setItem("embedx-token", text); } catch { /* this tab only */ } }
remember(token);

function say(text, isWrong = false) { $("status").textContent = text; $("status").classList.toggle("wrong", isWrong); }

async function post(path, body, type) {
  const headers = token ? { Authorization: "Bearer " + token } : {};
  if (body) headers["Content-Type"] = type || (body.type && /^(audio|video)\//.test(body.type) ? body.type : "application/octet-stream");
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body });
  if (answer.status === 401) { $("token-card").hidden = false; $("token").focus(); }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(told.error || "the service answered " + answer.status), { status: answer.status });
}
async function ask(path, body, type) { return (await post(path, body, type)).json(); }

async function sound_of(clip) {
  const answer = await fetch(`clips/${clip}`, { headers: token ? { Authorization: "Bearer " + token } : {} });
  return answer.ok ? answer.blob() : null;
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

function drawBars(list, most) {
  list.replaceChildren(...most.map(([name, value]) => {
    const bar = el("i", {});
    bar.style.width = 100 * value + "%";
    return el("li", {}, el("span", {}, name), el("span", { class: "track" }, bar), el("span", {}, pct(value)));
  }));
}

const dark = matchMedia("(prefers-color-scheme: dark)");
function paint(theme) { document.documentElement.dataset.theme = theme; $("theme").textContent = theme === "dark" ? "Light" : "Dark"; }
paint(dark.matches ? "dark" : "light");
$("theme").addEventListener("click", () => paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
$("token-form").addEventListener("submit", (event) => { event.preventDefault(); remember($("token").value.trim()); begin(); });
