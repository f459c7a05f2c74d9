// Where the data comes from: the page itself, or the server every two seconds, then only what
// changed.

function take(document_) {
  if (!document_.since) rows.clear();
  document_.rows.forEach(function (row) { rows.set(row.trial, row); });
  head = document_;
  run = document_.run || "";
  version = document_.version;
  document_.rows = null;
  showAllOfIt();
}

function say(problem) {
  byId("problem").textContent = problem;
  byId("problem").hidden = !problem;
}

async function fetchJson(url) {
  var answer;
  try {
    answer = await fetch(url, { credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    throw new Error("Nothing answers: has the command ended?");
  }
  if (answer.status === 204) return null;
  if (answer.status === 401 || answer.status === 403)
    throw new Error("Ray's dashboard asks for its token: open it, log in, and come back.");
  if (!answer.ok) throw new Error("The command that served this page has ended. The study's " +
    "folder has the page as leaderboard.html.");
  return answer.json();
}

async function look() {
  try {
    var list = await fetchJson("/api/leaderboard/studies");
    showStudies(list.studies);
    if (chosenStudy) {
      var asked = chosenStudy;
      var study = await fetchJson("/api/leaderboard/study?study=" + encodeURIComponent(chosenStudy) +
        "&since=" + version + "&run=" + encodeURIComponent(run));
      if (asked !== chosenStudy) return; // another was chosen meanwhile
      if (study) take(study); else if (head) showPlan();
      var known = list.studies.find(function (study) { return study.study === chosenStudy; });
      say(known && known.problem ? "This study's ledger cannot be read: " + known.problem : "");
    } else {
      say("");
    }
  } catch (error) {
    say(error.message);
  }
}

async function watch() {
  if (!document.hidden) await look();
  setTimeout(watch, POLL_MS);
}

function showStudies(studies) {
  var select = byId("studies"), names = studies.map(function (s) { return s.study; });
  var named = "";
  try { named = decodeURIComponent(location.hash.slice(1)); } catch (error) { /* no name */ }
  if (!chosenStudy && names.length) chosenStudy = names.includes(named) ? named : names[0];
  else if (names.includes(named) && named !== chosenStudy) choose(named);
  var known = Array.from(select.options, function (option) { return option.value; });
  studies.forEach(function (study, i) {
    var words = study.name + (study.best === null ? "" : "  " + figure(study.best, 3)) +
      (study.open ? "  (unfinished)" : "");
    if (known[i] !== study.study) {
      var option = element("option", words);
      option.value = study.study;
      select.replaceChild(option, select.options[i] || select.appendChild(element("option")));
    } else if (select.options[i].textContent !== words) {
      select.options[i].textContent = words;
    }
  });
  while (select.options.length > studies.length) select.remove(studies.length);
  if (chosenStudy) select.value = chosenStudy;
  byId("chooser").hidden = studies.length < 2;
}

function choose(name) {
  chosenStudy = name;
  rows.clear(); lines.clear(); picked.clear();
  version = 0; run = ""; head = null;
  byId("slices").replaceChildren();
  byId("board").tBodies[0].replaceChildren();
}
