/* Spectrograms are drawn from the sound that lies in the page, when they come into view: they add nothing to its size. */
const BINS = 256, SLICES = 300;
function fourier(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
  }
  for (let size = 2; size <= n; size *= 2) {
    for (let start = 0; start < n; start += size) {
      for (let k = 0; k < size / 2; k++) {
        const angle = (-2 * Math.PI * k) / size, c = Math.cos(angle), s = Math.sin(angle), a = start + k, b = a + size / 2;
        const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x; im[b] = im[a] - y; re[a] += x; im[a] += y;
      }
    }
  }
}
/* decibels below the loudest, column by column */
function levels(samples) {
  const size = 2 * BINS, step = Math.max(1, (samples.length - size) / (SLICES - 1)), found = [];
  for (let column = 0; column < SLICES; column++) {
    const first = Math.round(column * step), re = new Float64Array(size), im = new Float64Array(size);
    for (let i = 0; i < size; i++) re[i] = (samples[first + i] || 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
    fourier(re, im);
    found.push(Array.from({ length: BINS }, (_, i) => 10 * Math.log10(re[i] ** 2 + im[i] ** 2 + 1e-9)));
  }
  return found;
}
function paintSpectrogram(canvas, samples) {
  const columns = levels(samples), loudest = Math.max(...columns.map((column) => Math.max(...column))), pen = canvas.getContext("2d"), image = pen.createImageData(SLICES, BINS);
  const [r, g, b] = css("--heat").split(",").map(Number);
  columns.forEach((column, x) => column.forEach((level, i) => image.data.set([r, g, b, 255 * Math.max(0, 1 + (level - loudest) / 70)], 4 * ((BINS - 1 - i) * SLICES + x))));
  pen.putImageData(image, 0, 0);
  canvas.dataset.drawn = "yes";
}
function hear(canvas, audio) {
  const bytes = Uint8Array.from(atob(audio), (letter) => letter.charCodeAt(0));
  new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes.buffer).then((sound) => paintSpectrogram(canvas, sound.getChannelData(0))).catch(() => canvas.remove());
}
const inView = "IntersectionObserver" in window ? new IntersectionObserver((seen) => { for (const one of seen) if (one.isIntersecting) { inView.unobserve(one.target); hear(one.target, one.target.sound); } }) : null;
function spectrogram(clip) {
  if (!inView || !window.OfflineAudioContext) return null;
  const canvas = el("canvas", { class: "spectrogram", width: SLICES, height: BINS, role: "img", "aria-label": `Spectrogram, 0 to 8 kHz upwards, ${clip.seconds.toFixed(1)} s`, title: `0 to 8 kHz, ${clip.seconds.toFixed(1)} s` });
  canvas.sound = clip.audio;
  inView.observe(canvas);
  return canvas;
}
