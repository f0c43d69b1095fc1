"use strict";
// Draws the page from the data in it; where the page is served, the data are fetched anew every few seconds.
let data = JSON.parse(document.getElementById("data").textContent);
const store = "transmute " + data.title;
const state = Object.assign({ smooth: 0.8, zoom: null, step: null, picture: 0, column: null, split: 50, hidden: [] }, recalled());
const color = (place) => `var(--c${place % 8})`;
const format = (value) => (value === null ? "none" : value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? value.toExponential(2) : String(+value.toPrecision(4)));
const images = new Map();
let charts = [];

function recalled() {
  try { return JSON.parse(sessionStorage.getItem(store)) || {}; } catch { return {}; }
}

function remember() {
  try { sessionStorage.setItem(store, JSON.stringify(state)); } catch { /* a browser that keeps nothing */ }
}

function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "line", "path", "polygon", "text", "rect", "circle"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function fill(id, ...children) {
  const place = document.getElementById(id);
  place.replaceChildren(...children.flat());
  const section = place.closest("section");
  if (section) section.hidden = place.childElementCount === 0;
}

const least = (values) => values.reduce((one, other) => Math.min(one, other), Infinity);
const most = (values) => values.reduce((one, other) => Math.max(one, other), -Infinity);
const shown = () => data.runs.filter((run) => !state.hidden.includes(run.name));

// Curves

function smoothed(points, share) {
  let total = 0, weight = 0;
  return points.map(([x, y]) => { total = share * total + y; weight = share * weight + 1; return [x, total / weight]; });
}

function nice(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((one) => one * power >= raw) * power;
  const first = Math.ceil(low / step - 1e-9), number = Math.min(10, Math.floor(high / step + 1e-6) - first + 1);
  return Array.from({ length: Math.max(0, number) }, (_, nth) => (first + nth) * step);
}

function chart(name, series, { smooth = true } = {}) {
  const width = 360, height = 200, left = 46, right = 8, top = 8, bottom = 22;
  series = series.map((one) => Object.assign({}, one, { points: one.points.filter((point) => point.every((value) => value !== null)) }));
  const all = series.flatMap((one) => one.points.map(([x]) => x));
  const [first, last] = state.zoom || (all.length ? [least(all), most(all)] : [0, 1]);
  const inside = ([x]) => x >= first && x <= last;
  const lines = series.map((one) => Object.assign({}, one, { line: smooth ? smoothed(one.points, state.smooth).filter(inside) : one.points.filter(inside) }));
  const values = series.flatMap((one) => one.points.filter(inside).flatMap(([, y, low, high]) => (low === undefined ? [y] : [y, low, high])));
  let low = least(values), high = most(values);
  if (!values.length) [low, high] = [0, 1];
  if (low > 0 && low < 0.7 * high) low = 0;
  if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high))) [low, high] = [low - 0.5 * Math.abs(low) - 1e-6, high + 0.5 * Math.abs(high) + 1e-6];
  const x = (step) => left + ((width - left - right) * (step - first)) / Math.max(last - first, 1e-9);
  const y = (value) => top + ((height - top - bottom) * (high - value)) / (high - low);
  const path = (points) => points.map(([step, value], place) => `${place ? "L" : "M"}${x(step).toFixed(1)},${y(value).toFixed(1)}`).join("");
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name} over steps` });
  for (const tick of nice(low, high, 4)) {
    svg.append(make("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), stroke: "var(--line)" }));
    svg.append(make("text", { x: left - 5, y: y(tick) + 4, "text-anchor": "end" }, format(tick)));
  }
  svg.append(make("text", { x: left, y: height - 5 }, format(first)), make("text", { x: width - right, y: height - 5, "text-anchor": "end" }, `step ${format(last)}`));
  const plot = make("svg", { x: left, y: 0, width: width - left - right, height, viewBox: `${left} 0 ${width - left - right} ${height}` });
  for (const one of lines) {
    const inner = one.points.filter(inside);
    if (inner.some(([, , , upper]) => upper !== undefined)) {
      const edge = [...inner.map(([step, , , upper]) => [step, upper]), ...inner.map(([step, , lower]) => [step, lower]).reverse()];
      plot.append(make("polygon", { points: edge.map(([step, value]) => `${x(step)},${y(value)}`).join(" "), style: `fill:${one.color}`, "fill-opacity": 0.15 }));
      for (const [step, value] of inner) plot.append(make("circle", { cx: x(step), cy: y(value), r: 2.5, style: `fill:${one.color}` }));
    } else if (inner.length === 1) plot.append(make("circle", { cx: x(inner[0][0]), cy: y(inner[0][1]), r: 2.5, style: `fill:${one.color}` }));
    else if (smooth) plot.append(make("path", { d: path(inner), fill: "none", style: `stroke:${one.color}`, "stroke-opacity": 0.25 }));
    plot.append(make("path", { d: path(one.line), fill: "none", style: `stroke:${one.color}`, "stroke-width": 1.8, "stroke-dasharray": one.dash || null }));
  }
  const cross = make("line", { y1: top, y2: height - bottom, stroke: "var(--dim)", "stroke-dasharray": "3 3", visibility: "hidden" });
  const drag = make("rect", { y: top, height: height - top - bottom, fill: "var(--accent)", "fill-opacity": 0.15, visibility: "hidden" });
  svg.append(plot, drag, cross);
  const caption = make("figcaption");

  function point(step) {
    cross.setAttribute("visibility", step === null ? "hidden" : "visible");
    if (step !== null) { cross.setAttribute("x1", x(step)); cross.setAttribute("x2", x(step)); }
    caption.replaceChildren(...lines.filter((one) => one.line.length).map((one) => {
      const at = step === null ? one.line[one.line.length - 1] : one.line.reduce((best, here) => (Math.abs(here[0] - step) < Math.abs(best[0] - step) ? here : best));
      return make("span", { class: "key" }, make("b", { style: `color:${one.color}` }, one.label), ` ${format(at[1])}${step === null ? "" : ` at ${at[0]}`}`);
    }));
  }
  const stepAt = (event) => {
    const box = svg.getBoundingClientRect(), place = ((event.clientX - box.left) / box.width) * width;
    return Math.min(last, Math.max(first, first + ((place - left) / (width - left - right)) * (last - first)));
  };
  let from = null;
  svg.addEventListener("pointermove", (event) => {
    const step = stepAt(event);
    charts.forEach((one) => one(step));
    if (from === null) return;
    drag.setAttribute("visibility", "visible");
    drag.setAttribute("x", Math.min(x(from), x(step)));
    drag.setAttribute("width", Math.abs(x(step) - x(from)));
  });
  svg.addEventListener("pointerleave", () => { from = null; drag.setAttribute("visibility", "hidden"); charts.forEach((one) => one(null)); });
  svg.addEventListener("pointerdown", (event) => { from = stepAt(event); });
  svg.addEventListener("pointerup", (event) => {
    const to = stepAt(event), start = from;
    from = null;
    if (start !== null && Math.abs(x(to) - x(start)) > 8) zoom([Math.min(start, to), Math.max(start, to)]);
    else drag.setAttribute("visibility", "hidden");
  });
  svg.addEventListener("dblclick", () => zoom(null));
  charts.push(point);
  point(null);
  return make("figure", {}, caption, svg);
}

function zoom(range) {
  state.zoom = range;
  remember();
  drawCharts();
}

function drawCharts() {
  charts = [];
  const runs = shown(), several = data.runs.length > 1;
  const place = (run) => data.runs.indexOf(run);
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.curves)))];
  const groups = new Map();
  for (const name of names) {
    const kind = several ? name : name.replace(/_(a|b|real|fake)$/, "");
    groups.set(kind, [...(groups.get(kind) || []), name]);
  }
  const losses = [...groups].map(([kind, members]) => {
    const series = runs.flatMap((run) => members.filter((name) => run.curves[name]).map((name, nth) => (
      { label: several ? run.name : name, color: color(several ? place(run) : nth), points: run.curves[name] })));
    return titled(several ? kind : null, chart(kind, series, { smooth: !["rate", "pictures_per_second", "load_milliseconds"].includes(kind) }));
  });
  const figures = new Map();
  for (const run of runs) for (const row of run.evaluations) for (const [direction, each] of Object.entries(row.figures)) for (const one of each) {
    const key = one.name + (one.features ? ` (${one.features})` : "");
    const label = [several ? run.name : null, direction.replaceAll("_", " ")].filter(Boolean).join(", ");
    if (!figures.has(key)) figures.set(key, new Map());
    const lines = figures.get(key);
    if (!lines.has(label)) lines.set(label, { label, color: color(several ? place(run) : lines.size), dash: several && direction === "b_to_a" ? "5 3" : null, points: [] });
    lines.get(label).points.push([row.step, one.value, one.low, one.high]);
  }
  const evaluations = [...figures].map(([name, lines]) => titled(name, chart(name, [...lines.values()], { smooth: false })));
  fill("losses", losses);
  fill("evaluations", evaluations);
  fill("figures", runs.some((run) => run.evaluations.length) ? [figureTable(runs, several)] : []);
  document.getElementById("unzoom").hidden = state.zoom === null;
}

function titled(name, drawn) {
  if (name !== null) drawn.prepend(make("h3", {}, name));
  return drawn;
}

function figureTable(runs, several) {
  const rows = [];
  for (const run of runs) {
    const last = run.evaluations[run.evaluations.length - 1];
    const best = run.evaluations.find((row) => row.step === run.best) || null;
    for (const [direction, each] of Object.entries(last ? last.figures : {})) for (const one of each) {
      const at = (row) => row && row.figures[direction] && row.figures[direction].find((other) => other.name === one.name && other.features === one.features);
      const cell = (found) => make("td", { class: "number" }, ...(found ? [format(found.value), make("small", {}, ` ${format(found.low)} to ${format(found.high)}`)] : []));
      rows.push(make("tr", {}, ...(several ? [make("td", { class: "name" }, run.name)] : []), make("td", { class: "name" }, direction.replaceAll("_", " ")), make("td", {}, one.name),
        cell(at(best)), cell(one), make("td", { class: "number" }, one.real ? `${one.fake} and ${one.real}` : `${one.fake}`), make("td", {}, one.features || "pixels")));
    }
  }
  const heads = [...(several ? ["run"] : []), "direction", "figure", several ? "best" : `best (step ${runs[0].best ?? "none"})`, "latest", "pictures", "features"];
  return make("table", {}, make("tr", {}, ...heads.map((head) => make("th", {}, head))), ...rows);
}

// Samples

function picture(source) {
  if (!images.has(source)) {
    images.set(source, new Promise((done) => {
      const image = new Image();
      image.onload = () => done(image);
      image.onerror = () => { images.delete(source); done(null); };
      image.src = source;
    }));
  }
  return images.get(source);
}

async function drawCell(canvas, sample, row, column) {
  const sheet = sample && sample.sheet, place = sheet ? sheet.columns.indexOf(column) : -1;
  if (place < 0 || row >= sheet.tops.length) return;
  [canvas.width, canvas.height] = [sheet.width, sheet.heights[row]];
  const image = await picture(sample.source);
  if (image) canvas.getContext("2d").drawImage(image, sheet.lefts[place], sheet.tops[row], sheet.width, sheet.heights[row], 0, 0, sheet.width, sheet.heights[row]);
}

const isInput = (column) => /^(real|input)/.test(column);
const outputsOf = (sheet) => (sheet ? sheet.columns.filter((column) => !isInput(column)) : []);

function inputOf(columns, column) {
  if (column === "identity" && columns.includes("target")) return "target";
  return columns.slice(0, columns.indexOf(column) + 1).reverse().find(isInput) || columns[0];
}

function nearest(samples, step) {
  return samples.reduce((best, one) => (step === null || Math.abs(one.step - step) <= Math.abs(best.step - step) ? one : best), samples[0]);
}

function drawSamples() {
  const runs = shown().filter((run) => run.samples.length);
  if (!runs.length) return fill("samples");
  const steps = [...new Set(runs.flatMap((run) => run.samples.map((one) => one.step)))].sort((one, other) => one - other);
  const place = () => (state.step === null ? steps.length - 1 : steps.reduce((best, step, nth) => (Math.abs(step - state.step) < Math.abs(steps[best] - state.step) ? nth : best), 0));
  const sheets = runs.map((run) => run.samples[run.samples.length - 1].sheet);
  const outputs = [...new Set(sheets.flatMap(outputsOf))];
  const rows = most(sheets.map((sheet) => (sheet ? sheet.tops.length : 0)));
  const column = outputs.includes(state.column) ? state.column : outputs[0];
  const told = make("output", {}, String(steps[place()]));
  const panels = () => {
    told.textContent = String(steps[place()]);
    fill("samples", runs.map((run) => runSamples(run, steps[place()], state.picture, column)));
  };
  const change = (values) => { Object.assign(state, values); remember(); drawSamples(); };
  const slider = make("input", { type: "range", min: 0, max: steps.length - 1, value: place(), "aria-label": "step of the samples",
    input: (event) => { state.step = +event.target.value === steps.length - 1 ? null : steps[+event.target.value]; remember(); panels(); } });
  const controls = [make("label", { class: "wide" }, "step", slider, told)];
  if (outputs.length) {
    const pictures = Array.from({ length: rows }, (_, nth) => make("button", { "aria-pressed": nth === Math.min(state.picture, rows - 1), click: () => change({ picture: nth }) }, String(nth + 1)));
    const choices = outputs.map((one) => make("option", { value: one, selected: one === column ? "" : null }, one));
    controls.push(make("span", {}, "picture ", ...pictures), make("label", {}, "show", make("select", { change: (event) => change({ column: event.target.value }) }, ...choices)));
  }
  fill("controls", controls);
  panels();
}

function runSamples(run, step, picture, wanted) {
  const sample = nearest(run.samples, step), outputs = outputsOf(sample.sheet);
  const column = outputs.includes(wanted) ? wanted : outputs[0], row = sample.sheet ? Math.min(picture, sample.sheet.tops.length - 1) : 0;
  const panel = make("div", { class: "panel" }, make("h3", {}, data.runs.length > 1 ? `${run.name}, step ${sample.step}` : `step ${sample.step}`));
  if (outputs.length) {
    const before = inputOf(sample.sheet.columns, column);
    const canvases = [make("canvas"), make("canvas", { class: "after" })];
    const bar = make("i");
    const pair = make("div", { class: "pair", role: "slider", tabindex: 0, "aria-label": "before and after", "aria-valuemin": 0, "aria-valuemax": 100,
      style: `aspect-ratio:${sample.sheet.width}/${sample.sheet.heights[row]}` }, ...canvases, bar,
      make("span", { style: "left:6px" }, before), make("span", { style: "right:6px" }, column));
    const split = (share) => {
      state.split = Math.min(100, Math.max(0, share));
      document.querySelectorAll(".pair").forEach((one) => {
        one.querySelector(".after").style.clipPath = `inset(0 0 0 ${state.split}%)`;
        one.querySelector("i").style.left = `${state.split}%`;
        one.setAttribute("aria-valuenow", Math.round(state.split));
      });
    };
    const follow = (event) => { const box = pair.getBoundingClientRect(); split((100 * (event.clientX - box.left)) / box.width); };
    pair.addEventListener("pointerdown", (event) => { pair.setPointerCapture(event.pointerId); follow(event); });
    pair.addEventListener("pointermove", (event) => { if (event.buttons) follow(event); });
    pair.addEventListener("pointerup", remember);
    pair.addEventListener("keydown", (event) => { const by = { ArrowLeft: -5, ArrowRight: 5 }[event.key]; if (by) { split(state.split + by); remember(); event.preventDefault(); } });
    drawCell(canvases[0], sample, row, before);
    drawCell(canvases[1], sample, row, column);
    const strip = make("div", { class: "strip" });
    for (const one of run.samples) {
      const frame = make("canvas");
      drawCell(frame, one, row, column);
      const button = make("button", { "aria-pressed": one === sample, "aria-label": `step ${one.step}`,
        click: () => { state.step = one === run.samples[run.samples.length - 1] ? null : one.step; remember(); drawSamples(); } }, frame, String(one.step));
      strip.append(button);
      if (one === sample) requestAnimationFrame(() => { strip.scrollLeft = button.offsetLeft - strip.offsetLeft - strip.clientWidth / 2 + button.clientWidth / 2; });
    }
    const all = data.runs.length === 1 ? [make("a", { class: "sheet", href: sample.source, target: "_blank", title: "all samples of this step" },
      make("img", { src: sample.source, alt: `all samples at step ${sample.step}` }))] : [];
    panel.append(make("div", { class: "look" }, pair, ...all), strip);
    requestAnimationFrame(() => split(state.split));
  } else panel.append(make("div", { class: "sheet" }, make("img", { src: sample.source, alt: `samples at step ${sample.step}` })));
  return panel;
}

// The rest

function drawRuns() {
  fill("runs", data.runs.length < 2 ? [] : data.runs.map((run, nth) => make("button", { "aria-pressed": !state.hidden.includes(run.name), style: `border-left: 4px solid ${color(nth)}`,
    click: () => { state.hidden = state.hidden.includes(run.name) ? state.hidden.filter((name) => name !== run.name) : [...state.hidden, run.name]; remember(); draw(); } }, run.name)));
  fill("summary", data.runs.map((run) => make("p", {}, (data.runs.length > 1 ? `${run.name}: ` : "") + run.summary)));
  fill("signs", shown().flatMap((run) => run.signs.map((sign) => make("div", { class: "sign" },
    make("p", {}, make("b", {}, sign.name), ` at step ${sign.step}${data.runs.length > 1 ? ` of ${run.name}` : ""}: ${sign.sentence}.`), make("small", {}, `What to try: ${sign.change}.`)))));
  fill("recipe", data.runs.length > 1 ? [differences(shown())] : data.runs.map((run) => make("pre", {}, run.recipe)));
  fill("environment", data.runs.map((run) => make("details", { open: data.runs.length === 1 ? "" : null }, make("summary", {}, run.name), make("table", {},
    ...run.environment.map(([name, value]) => make("tr", {}, make("td", { class: "name" }, name), make("td", { class: "wrap" }, value)))))));
}

function differences(runs) {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))].filter((name) => new Set(runs.map((run) => run.settings[name])).size > 1);
  if (!names.length) return make("p", {}, "These runs have one recipe.");
  return make("table", {}, make("tr", {}, make("th", {}, "what differs"), ...runs.map((run) => make("th", {}, run.name))),
    ...names.map((name) => make("tr", {}, make("td", { class: "name" }, name), ...runs.map((run) => make("td", {}, run.settings[name] ?? "")))));
}

function draw() {
  drawRuns();
  drawSamples();
  drawCharts();
}

const smoothing = document.getElementById("smoothing");
smoothing.value = state.smooth;
smoothing.nextElementSibling.textContent = state.smooth.toFixed(2);
smoothing.addEventListener("input", () => { state.smooth = +smoothing.value; smoothing.nextElementSibling.textContent = state.smooth.toFixed(2); remember(); drawCharts(); });
document.getElementById("unzoom").addEventListener("click", () => zoom(null));
draw();

if (data.live) {
  setInterval(async () => {
    if (document.hidden || document.querySelector(":active, select:focus")) return; // not from under a hand
    try {
      const answer = await fetch("data.json");
      const text = await answer.text();
      document.getElementById("lost").hidden = true;
      if (text !== draw.before) { draw.before = text; data = JSON.parse(text); draw(); }
    } catch { document.getElementById("lost").hidden = false; }
  }, 3000);
} else if (data.runs.some((run) => run.running)) {
  setInterval(() => { if (!document.hidden && !document.querySelector(":active")) { sessionStorage.setItem(`${store} place`, scrollY); location.reload(); } }, 30000);
  scrollTo(0, sessionStorage.getItem(`${store} place`) || 0);
}
