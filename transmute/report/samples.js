// Sample sheets: one cell before and after translation, at all steps, and the whole sheet.

const loadedImages = new Map();

/** Loads an image once. Resolves to null if that fails. */
function loadImage(source) {
  if (!loadedImages.has(source)) {
    const loading = new Promise((resolve) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => {
        loadedImages.delete(source);
        resolve(null);
      };
      image.src = source;
    });
    loadedImages.set(source, loading);
  }
  return loadedImages.get(source);
}

/** Draws one cell of a sample sheet. Leaves the canvas empty if the sheet lacks it. */
async function drawCell(canvas, { source, sheet }, row, column) {
  const index = sheet ? sheet.columns.indexOf(column) : -1;
  if (index < 0 || row >= sheet.tops.length) return;
  const size = [sheet.width, sheet.heights[row]];
  [canvas.width, canvas.height] = size;
  const image = await loadImage(source);
  if (!image) return;
  canvas
    .getContext("2d")
    .drawImage(image, sheet.lefts[index], sheet.tops[row], ...size, 0, 0, ...size);
}

const isInput = (column) => /^(real|input)/.test(column);
const outputColumns = (sheet) => (sheet ? sheet.columns.filter((name) => !isInput(name)) : []);

/** The column that an output is compared with: for `identity b` it is `real b`. */
function inputColumn(columns, column) {
  const real = column.replace(/^identity/, "real");
  if (real !== column && columns.includes(real)) return real;
  const before = columns.slice(0, columns.indexOf(column));
  return before.reverse().find(isInput) || columns[0];
}

/** Selects a step of the samples. The newest is stored as null, so that it stays the newest. */
function selectStep(step, newest) {
  state.step = step === newest ? null : step;
  saveState();
}

function drawSamples() {
  const runs = visibleRuns().filter((run) => run.samples.length);
  if (!runs.length) {
    fill("controls", []);
    fill("samples", []);
    return;
  }
  const steps = [...new Set(runs.flatMap((run) => run.samples.map(({ step }) => step)))];
  steps.sort((a, b) => a - b);
  const newest = steps[steps.length - 1];
  const currentStep = () => nearest(steps, (step) => step, state.step ?? newest);
  const sheets = runs.map((run) => run.samples[run.samples.length - 1].sheet);
  const columns = [...new Set(sheets.flatMap(outputColumns))];
  const column = columns.includes(state.column) ? state.column : columns[0];
  const stepLabel = create("output");
  const drawPanels = () => {
    stepLabel.textContent = currentStep();
    fill(
      "samples",
      runs.map((run) => samplePanel(run, currentStep(), column)),
    );
  };
  const slider = create("input", {
    type: "range",
    min: 0,
    max: steps.length - 1,
    value: steps.indexOf(currentStep()),
    "aria-label": "step of the samples",
    // The slider is not drawn again, since it would lose the pointer while being dragged.
    input: (event) => {
      selectStep(steps[+event.target.value], newest);
      drawPanels();
    },
  });
  const controls = [create("label", { class: "wide" }, "step", slider, stepLabel)];
  if (columns.length) {
    const rows = maximum(sheets.map((sheet) => (sheet ? sheet.tops.length : 0)));
    controls.push(imageButtons(rows), columnSelect(columns, column));
  }
  fill("controls", controls);
  drawPanels();
}

function imageButtons(count) {
  const buttons = Array.from({ length: count }, (_, index) => {
    const pressed = index === Math.min(state.image, count - 1);
    const select = () => {
      state.image = index;
      saveState();
      drawSamples();
    };
    return create("button", { "aria-pressed": pressed, click: select }, String(index + 1));
  });
  return create("span", { class: "images" }, "image", ...buttons);
}

function columnSelect(columns, selected) {
  const options = columns.map((name) =>
    create("option", { value: name, selected: name === selected ? "" : null }, name),
  );
  const select = (event) => {
    state.column = event.target.value;
    saveState();
    drawSamples();
  };
  return create("label", {}, "show", create("select", { change: select }, ...options));
}

function samplePanel(run, step, selectedColumn) {
  const sample = nearest(run.samples, (one) => one.step, step);
  const columns = outputColumns(sample.sheet);
  const title = `${comparing() ? `${run.name}, ` : ""}step ${sample.step}`;
  const panel = create("div", { class: "panel" }, create("h3", {}, title));
  const alt = `all samples at step ${sample.step}`;
  const wholeSheet = create("img", { src: sample.source, alt });
  if (!columns.length) {
    panel.append(create("div", { class: "sheet" }, wholeSheet));
    return panel;
  }
  const column = columns.includes(selectedColumn) ? selectedColumn : columns[0];
  const row = Math.min(state.image, sample.sheet.tops.length - 1);
  const link = { class: "sheet", href: sample.source, target: "_blank", title: alt };
  const sheet = comparing() ? null : create("a", link, wholeSheet);
  panel.append(
    create("div", { class: "look" }, beforeAndAfter(sample, row, column), sheet),
    filmStrip(run, sample, row, column),
  );
  return panel;
}

/** The input and the output on top of each other, with a divider that can be dragged. */
function beforeAndAfter(sample, row, column) {
  const input = inputColumn(sample.sheet.columns, column);
  const before = create("canvas");
  const after = create("canvas", { class: "after" });
  drawCell(before, sample, row, input);
  drawCell(after, sample, row, column);
  const pair = create(
    "div",
    {
      class: "pair",
      role: "slider",
      tabindex: 0,
      "aria-label": "before and after",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      style: `aspect-ratio:${sample.sheet.width}/${sample.sheet.heights[row]}`,
    },
    before,
    after,
    create("i"),
    create("span", { style: "left:6px" }, input),
    create("span", { style: "right:6px" }, column),
  );
  const follow = (event) => {
    const box = pair.getBoundingClientRect();
    moveDividers((100 * (event.clientX - box.left)) / box.width);
  };
  pair.addEventListener("pointerdown", (event) => {
    pair.setPointerCapture(event.pointerId);
    follow(event);
  });
  pair.addEventListener("pointermove", (event) => {
    if (event.buttons) follow(event);
  });
  pair.addEventListener("pointerup", saveState);
  pair.addEventListener("keydown", (event) => {
    const change = { ArrowLeft: -5, ArrowRight: 5 }[event.key];
    if (!change) return;
    event.preventDefault();
    moveDividers(state.split + change);
    saveState();
  });
  requestAnimationFrame(() => moveDividers(state.split));
  return pair;
}

function moveDividers(percent) {
  state.split = Math.min(100, Math.max(0, percent));
  for (const pair of document.querySelectorAll(".pair")) {
    pair.querySelector(".after").style.clipPath = `inset(0 0 0 ${state.split}%)`;
    pair.querySelector("i").style.left = `${state.split}%`;
    pair.setAttribute("aria-valuenow", Math.round(state.split));
  }
}

/** The same cell at all steps, as buttons that select a step. */
function filmStrip(run, selected, row, column) {
  const newest = run.samples[run.samples.length - 1].step;
  const strip = create("div", { class: "strip" });
  for (const sample of run.samples) {
    const canvas = create("canvas");
    drawCell(canvas, sample, row, column);
    const attributes = {
      "aria-pressed": sample === selected,
      "aria-label": `step ${sample.step}`,
      click: () => {
        selectStep(sample.step, newest);
        drawSamples();
      },
    };
    const button = create("button", attributes, canvas, String(sample.step));
    strip.append(button);
    if (sample === selected) {
      requestAnimationFrame(() => {
        const center = button.offsetLeft - strip.offsetLeft + button.clientWidth / 2;
        strip.scrollLeft = center - strip.clientWidth / 2;
      });
    }
  }
  return strip;
}
