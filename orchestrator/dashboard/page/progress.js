// The heading, how far the study is, what its slots train.

function showAllOfIt() {
  byId("study").textContent = head.name;
  document.title = head.name ? head.name + " – Leaderboard" : "Leaderboard";
  putLines("about", head.about);
  putLines("notes", head.notes);
  showPlan();
  showBoard();
  showImportance();
  showConfusion();
  offerCurves();
  prepareSlices();
  byId("curves-section").hidden = !window.Plotly || !head.epochs.done;
  ["slices", "parallel"].forEach(function (name) {
    byId(name + "-section").hidden = !window.Plotly || !head.fields.length || !scored().length;
  });
  redrawAll();
}

function putLines(id, texts) {
  byId(id).replaceChildren.apply(byId(id), texts.map(function (text) { return element("p", text); }));
}

function showPlan() {
  if (!head) return;
  var done = head.epochs.done, whole = done + head.epochs.left, counts = head.counts;
  var unknown = head.planned - rows.size;
  // What changes every second is not read out: only what is done is.
  var times = [];
  var parts = [counts.finished + " of " + head.planned + " trials finished"];
  if (counts.running) parts.push(counts.running + " running");
  if (counts.stopped) parts.push(counts.stopped + " stopped");
  if (counts.failed) parts.push(counts.failed + " failed");
  if (counts.queued) parts.push(counts.queued + " queued");
  if (unknown > 0) parts.push(unknown + " to be proposed");
  if (whole) parts.push(done + " of " + (unknown > 0 ? "at least " : "") + whole + " epochs trained");
  var open = counts.running + counts.queued + Math.max(0, unknown) > 0;
  var trained = head.slots.filter(function (slot) { return slot.since !== null; }).length;
  if (open && !placed && head.num_slots > trained)
    parts.push(trained + " of " + head.num_slots + " slots have trained, the others start or wait for room");
  var since = nowS() - Date.parse(head.updated) / 1000;
  if (open && head.per_epoch_s !== null) {
    var left = head.epochs.left;
    if (unknown > 0 && rows.size) left += unknown * (whole / rows.size);
    if (placed || since > 60 * (1 + head.per_epoch_s)) times.push("not finished");
    else times.push("about " + duration(left * head.per_epoch_s - since) + " left");
  }
  if (!placed && open && head.updated) times.push("last report " + duration(since) + " ago");
  if (byId("plan").textContent !== parts.join(" · ")) byId("plan").textContent = parts.join(" · ");
  byId("times").textContent = times.map(function (words) { return " · " + words; }).join("");
  byId("bar").max = Math.max(1, unknown > 0 ? head.planned : whole);
  byId("bar").value = unknown > 0 ? counts.finished + counts.stopped + counts.failed : done;
  showSlots(open);
}

function showSlots(open) {
  byId("slots-box").hidden = !head.slots.length;
  var body = byId("slots").tBodies[0];
  body.replaceChildren.apply(body, head.slots.map(function (slot) {
    var line = element("tr"), name = element("th", slot.slot);
    name.scope = "row";
    var end = open && !placed ? nowS() : slot.until;
    // As SlotState.busy_share: an epoch at work counts, for as long as the one before it took.
    var running = slot.ended || slot.trial === null ? 0 : Math.min(Math.max(0, end - slot.until), slot.last_s);
    var known = slot.since !== null && end > slot.since;
    var share = known ? Math.min(1, (slot.busy_s + running) / (end - slot.since)) : 0;
    line.append(name, element("td", slot.trial === null ? "–" : String(slot.trial)),
      element("td", slot.trial === null ? "–" : slot.epoch + "/" + slot.epochs + (slot.ended ? ", ended" : "")),
      element("td", known ? Math.round(100 * share) + " %" : "–"),
      element("td", placed ? "–" : duration(nowS() - slot.until) + " ago"));
    return line;
  }));
}
