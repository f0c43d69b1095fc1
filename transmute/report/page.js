// Draws the page, and keeps it up to date during training.

function drawHeader() {
  const prefix = (run) => (comparing() ? `${run.name}: ` : "");
  fill(
    "summary",
    data.runs.map((run) => create("p", {}, prefix(run) + run.summary)),
  );
  fill("runs", comparing() ? data.runs.map(runButton) : []);
  fill(
    "symptoms",
    visibleRuns().flatMap((run) => run.symptoms.map((one) => drawSymptom(run, one))),
  );
}

/** A button that shows or hides a run. */
function runButton(run) {
  const visible = !state.hidden.includes(run.name);
  const toggle = () => {
    state.hidden = state.hidden.filter((name) => name !== run.name);
    if (visible) state.hidden.push(run.name);
    saveState();
    draw();
  };
  const style = `border-left: 4px solid ${runColor(run)}`;
  return create("button", { "aria-pressed": visible, style, click: toggle }, run.name);
}

function drawSymptom(run, { name, step, sentence, change }) {
  const where = ` at step ${step}${comparing() ? ` of ${run.name}` : ""}: `;
  return create(
    "div",
    { class: "symptom" },
    create("p", {}, create("b", {}, name), where, ...withCode(`${sentence}.`)),
    create("small", {}, "What to try: ", ...withCode(`${change}.`)),
  );
}

/** Text in which parts in backticks, such as names of settings, become code elements. */
function withCode(text) {
  const parts = text.split(/`([^`]*)`/);
  return parts.map((part, index) => (index % 2 ? create("code", {}, part) : part));
}

function drawSettings() {
  const recipes = data.runs.map((run) => create("pre", {}, run.recipe));
  fill("recipe", comparing() ? [differences(visibleRuns())] : recipes);
  fill("environment", data.runs.map(drawEnvironment));
}

/** A table of the settings in which runs differ. */
function differences(runs) {
  const names = new Set(runs.flatMap((run) => Object.keys(run.settings)));
  const values = (name) => runs.map((run) => run.settings[name] ?? "");
  const differing = [...names].filter((name) => new Set(values(name)).size > 1);
  if (!differing.length) return create("p", {}, "All runs have the same recipe.");
  const rows = differing.map((name) => {
    const cells = values(name).map((value) => create("td", {}, value));
    return create("tr", {}, create("td", { class: "name" }, name), ...cells);
  });
  const heads = ["differing setting", ...runs.map((run) => run.name)];
  const head = create("tr", {}, ...heads.map((text) => create("th", {}, text)));
  return create("table", {}, head, ...rows);
}

function drawEnvironment(run) {
  const rows = run.environment.map(([name, value]) =>
    create("tr", {}, create("td", { class: "name" }, name), create("td", { class: "wrap" }, value)),
  );
  const open = comparing() ? null : "";
  return create("details", { open }, create("summary", {}, run.name), create("table", {}, ...rows));
}

function draw() {
  drawHeader();
  drawSamples();
  drawCharts();
  drawSettings();
}

const smoothing = document.getElementById("smoothing");

function showSmoothing() {
  smoothing.nextElementSibling.textContent = state.smoothing.toFixed(2);
}

smoothing.value = state.smoothing;
smoothing.addEventListener("input", () => {
  state.smoothing = +smoothing.value;
  saveState();
  showSmoothing();
  drawCharts();
});
document.getElementById("unzoom").addEventListener("click", () => zoom(null));
showSmoothing();
draw();

/** Whether the page can be redrawn without disturbing the user: nothing is pressed or open. */
const isIdle = () => !document.hidden && !document.querySelector(":active, select:focus");

let receivedText = null;

async function update() {
  if (!isIdle()) return;
  const lost = document.getElementById("lost");
  try {
    const response = await fetch("data.json");
    const text = await response.text();
    if (text !== receivedText) {
      data = JSON.parse(text);
      receivedText = text;
      draw();
    }
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
}

const scrollKey = `${storageKey} scroll`;

function reload() {
  if (!isIdle()) return;
  sessionStorage.setItem(scrollKey, scrollY);
  location.reload();
}

if (data.live) {
  setInterval(update, 3000);
} else if (data.runs.some((run) => run.running)) {
  setInterval(reload, 30000);
  scrollTo(0, sessionStorage.getItem(scrollKey) || 0);
}
