"use strict";
// The page's data and state, and helpers that create elements.

let data = JSON.parse(document.getElementById("data").textContent);

const storageKey = `transmute ${data.title}`;
const defaults = {
  smoothing: 0.8,
  zoom: null, // [first step, last step]; null shows all
  step: null, // step of the samples; null is the newest
  image: 0, // row of the sample sheet
  column: null, // column of the sample sheet
  split: 50, // position of the before/after divider in percent
  hidden: [], // names of hidden runs
};
const state = { ...defaults, ...loadState() };

function loadState() {
  try {
    return JSON.parse(sessionStorage.getItem(storageKey)) || {};
  } catch {
    return {}; // the browser does not allow storage
  }
}

function saveState() {
  try {
    sessionStorage.setItem(storageKey, JSON.stringify(state));
  } catch {
    // The browser does not allow storage: settings are lost on reload.
  }
}

const svgTags = ["svg", "line", "path", "polygon", "text", "rect", "circle"];

/** Creates an element. Attributes that are functions become event listeners. */
function create(tag, attributes = {}, ...children) {
  const element = svgTags.includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Replaces the children of an element, and hides its section if there are none. */
function fill(id, children) {
  const element = document.getElementById(id);
  element.replaceChildren(...children);
  const section = element.closest("section");
  if (section) section.hidden = element.childElementCount === 0;
}

const comparing = () => data.runs.length > 1;
const visibleRuns = () => data.runs.filter((run) => !state.hidden.includes(run.name));
const seriesColor = (index) => `var(--c${index % 8})`;
const runColor = (run) => seriesColor(data.runs.indexOf(run));

function formatNumber(value) {
  if (value === null) return "none";
  if (value === 0) return "0";
  const magnitude = Math.abs(value);
  if (magnitude >= 1e5 || magnitude < 1e-3) return value.toExponential(2);
  return String(+value.toPrecision(4));
}
