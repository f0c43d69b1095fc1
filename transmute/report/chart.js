// A chart over steps. A series is {label, color, dash, points}, and a point is
// [step, value] or [step, value, low, high].

const width = 360;
const height = 200;
const margin = { left: 46, right: 8, top: 8, bottom: 22 };
const plotWidth = width - margin.left - margin.right;
const plotHeight = height - margin.top - margin.bottom;
const unsmoothed = ["rate", "images_per_second", "load_milliseconds"];

let crosshairs = []; // one function per chart, which shows the values at a step

/** Exponential moving average, corrected for its start. */
function smoothPoints(points, decay) {
  let total = 0;
  let weight = 0;
  return points.map(([step, value]) => {
    total = decay * total + value;
    weight = decay * weight + 1;
    return [step, total / weight];
  });
}

/** Round numbers between low and high, about `count` of them. */
function ticks(low, high, count) {
  const exact = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(exact));
  const spacing = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= exact) * power;
  const first = Math.ceil(low / spacing - 1e-9);
  const length = Math.min(10, Math.floor(high / spacing + 1e-6) - first + 1);
  return Array.from({ length: Math.max(0, length) }, (_, index) => (first + index) * spacing);
}

// Not Math.min(...values): long curves would exceed the limit on arguments.
const minimum = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const maximum = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

/** The value range of an axis: from 0 if the values are far apart, and never empty. */
function valueRange(values) {
  if (!values.length) return [0, 1];
  let low = minimum(values);
  let high = maximum(values);
  if (low > 0 && low < 0.7 * high) low = 0;
  if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high))) {
    low -= 0.5 * Math.abs(low) + 1e-6;
    high += 0.5 * Math.abs(high) + 1e-6;
  }
  return [low, high];
}

/** A chart with a title, a legend, axes and one line per series. */
function drawChart(title, name, allSeries, smooth) {
  const series = allSeries.map((one) => ({
    ...one,
    points: one.points.filter((point) => point.every((value) => value !== null)),
  }));
  const steps = series.flatMap(({ points }) => points.map(([step]) => step));
  const [first, last] = state.zoom || (steps.length ? [minimum(steps), maximum(steps)] : [0, 1]);
  const isVisible = ([step]) => step >= first && step <= last;
  for (const one of series) {
    one.line = (smooth ? smoothPoints(one.points, state.smoothing) : one.points).filter(isVisible);
    one.points = one.points.filter(isVisible);
  }
  const [low, high] = valueRange(series.flatMap(({ points }) => points.flatMap((p) => p.slice(1))));
  const axes = {
    first,
    last,
    low,
    high,
    x: (step) => margin.left + (plotWidth * (step - first)) / Math.max(last - first, 1e-9),
    y: (value) => margin.top + (plotHeight * (high - value)) / (high - low),
  };
  const svg = create("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": `${name} over steps`,
  });
  svg.append(...drawAxes(axes));
  const clip = { x: margin.left, y: 0, width: plotWidth, height };
  const plot = create("svg", { ...clip, viewBox: `${margin.left} 0 ${plotWidth} ${height}` });
  for (const one of series) plot.append(...drawSeries(one, axes, smooth));
  svg.append(plot);
  const legend = create("figcaption");
  addInteraction(svg, legend, series, axes);
  return create("figure", {}, title === null ? null : create("h3", {}, title), legend, svg);
}

function drawAxes({ first, last, low, high, y }) {
  const right = width - margin.right;
  const lines = ticks(low, high, 4).flatMap((tick) => [
    create("line", { x1: margin.left, x2: right, y1: y(tick), y2: y(tick), stroke: "var(--line)" }),
    create(
      "text",
      { x: margin.left - 5, y: y(tick) + 4, "text-anchor": "end" },
      formatNumber(tick),
    ),
  ]);
  return [
    ...lines,
    create("text", { x: margin.left, y: height - 5 }, formatNumber(first)),
    create("text", { x: right, y: height - 5, "text-anchor": "end" }, `step ${formatNumber(last)}`),
  ];
}

function drawSeries({ points, line, color, dash }, { x, y }, smooth) {
  const path = (line) =>
    line
      .map(
        ([step, value], index) =>
          `${index ? "L" : "M"}${x(step).toFixed(1)},${y(value).toFixed(1)}`,
      )
      .join("");
  const dot = ([step, value]) =>
    create("circle", { cx: x(step), cy: y(value), r: 2.5, style: `fill:${color}` });
  const stroke = { fill: "none", style: `stroke:${color}` };
  const elements = [];
  if (points.some((point) => point.length > 2)) {
    const edge = [
      ...points.map(([step, , , high]) => [step, high]),
      ...points.map(([step, , low]) => [step, low]).reverse(),
    ];
    const corners = edge.map(([step, value]) => `${x(step)},${y(value)}`).join(" ");
    const fillStyle = { style: `fill:${color}`, "fill-opacity": 0.15 };
    elements.push(create("polygon", { points: corners, ...fillStyle }), ...points.map(dot));
  } else if (points.length === 1) {
    elements.push(dot(points[0]));
  } else if (smooth) {
    elements.push(create("path", { d: path(points), ...stroke, "stroke-opacity": 0.25 }));
  }
  const dashes = dash ? { "stroke-dasharray": dash } : {};
  elements.push(create("path", { d: path(line), ...stroke, "stroke-width": 1.8, ...dashes }));
  return elements;
}

/** Shows the values under the pointer in all charts, and zooms when the pointer is dragged. */
function addInteraction(svg, legend, series, { first, last, x }) {
  const vertical = { y1: margin.top, y2: height - margin.bottom };
  const crosshair = create("line", {
    ...vertical,
    stroke: "var(--dim)",
    "stroke-dasharray": "3 3",
  });
  const selection = create("rect", {
    y: margin.top,
    height: plotHeight,
    fill: "var(--accent)",
    "fill-opacity": 0.15,
  });
  const setVisible = (element, visible) =>
    element.setAttribute("visibility", visible ? "visible" : "hidden");
  setVisible(selection, false);
  svg.append(selection, crosshair);

  function showValues(step) {
    setVisible(crosshair, step !== null);
    crosshair.setAttribute("x1", x(step ?? first));
    crosshair.setAttribute("x2", x(step ?? first));
    const keys = series
      .filter(({ line }) => line.length)
      .map(({ line, color, label }) => {
        const point = step === null ? line[line.length - 1] : nearest(line, (one) => one[0], step);
        const text = ` ${formatNumber(point[1])}${step === null ? "" : ` at ${point[0]}`}`;
        return create(
          "span",
          { class: "key" },
          create("b", { style: `color:${color}` }, label),
          text,
        );
      });
    legend.replaceChildren(...keys);
  }

  function stepAt(event) {
    const box = svg.getBoundingClientRect();
    const position = ((event.clientX - box.left) / box.width) * width;
    const step = first + ((position - margin.left) / plotWidth) * (last - first);
    return Math.min(last, Math.max(first, step));
  }

  let start = null; // step at which dragging began
  svg.addEventListener("pointermove", (event) => {
    const step = stepAt(event);
    crosshairs.forEach((show) => show(step));
    if (start === null) return;
    setVisible(selection, true);
    selection.setAttribute("x", Math.min(x(start), x(step)));
    selection.setAttribute("width", Math.abs(x(step) - x(start)));
  });
  svg.addEventListener("pointerleave", () => {
    start = null;
    setVisible(selection, false);
    crosshairs.forEach((show) => show(null));
  });
  svg.addEventListener("pointerdown", (event) => {
    start = stepAt(event);
  });
  svg.addEventListener("pointerup", (event) => {
    const range = [start, stepAt(event)].sort((a, b) => a - b);
    const dragged = start !== null && x(range[1]) - x(range[0]) > 8;
    start = null;
    setVisible(selection, false);
    if (dragged) zoom(range);
  });
  svg.addEventListener("dblclick", () => zoom(null));
  crosshairs.push(showValues);
  showValues(null);
}

/** The element whose key is closest to a value; the first if several are. */
function nearest(elements, key, value) {
  return elements.reduce((best, one) =>
    Math.abs(key(one) - value) < Math.abs(key(best) - value) ? one : best,
  );
}
