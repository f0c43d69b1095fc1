// The charts of losses and evaluations, and the table of metrics.

function zoom(range) {
  state.zoom = range;
  saveState();
  drawCharts();
}

function drawCharts() {
  const runs = visibleRuns();
  crosshairs = [];
  fill("losses", lossCharts(runs));
  fill("evaluations", evaluationCharts(runs));
  const evaluated = runs.filter((run) => run.evaluations.length);
  fill("metrics", evaluated.length ? [evaluationTable(evaluated)] : []);
  document.getElementById("unzoom").hidden = state.zoom === null;
}

/** One chart per loss when comparing runs, else one per group such as cycle_a and cycle_b. */
function lossCharts(runs) {
  const groups = new Map();
  for (const name of new Set(runs.flatMap((run) => Object.keys(run.curves)))) {
    const group = comparing() ? name : name.replace(/_(a|b|real|fake)$/, "");
    groups.set(group, [...(groups.get(group) || []), name]);
  }
  return [...groups].map(([group, names]) => {
    const series = comparing()
      ? runs.map((run) => ({
          label: run.name,
          color: runColor(run),
          points: run.curves[group] || [],
        }))
      : runs.flatMap((run) =>
          names.map((name, index) => ({
            label: name,
            color: seriesColor(index),
            points: run.curves[name],
          })),
        );
    return drawChart(comparing() ? group : null, group, series, !unsmoothed.includes(group));
  });
}

const directionName = (direction) => direction.replaceAll("_", " ");

function evaluationCharts(runs) {
  const charts = new Map(); // series by label, by metric
  for (const run of runs) {
    for (const { step, metrics } of run.evaluations) {
      for (const [direction, measured] of Object.entries(metrics)) {
        for (const metric of measured) {
          const title = metric.name + (metric.features ? ` (${metric.features})` : "");
          const label = (comparing() ? `${run.name}, ` : "") + directionName(direction);
          if (!charts.has(title)) charts.set(title, new Map());
          const series = charts.get(title);
          if (!series.has(label)) {
            series.set(label, {
              label,
              color: comparing() ? runColor(run) : seriesColor(series.size),
              dash: comparing() && direction === "b_to_a" ? "5 3" : null,
              points: [],
            });
          }
          const interval = "low" in metric && "high" in metric ? [metric.low, metric.high] : [];
          series.get(label).points.push([step, metric.value, ...interval]);
        }
      }
    }
  }
  return [...charts].map(([title, series]) => drawChart(title, title, [...series.values()], false));
}

/** The metrics of the best and the latest evaluation of each run. */
function evaluationTable(runs) {
  const rows = runs.flatMap((run) => {
    const latest = run.evaluations[run.evaluations.length - 1];
    const best = run.evaluations.find(({ step }) => step === run.best);
    return Object.entries(latest.metrics).flatMap(([direction, measured]) =>
      measured.map((metric) => {
        const inBest = (best?.metrics[direction] || []).find(
          ({ name, features }) => name === metric.name && features === metric.features,
        );
        return [
          ...(comparing() ? [create("td", { class: "name" }, run.name)] : []),
          create("td", { class: "name" }, directionName(direction)),
          create("td", {}, metric.name),
          metricCell(inBest),
          metricCell(metric),
          create("td", { class: "number" }, imageCounts(metric)),
          create("td", {}, metric.features || "pixels"),
        ];
      }),
    );
  });
  const best = comparing() ? "best" : `best (step ${runs[0].best ?? "none"})`;
  const heads = ["direction", "metric", best, "latest", "images", "features"];
  if (comparing()) heads.unshift("run");
  return create(
    "table",
    {},
    create("tr", {}, ...heads.map((head) => create("th", {}, head))),
    ...rows.map((cells) => create("tr", {}, ...cells)),
  );
}

function metricCell(metric) {
  if (!metric) return create("td", { class: "number" });
  const interval =
    "low" in metric && "high" in metric
      ? create("small", {}, ` ${formatNumber(metric.low)} to ${formatNumber(metric.high)}`)
      : null;
  return create("td", { class: "number" }, formatNumber(metric.value), interval);
}

function imageCounts({ fake, real }) {
  if (fake === undefined) return "";
  return real ? `${fake} fake, ${real} real` : `${fake}`;
}
