// What the page knows and has been asked for, and how figures are written. Every text goes
// into the page as text, never as markup. The parts of this script share one function.

var POLL_MS = 2000, DRAW_EVERY_MS = 2000, FIRST_ROWS = 50, MOST_HEAT = 60, MAX_SLICES = 16, LEADERS = 6;
// Okabe & Ito's colours, told apart with any colour vision; on dark ground the light ones first.
var PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"];
var PALETTE_ON_DARK = ["#56B4E9", "#E69F00", "#1fc39a", "#CC79A7", "#F0E442", "#ee7733"];
// From the worst to the best: ever further from the ground.
var SCALE = ["#ccd0d6", "#a9c2da", "#7fb0d6", "#4f98cc", "#1f7fbf", "#00609c", "#003a60"];
var SCALE_ON_DARK = ["#3b4653", "#355f80", "#2f7aa8", "#3596c9", "#5cb3df", "#93cdee", "#d6efff"];
var DARK = matchMedia("(prefers-color-scheme: dark)");
var CURVE_NAMES = { val_macro_f1: "validation macro-F1", val_loss: "validation loss",
  train_loss: "training loss", val_accuracy: "validation accuracy" };

var rows = new Map(), head = null, run = "", version = 0, chosenStudy = "";
var sorting = { key: "place", down: false }, showAll = false, picked = new Set();
var lines = new Map(), visible = new Set(), dirty = new Set(), lastDraw = 0, drawTimer = 0;
var placed = document.getElementById("data");

function byId(id) { return document.getElementById(id); }

function element(tag, text, kind) {
  var made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function figure(value, digits) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 1e6 ? value.toExponential(2) : value.toFixed(digits);
}

function valueText(value) {
  if (value === undefined) return "";
  if (value === null) return "none";
  if (typeof value !== "number") return String(value);
  return Math.abs(value) < 1e-3 && value !== 0 ? value.toExponential(2).replace(".00", "") :
    String(Number(value.toPrecision(4)));
}

function duration(seconds) {
  var whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return whole + " s";
  if (whole < 3600) return Math.floor(whole / 60) + " min " + (whole % 60) + " s";
  return Math.floor(whole / 3600) + " h " + Math.floor(whole % 3600 / 60) + " min";
}

function nowS() { return Date.now() / 1000; }
