// What matters and where the leader errs, as tables: they can be read without seeing them.

function showImportance() {
  var found = head.importance, section = byId("importance-section");
  section.hidden = !found || !head.fields.length;
  if (section.hidden) return;
  var some = Object.keys(found.within).length ? "Of the fields that all trials have, not known: " : "Not known: ";
  byId("importance-words").textContent = found.why ? some + found.why + "." :
    "Share of the variance of macro-F1 that each field explains (functional ANOVA over " +
    found.trials + " finished trials).";
  var names = new Map(head.fields.map(function (field) { return [field.path, field.name]; }));
  var body = byId("importance").tBodies[0];
  function weighed(path, share, words) {
    var line = element("tr"), name = element("th", names.get(path) || path);
    var strip = element("div", undefined, "strip"), cell = element("td", undefined, "share");
    name.scope = "row";
    strip.style.width = 100 * share + "%";
    cell.append(strip);
    line.append(name, cell, element("td", Math.round(100 * share) + " %" + words, "number"));
    return line;
  }
  var lines = Object.entries(found.shares).map(function (entry) { return weighed(entry[0], entry[1], ""); });
  Object.entries(found.within).forEach(function (entry) {
    lines.push(weighed(entry[0], entry[1][0], " of the " + entry[1][1] + " trials that have it"));
  });
  body.replaceChildren.apply(body, lines);
}

function showConfusion() {
  var leader = head.leader, table = byId("confusion");
  byId("classes-section").hidden = !leader;
  if (!leader) return;
  table.caption.textContent = "Trial " + leader.trial + ": validation images by true class (rows) and predicted class (columns), and F1 of each class";
  var top = [""].concat(head.classes, ["F1"]).map(function (name) {
    var cell = element("th", name, "number");
    cell.scope = "col";
    return cell;
  });
  table.tHead.rows[0].replaceChildren.apply(table.tHead.rows[0], top);
  table.tBodies[0].replaceChildren.apply(table.tBodies[0], leader.confusion.map(function (counts, i) {
    var line = element("tr"), name = element("th", head.classes[i]);
    var sum = counts.reduce(function (a, b) { return a + b; }, 0);
    name.scope = "row";
    line.append(name);
    counts.forEach(function (count) {
      var cell = element("td", String(count)), share = sum ? count / sum : 0;
      // No darker than leaves the ink legible on it, in light and dark (4.5:1, WCAG 2.2, 1.4.3).
      cell.style.backgroundColor = "color-mix(in srgb, var(--heat) " + Math.round(MOST_HEAT * share) + "%, var(--card))";
      line.append(cell);
    });
    line.append(element("td", figure(leader.f1[i], 3), "number"));
    return line;
  }));
}
