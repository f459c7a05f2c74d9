// The charts, drawn by plotly.js: learning curves, slices, parallel coordinates.

// plotly.js takes some tags in texts for markup: none may reach it.
function inChart(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

function palette() { return DARK.matches ? PALETTE_ON_DARK : PALETTE; }

function layout(more) {
  var axis = { gridcolor: colour("--line"), zeroline: false, linecolor: colour("--line"), automargin: true };
  var made = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 12 }, showlegend: false,
    margin: { l: 55, r: 15, t: 25, b: 45 }, uirevision: "same",
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } } };
  Object.keys(more).forEach(function (key) {
    made[key] = /^[xy]axis$/.test(key) ? Object.assign({}, axis, more[key]) : more[key];
  });
  return made;
}

function plot(id, traces, more) {
  window.Plotly.react(byId(id), traces, layout(more), { displayModeBar: false, responsive: true });
}

function trialWords(row) {
  var words = head.fields.slice(0, 8).map(function (field) {
    return inChart(field.name + " " + valueText(row.values[field.path]));
  });
  return "trial " + row.trial + ", macro-F1 " + figure(row.f1, 3) + "<br>" + words.join("<br>");
}

function coloured() {
  var leaders = head.order.map(function (entry) { return entry[0]; }).filter(function (trial) {
    var row = rows.get(trial);
    return row && row.curve[0].length && row.state !== "failed" && !row.shared;
  });
  var chosen = Array.from(picked).filter(function (trial) { return rows.has(trial); });
  return (chosen.length ? chosen : leaders.slice(0, LEADERS)).slice(0, 12);
}

function offerCurves() {
  var select = byId("curve");
  if (select.options.length) return;
  head.curves.forEach(function (name) {
    var option = element("option", CURVE_NAMES[name] || name);
    option.value = name;
    select.append(option);
  });
}

function drawCurves() {
  var which = 1 + Math.max(0, head.curves.indexOf(byId("curve").value)), front = coloured();
  var tints = palette(), last = 1;
  var grey = { x: [], y: [], text: [], type: "scatter", mode: "lines", hoverinfo: "text",
    opacity: rows.size > 200 ? 0.4 : 1, line: { color: colour("--faint"), width: 1 } };
  rows.forEach(function (row) {
    last = Math.max(last, row.epoch);
    if (front.includes(row.trial) || row.shared) return;
    // One trace with gaps: a thousand traces would take seconds to draw.
    row.curve[0].forEach(function (epoch, i) {
      grey.x.push(epoch);
      grey.y.push(row.curve[which][i]);
      grey.text.push("trial " + row.trial + ", epoch " + epoch + ": " + figure(row.curve[which][i], 3));
    });
    grey.x.push(null); grey.y.push(null); grey.text.push("");
  });
  var traces = front.map(function (trial, i) {
    var row = rows.get(trial), tint = tints[i % tints.length];
    return { x: row.curve[0], y: row.curve[which], type: "scatter", mode: "lines+markers", name: "trial " + trial,
      line: { color: tint, width: 2.2, dash: i >= tints.length ? "dot" : "solid" }, marker: { size: 5, color: tint },
      hoverinfo: "text", text: row.curve[0].map(function (epoch, k) {
        return "epoch " + epoch + ": " + figure(row.curve[which][k], 3) + "<br>" + trialWords(row);
      }) };
  }).reverse();
  plot("curves", [Object.assign(grey, { showlegend: false })].concat(traces), {
    showlegend: true, legend: { orientation: "v", traceorder: "reversed" },
    xaxis: { title: { text: "epoch" }, tick0: 0, dtick: Math.ceil(last / 10) },
    yaxis: { title: { text: CURVE_NAMES[head.curves[which - 1]] || "" } } });
}

function slicedFields() { return head.fields.slice(0, MAX_SLICES); }

function prepareSlices() {
  var box = byId("slices");
  slicedFields().forEach(function (field, i) {
    if (byId("slice-" + i)) return;
    var chart = element("div", undefined, "chart");
    chart.id = "slice-" + i;
    chart.setAttribute("role", "img");
    chart.setAttribute("aria-label", "Macro-F1 of each trial by " + field.name + "; the leaderboard has both as a table");
    box.append(chart);
    seen.observe(chart);
  });
}

// Numbers as they are; anything else by its place among the values.
function axisOf(field) {
  if (field.number) return { of: function (value) { return typeof value === "number" ? value : null; }, names: null };
  var names = Array.from(new Set(Array.from(rows.values(), function (row) { return valueText(row.values[field.path]); }))).sort();
  var place = new Map(names.map(function (name, i) { return [name, i]; }));
  return { of: function (value) { return place.get(valueText(value)); }, names: names };
}

function scored() { return Array.from(rows.values()).filter(function (row) { return row.f1 !== null && row.state !== "failed" && row.state !== "stopped"; }); }

function drawSlice(i) {
  var field = slicedFields()[i], list = scored();
  if (!field) return;
  var axis = axisOf(field), front = coloured(), tints = palette();
  var x = list.map(function (row) {
    var value = axis.of(row.values[field.path]);
    // Equal values side by side, always at the same place.
    return axis.names && value !== undefined ? value + ((row.trial * 0.618) % 1 - 0.5) * 0.5 : value;
  });
  var shape = { title: { text: inChart(field.name) }, type: field.log ? "log" : "linear" };
  if (axis.names) Object.assign(shape, { tickvals: axis.names.map(function (_, k) { return k; }),
    ticktext: axis.names.map(function (name) { return inChart(name.slice(0, 18)); }), range: [-0.6, axis.names.length - 0.4] });
  if (field.log) Object.assign(shape, { dtick: 1, exponentformat: "power" });
  plot("slice-" + i, [{ x: x, y: list.map(function (row) { return row.f1; }), type: "scatter", mode: "markers",
    hoverinfo: "text", text: list.map(trialWords),
    marker: { size: list.length > 200 ? 5 : 7, opacity: 0.75, color: list.map(function (row) {
      var k = front.indexOf(row.trial);
      return k < 0 ? colour("--soft") : tints[k % tints.length];
    }) } }], { xaxis: shape, yaxis: { title: { text: "macro-F1" } }, margin: { l: 50, r: 10, t: 10, b: 45 } });
}

function drawParallel() {
  var list = scored().sort(function (a, b) { return a.f1 - b.f1; }), used = slicedFields();
  if (!list.length) return;
  var scales = used.map(function (field) { return scaleOf(field, list); });
  scales.push(scaleOf({ name: "macro-F1", number: true, log: false, score: true }, list));
  var low = list[0].f1, span = list[list.length - 1].f1 - low || 1;
  var scale = DARK.matches ? SCALE_ON_DARK : SCALE;
  var traces = scale.map(function (tint, k) {
    return { x: [], y: [], text: [], type: "scatter", mode: "lines", hoverinfo: "text",
      opacity: list.length > 200 ? 0.55 : 0.85, line: { color: tint, width: k === scale.length - 1 ? 2 : 1.2 } };
  });
  list.forEach(function (row) {
    var trace = traces[Math.min(scale.length - 1, Math.floor((row.f1 - low) / span * scale.length))], words = trialWords(row);
    scales.forEach(function (axis, i) {
      trace.x.push(i); trace.y.push(axis.at(row)); trace.text.push(words);
    });
    trace.x.push(null); trace.y.push(null); trace.text.push("");
  });
  var notes = [], bars = [];
  scales.forEach(function (scale, i) {
    bars.push({ type: "line", x0: i, x1: i, y0: 0, y1: 1, line: { color: colour("--soft"), width: 1 } });
    scale.ticks.forEach(function (tick) {
      notes.push({ x: i, y: tick[0], text: inChart(tick[1]), showarrow: false, xanchor: "left", xshift: 4,
        font: { size: 11 }, bgcolor: colour("--ground"), opacity: 0.85 });
    });
  });
  plot("parallel", traces, { annotations: notes, shapes: bars, margin: { l: 20, r: 60, t: 20, b: 45 },
    xaxis: { tickvals: scales.map(function (_, i) { return i; }), showgrid: false, range: [-0.15, scales.length - 0.6],
      ticktext: scales.map(function (scale) { return inChart(scale.name); }) },
    yaxis: { visible: false, range: [-0.06, 1.06] } });
}

function scaleOf(field, list) {
  var axis = field.score ? { of: Number, names: null } : axisOf(field);
  function raw(row) {
    var value = axis.of(field.score ? row.f1 : row.values[field.path]);
    return value === null || value === undefined ? null : field.log ? Math.log10(value) : value;
  }
  var values = list.map(raw).filter(function (value) { return value !== null; });
  var low = Math.min.apply(null, values), high = Math.max.apply(null, values), span = high - low || 1;
  var ticks = axis.names ? axis.names.slice(0, 12).map(function (name, i) { return [(i - low) / span, name.slice(0, 18)]; }) :
    [[0, low], [0.5, (low + high) / 2], [1, high]].map(function (tick) {
      return [tick[0], valueText(Number((field.log ? Math.pow(10, tick[1]) : tick[1]).toPrecision(3)))];
    });
  return { name: field.name, ticks: ticks, at: function (row) {
    var value = raw(row);
    return value === null ? null : high === low ? 0.5 : (value - low) / span;
  } };
}

// Only charts that are seen are drawn, and not more often than every few seconds.
var seen = new IntersectionObserver(function (entries) {
  entries.forEach(function (entry) {
    if (entry.isIntersecting) visible.add(entry.target.id); else visible.delete(entry.target.id);
  });
  drawSoon();
}, { rootMargin: "300px" });

function redrawAll() {
  ["curves", "parallel"].forEach(function (id) { dirty.add(id); });
  slicedFields().forEach(function (_, i) { dirty.add("slice-" + i); });
  drawSoon();
}

function drawSoon() {
  if (drawTimer || !head || !window.Plotly) return;
  var fresh = Array.from(dirty).some(function (id) { return visible.has(id) && !byId(id).data; });
  var wait = fresh ? 0 : Math.max(0, lastDraw + DRAW_EVERY_MS - Date.now());
  drawTimer = setTimeout(drawNext, wait);
}

// One chart at a time: the page answers its reader in between.
function drawNext() {
  drawTimer = 0;
  var id = Array.from(dirty).find(function (id) { return visible.has(id); });
  if (id === undefined) return;
  dirty.delete(id);
  if (id === "curves") drawCurves();
  else if (id === "parallel") drawParallel();
  else drawSlice(Number(id.slice(6)));
  lastDraw = Date.now();
  drawTimer = setTimeout(drawNext, 0);
}
