// The table of trials: sorted by the buttons in its head, fifty rows until more are asked for.

function columns() {
  var found = [
    { key: "place", name: "rank", number: true },
    { key: "trial", name: "trial", number: true },
  ];
  head.fields.filter(function (field) { return field.path !== "epochs"; }).forEach(function (field) {
    found.push({ key: "value:" + field.path, name: field.name, number: field.number, path: field.path });
  });
  if (head.seeds)
    found.push({ key: "mean", name: "mean over seeds", number: true }, { key: "seed", name: "seed", number: true });
  return found.concat([
    { key: "epoch", name: "epochs", number: true },
    { key: "f1", name: "macro-F1", number: true, high: true },
    { key: "accuracy", name: "accuracy", number: true, high: true },
    { key: "loss", name: "val loss", number: true },
    { key: "images_per_s", name: "img/s", number: true, high: true },
    { key: "seconds", name: "time", number: true },
    { key: "state", name: "state" },
  ]);
}

function keyOf(row, key, place) {
  if (key === "place" || key === "mean") return place.get(row.trial);
  return key.startsWith("value:") ? row.values[key.slice(6)] : row[key];
}

function sorted() {
  var place = new Map(head.order.map(function (entry, i) { return [entry[0], i]; }));
  var list = head.order.map(function (entry) { return rows.get(entry[0]); }).filter(Boolean);
  if (sorting.key === "place" && !sorting.down) return list;
  var sign = sorting.down ? -1 : 1;
  return list.sort(function (a, b) {
    var left = keyOf(a, sorting.key, place), right = keyOf(b, sorting.key, place);
    var noLeft = left === null || left === undefined, noRight = right === null || right === undefined;
    if (noLeft || noRight) return noLeft - noRight || place.get(a.trial) - place.get(b.trial);
    if (typeof left !== typeof right) { left = String(left); right = String(right); }
    return left < right ? -sign : left > right ? sign : place.get(a.trial) - place.get(b.trial);
  });
}

function showBoard() {
  byId("none").hidden = rows.size > 0;
  byId("board-box").hidden = !rows.size;
  if (!rows.size) return;
  var shape = columns(), labels = new Map(head.order), means = new Map();
  head.order.forEach(function (entry) { means.set(entry[0], entry[2]); });
  showHead(shape);
  var list = sorted(), body = byId("board").tBodies[0];
  var wanted = showAll ? list : list.slice(0, FIRST_ROWS), kept = new Map();
  wanted.forEach(function (row, i) {
    var label = labels.get(row.trial), known = lines.get(row.trial);
    var mean = means.get(row.trial), key = shape.length + label + mean + picked.has(row.trial) + head.fields.map(function (f) { return f.path; });
    var focused = false;
    if (!known || known.row !== row || known.key !== key) {
      focused = Boolean(known) && known.line.contains(document.activeElement);
      known = { row: row, key: key, line: lineOf(row, label, mean, shape) };
    }
    kept.set(row.trial, known);
    // Only what moved is moved, so that the focus stays where it is.
    if (body.rows[i] !== known.line) body.insertBefore(known.line, body.rows[i] || null);
    if (focused) known.line.querySelector("button").focus({ preventScroll: true });
  });
  while (body.rows.length > wanted.length) body.deleteRow(wanted.length);
  lines = kept;
  var more = byId("more");
  more.hidden = list.length <= FIRST_ROWS;
  more.textContent = showAll ? "Show the first " + FIRST_ROWS : "Show all " + list.length + " trials";
}

function showHead(shape) {
  var line = byId("board").tHead.rows[0], key = JSON.stringify([shape, sorting]);
  if (line.dataset.key === key) return;
  var focused = document.activeElement && document.activeElement.dataset.sort;
  line.dataset.key = key;
  line.replaceChildren.apply(line, shape.map(function (column) {
    var cell = element("th", undefined, column.number ? "number" : ""), button = element("button", column.name);
    cell.scope = "col";
    cell.setAttribute("aria-sort", sorting.key !== column.key ? "none" :
      sorting.down ? "descending" : "ascending");
    button.type = "button";
    button.dataset.sort = column.key;
    button.addEventListener("click", function () {
      var again = sorting.key === column.key;
      sorting = { key: column.key, down: again ? !sorting.down : Boolean(column.high) };
      showBoard();
    });
    cell.append(button);
    return cell;
  }));
  if (focused !== undefined) {
    var same = Array.from(line.querySelectorAll("button")).find(function (b) { return b.dataset.sort === focused; });
    if (same) same.focus();
  }
}

function lineOf(row, label, mean, shape) {
  var line = element("tr", undefined, (label.startsWith("1") && !/\d/.test(label[1] || "") ? "best " : "") + row.state);
  shape.forEach(function (column) {
    var cell = element(column.key === "trial" ? "th" : "td", undefined, column.number ? "number" : "");
    if (column.key === "trial") { cell.scope = "row"; cell.append(pickButton(row)); }
    else if (column.key === "place") cell.textContent = label;
    else if (column.key === "mean") cell.textContent = mean || "–";
    else if (column.path !== undefined) cell.textContent = valueText(row.values[column.path]);
    else cell.textContent = cellText(row, column.key);
    line.append(cell);
  });
  if (row.error) line.lastChild.title = row.error;  // the notes below the table say it too
  return line;
}

function cellText(row, key) {
  if (key === "epoch") return row.state === "finished" && !row.early ? String(row.epochs) : row.epoch + "/" + row.epochs;
  if (key === "f1") return figure(row.f1, 3) + (row.low === null ? "" : " [" + figure(row.low, 3) + ", " + figure(row.high, 3) + "]");
  if (key === "seed") return String(row.seed);
  if (key === "images_per_s") return figure(row.images_per_s, 0);
  if (key === "seconds") return row.seconds ? duration(row.seconds) : "–";
  if (key === "state") return row.state + (row.state === "stopped" ? " at " + row.epoch : "") + (row.early ? " early" : "") + (row.shared ? ", shared" : "");
  return figure(row[key], 3);
}

function pickButton(row) {
  var button = element("button", String(row.trial));
  button.type = "button";
  button.setAttribute("aria-pressed", String(picked.has(row.trial)));
  button.setAttribute("aria-label", "Trial " + row.trial + ": in colour in the charts");
  button.addEventListener("click", function () {
    if (!picked.delete(row.trial)) picked.add(row.trial);
    button.setAttribute("aria-pressed", String(picked.has(row.trial)));
    lastDraw = 0;
    redrawAll();
  });
  return button;
}
