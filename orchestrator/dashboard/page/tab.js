// Adds a Leaderboard tab beside Jobs. The dashboard draws its bar anew now and then: so we watch.
(function () {
  "use strict";
  function add() {
    if (document.getElementById("leaderboard-tab")) return;
    var links = Array.prototype.slice.call(document.querySelectorAll("a[href]"));
    var jobs = links.find(function (a) { return /#\/jobs$/.test(a.href) && a.textContent.trim() === "Jobs"; });
    if (!jobs) return;
    var tab = jobs.cloneNode(true);
    tab.id = "leaderboard-tab";
    tab.href = leaderboardRoute;
    tab.textContent = "Leaderboard";
    tab.removeAttribute("aria-current");
    jobs.parentNode.insertBefore(tab, jobs.nextSibling);
  }
  document.addEventListener("DOMContentLoaded", function () {
    new MutationObserver(add).observe(document.body, { childList: true, subtree: true });
    add();
  });
})();
