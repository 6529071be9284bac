"use strict";
/* Everything that strangers wrote (labels, file names, notes) reaches the page as text nodes or attributes, never as markup. */
const D = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const NS = "http://www.w3.org/2000/svg";
const PAL = 10;
const state = { head: D.best, color: "class", view: D.map.length ? D.map[0].name : "", selected: -1 };
const redraw = [];

function el(tag, attrs, ...kids) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attrs || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...kids.filter((kid) => kid !== null && kid !== undefined && kid !== ""));
  return node;
}
function svg(tag, attrs, text) {
  const node = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(attrs || {})) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}
function plot(width, height, label) {
  const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  node.style.maxWidth = Math.round(width * 1.2) + "px";
  return node;
}
/* drawn narrower on a phone, so that its text stays as large as the page's */
const isPhone = () => window.innerWidth < 620;
const isNarrow = () => isPhone() || (window.innerWidth > 760 && window.innerWidth < 1000);
const plotWidth = () => (isNarrow() ? 340 : 460);
/* round numbers between two bounds */
function ticks(low, high, most) {
  const raw = (high - low) / most || 1, unit = 10 ** Math.floor(Math.log10(raw)), step = unit * [1, 2, 2.5, 5, 10].find((times) => times * unit >= raw * 0.999), found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}
const short = (value) => String(+value.toFixed(4));
/* halves go to the even digit, as in the texts that Python wrote */
function fixed(value, digits) { const x = value * 10 ** digits, even = Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x); return (even / 10 ** digits).toFixed(digits); }
const pct = (value, digits = 1) => (value === null || value === undefined ? "–" : fixed(100 * value, digits) + "%");
const num = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const cut = (text, n) => { const all = [...text]; return all.length > n ? all.slice(0, n - 1).join("") + "…" : text; };
const row = (name) => D.rows.find((one) => one.name === name);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function seconds(value) {
  if (value < 0.095) return Math.round(1000 * value) + " ms";
  if (value < 100) return value.toFixed(1) + " s";
  return value < 6000 ? (value / 60).toFixed(1) + " min" : (value / 3600).toFixed(1) + " h";
}
function bytes(value) { return value === null ? "–" : value < 5e5 ? "< 1 MB" : value < 1e9 ? Math.round(value / 1e6) + " MB" : (value / 1e9).toFixed(1) + " GB"; }
function titled(node, text) { node.append(svg("title", {}, text)); return node; }
function figure(id, title, note, drawing) {
  const box = typeof id === "string" ? $(id) : id;
  box.replaceChildren(el("figcaption", {}, title, note ? el("small", {}, note) : null), drawing);
  return box;
}

/* players: small clips lie in this file, long ones are linked */
function player(i) {
  const clip = D.clips[i];
  if (clip.audio) return el("div", {}, el("audio", { controls: true, preload: "none", src: "data:audio/ogg;base64," + clip.audio, "aria-label": "Play " + clip.id }), spectrogram(clip));
  if (clip.href) return el("a", { class: "link", href: clip.href }, clip.why ? "Open the file (" + clip.why + ")" : "Open the file");
  return el("small", {}, clip.why || "The audio was not found.");
}
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);

/* shapes tell classes apart without colour */
const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "down", "star", "x", "bar", "hexagon"];
const turned = (corners, x, y, r) => "M" + corners.map(([dx, dy]) => `${x + r * dx} ${y + r * dy}`).join("L") + "z";
function shapePath(shape, x, y, r) {
  const k = r * 0.9;
  switch (shape) {
    case "square": return `M${x - k} ${y - k}h${2 * k}v${2 * k}h${-2 * k}z`;
    case "triangle": return `M${x} ${y - r * 1.15}L${x + r * 1.1} ${y + k}L${x - r * 1.1} ${y + k}z`;
    case "down": return `M${x} ${y + r * 1.15}L${x + r * 1.1} ${y - k}L${x - r * 1.1} ${y - k}z`;
    case "diamond": return `M${x} ${y - r * 1.3}L${x + r * 1.15} ${y}L${x} ${y + r * 1.3}L${x - r * 1.15} ${y}z`;
    case "cross": { const a = r * 0.42, b = r * 1.15; return `M${x - a} ${y - b}h${2 * a}v${b - a}h${b - a}v${2 * a}h${a - b}v${b - a}h${-2 * a}v${a - b}h${a - b}v${-2 * a}h${b - a}z`; }
    case "bar": return `M${x - r * 1.4} ${y - r * 0.5}h${2.8 * r}v${r}h${-2.8 * r}z`;
    case "x": return turned([[0, 0.45], [0.8, 1.25], [1.25, 0.8], [0.45, 0], [1.25, -0.8], [0.8, -1.25], [0, -0.45], [-0.8, -1.25], [-1.25, -0.8], [-0.45, 0], [-1.25, 0.8], [-0.8, 1.25]], x, y, r);
    case "star": return turned([...Array(10)].map((_, i) => { const long = i % 2 ? 0.55 : 1.4, at = (Math.PI * i) / 5; return [long * Math.sin(at), -long * Math.cos(at)]; }), x, y, r);
    case "hexagon": return turned([...Array(6)].map((_, i) => [1.15 * Math.cos((Math.PI * i) / 3), 1.15 * Math.sin((Math.PI * i) / 3)]), x, y, r);
    default: return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
  }
}
const shapeOf = (label) => SHAPES[(label + Math.floor(label / PAL)) % SHAPES.length];
const colorOf = (label) => css("--c" + (label % PAL));
