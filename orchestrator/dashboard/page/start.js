// Listens to the reader and begins.

byId("more").addEventListener("click", function () { showAll = !showAll; showBoard(); });
byId("curve").addEventListener("change", function () { lastDraw = 0; dirty.add("curves"); drawSoon(); });
byId("studies").addEventListener("change", function () {
  location.hash = encodeURIComponent(byId("studies").value);
  choose(byId("studies").value);
  look();
});
DARK.addEventListener("change", function () {
  lastDraw = 0;
  if (head) redrawAll();
});
["curves", "parallel"].forEach(function (id) { seen.observe(byId(id)); });
if (placed) {
  take(JSON.parse(placed.textContent));
} else {
  byId("ray").hidden = false;
  watch();
}
