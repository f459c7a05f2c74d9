"""`report`: our figures beside the study's, each with its file, whatever the names look like."""

import html.parser
import json
import re
from urllib.parse import unquote

import numpy as np
import pytest
import yaml

from orchestrator.config.errors import ConfigError
from orchestrator.report import main
from orchestrator.results import paper_tables
from orchestrator.results.html_page import Cell, png_of
from orchestrator.results.paired_effects import paired_effects
from orchestrator.results.report_blocks import (
    Commands,
    Figure,
    Paragraph,
    Report,
    Section,
    Table,
)
from orchestrator.results.report_cells import Linker
from orchestrator.results.report_html import report_html
from orchestrator.results.report_markdown import report_markdown
from orchestrator.results.report_protocols import effects_section, find_gaps, gap_section
from orchestrator.results.report_record import banner, commands_section
from orchestrator.results.report_sources import find_sources
from orchestrator.results.report_tables import production_section
from orchestrator.results.study_fold import fold
from tests.unit import fake_study
from tests.unit.prepared_set import CLASSES, rewrite_manifest, write_set

EVIL = "<script>alert(1)</script>|[x](http://evil)"
ROWS = (("sgd", 0.001, 10), ("adam", 0.001, 15), ("adam", 0.0001, 20))


def ledger(root, name, scores, protocol="group", dataset=None, rows=ROWS):
    """A study whose trials are `rows` and came to `scores`."""
    folder = root / name
    folder.mkdir(parents=True)
    head = fake_study.head(name, CLASSES)
    head["dataset"].update(protocol=protocol, root=str(dataset or ""), fingerprint="f" * 64)
    head["environment"] = {"commit": "abc", "python": "3.11", "packages": {"ray": "2.60"}}
    head["command"] = "python -m orchestrator.ablate --space paper"
    records = [head]
    for k, ((optimizer, lr, epochs), score) in enumerate(zip(rows, scores, strict=True)):
        values = {"optimizer.name": optimizer, "optimizer.lr": lr}
        records.append(fake_study.trial(k, f"lineage{k}", epochs, values))
        records.append(fake_study.epoch(f"lineage{k}", epochs, score))
        records.append(fake_study.end(k, epochs))
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "ledger.jsonl").write_text(lines)
    return folder


def run(root, name, macro_f1, protocol="group", model="main", data="faces"):
    """A run of `train` with two epochs, the first of which is the better one."""
    folder = root / name
    folder.mkdir(parents=True)
    experiment = {
        "data": {"path": str(root / data), "protocol": protocol},
        "model": {"name": model},
        "seed": 7,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(experiment))
    epochs = [
        {
            "epoch": epoch,
            "train_accuracy": 0.9 + epoch / 100,
            "train_loss": 0.3,
            "train_macro_f1": 0.9,
            "val_accuracy": 0.8,
            "val_loss": 0.5,
            "val_macro_f1": score,
            "val_macro_f1_low": score - 0.05,
            "val_macro_f1_high": score + 0.05,
        }
        for epoch, score in ((1, macro_f1), (2, macro_f1 - 0.1))
    ]
    text = "".join(json.dumps(metrics) + "\n" for metrics in epochs)
    (folder / "metrics.jsonl").write_text(text)
    return folder


def evaluation(home, name, macro_f1, *, own=True, split="test", classes=CLASSES, **said):
    """An evaluation of the run's best epoch; `said` is added to what its file says."""
    folder = home / "evaluations" / name
    folder.mkdir(parents=True)
    content = {
        "command": f"python -m orchestrator.evaluate checkpoint={home.name}",
        "checkpoint": {"epoch": 1},
        "data": {
            "name": name,
            "protocol": "group",
            "split": split,
            "is_what_the_run_was_trained_on": own,
        },
        "trained_on": {"protocol": "group"},
        "classes": list(classes),
        "num_rows": 30,
        "macro_f1": macro_f1,
        "macro_f1_interval": [macro_f1 - 0.03, macro_f1 + 0.03],
        "accuracy": 0.77,
        "macro_average": {"precision": 0.5, "recall": 0.5, "f1": macro_f1},
        "by_class": [
            {"name": one, "precision": 0.5, "recall": 0.25, "f1": 0.333, "support": 10}
            for one in classes
        ],
        "confusion": [[8, 1, 1], [2, 6, 2], [0, 0, 10]],
    }
    for key, value in said.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    (folder / "evaluation.json").write_text(json.dumps(content))
    return folder


def diagnosis(home, verdict="both"):
    folder = home / "diagnoses" / "production"
    folder.mkdir(parents=True)
    said = {
        "verdict": verdict,
        "statement": f"It is {verdict}.",
        "production": {"name": "production", "rows": 30},
    }
    (folder / "diagnosis.json").write_text(json.dumps(said))


def adaptation(home):
    folder = home / "adaptations" / "production"
    inner = folder / "runs" / "balanced"
    inner.mkdir(parents=True)
    (inner / "metrics.jsonl").write_text("{}\n")  # not one of the study's runs
    gain = {"macro_f1": 0.123, "low": 0.05, "high": 0.2}
    said = {
        "production": {"name": "production"},
        "classes": list(CLASSES),
        "parts": {"held_out": {"rows": 15, "groups": 5}},
        "before": {
            "production": {"macro_f1": 0.4, "interval": [0.3, 0.5]},
            "old_test": {"macro_f1": 0.7},
        },
        "remedies": [
            {
                "name": "balanced",
                "words": "class-balanced sampling",
                "production": {
                    "macro_f1": 0.523,
                    "interval": [0.42, 0.61],
                    "recall": {"fear": 0.777},
                },
                "old_test": {"macro_f1": 0.69},
                "gain": gain,
                "old_gain": {**gain, "macro_f1": -0.01},
                "verdict": "helped",
            }
        ],
        "skipped": [{"name": "since", "reason": "since=N was not given"}],
    }
    (folder / "adapt.json").write_text(json.dumps(said))


def everything(root):
    """What `reproduce` leaves, made up."""
    faces = write_set(root / "faces", rows=60)
    ledger(root, "paper-group", (0.3, 0.5, 0.6), dataset=faces)
    ledger(root, "paper-random", (0.5, 0.7, 0.8), "random", dataset=faces)
    home = run(root, "main-group", 0.61)
    evaluation(home, "faces-group-test", 0.59)
    evaluation(home, "production", 0.41, own=False, split="all")
    evaluation(run(root, "main-random", 0.81, "random"), "faces-random-test", 0.79)
    run(root, "baseline-group", 0.44, model="baseline")
    diagnosis(home)
    adaptation(home)
    return root


@pytest.fixture
def whole(tmp_path):
    return everything(tmp_path / "reproduce")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The folder of a report, its page and its Markdown: drawn once, as that takes seconds."""
    root = everything(tmp_path_factory.mktemp("told") / "reproduce")
    return root / "report", *written(root)


class Page(html.parser.HTMLParser):
    """What a browser would act on: tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return "\n".join(self.words)


def written(root):
    assert main([f"study={root}"]) == 0
    page = (root / "report" / "report.html").read_text()
    return Page(page), (root / "report" / "report.md").read_text()


def test_our_figures_stand_beside_those_of_the_study(told):
    _, page, markdown = told
    for words in (page.text, markdown):
        for figure in ("0.998", "0.955", "0.66", "0.610", "0.590", "0.410", "0.600"):
            assert figure in words, figure
        assert "Table 3" in words
        assert "both" in words
        assert "class-balanced sampling" in words
        assert "+0.123" in words
        assert "0.777" in words
        assert "since=N was not given" in words


def test_the_page_says_on_top_that_the_data_are_not_aff_wild2(told):
    _, page, markdown = told
    assert "not the paper's" in page.text.split("In short")[0]
    assert "not the paper's" in markdown.split("## In short")[0]


def test_gaps_and_effects_lead_to_the_files_they_are_from(whole):
    crossed = [(optimizer, lr, 10) for optimizer in ("sgd", "adam") for lr in (0.01, 0.001)]
    ledger(whole, "factorial", (0.5, 0.6, 0.7, 0.75), rows=crossed)
    sources, link = find_sources([whole]), Linker(whole / "report")
    for section, least in ((gap_section(sources, link), 3), (effects_section(sources, link), 3)):
        cells = [
            cell
            for block in section.blocks
            if isinstance(block, Table)
            for row in block.rows
            for cell in row[1:]
            if re.match(r"[+-]?\d", cell.text if isinstance(cell, Cell) else cell)
        ]
        assert len(cells) >= least, section.title
        for cell in cells:
            assert isinstance(cell, Cell), cell
            assert (whole / "report" / unquote(cell.link)).resolve().is_file(), cell


def test_data_that_are_aff_wild2_need_no_such_words(whole):
    def claim(manifest):
        manifest["source"]["adapter"] = "affwild2"

    rewrite_manifest(whole / "faces", claim)
    for folder in ("paper-group", "paper-random"):
        ledger_file = whole / folder / "ledger.jsonl"
        fingerprint = json.loads((whole / "faces" / "manifest.json").read_text())["fingerprint"]
        ledger_file.write_text(ledger_file.read_text().replace("f" * 64, fingerprint))
    found = banner(find_sources([whole]))
    assert found == ""


def test_production_that_is_only_measured_raises_no_banner(tmp_path):
    faces = write_set(tmp_path / "faces", rows=60)
    production = write_set(tmp_path / "production", rows=90)
    fingerprint = json.loads((faces / "manifest.json").read_text())["fingerprint"]
    ledger(tmp_path, "paper-group", (0.3, 0.5, 0.6), dataset=faces)
    file = tmp_path / "paper-group" / "ledger.jsonl"
    file.write_text(file.read_text().replace("f" * 64, fingerprint))
    for place, adapter in ((faces, "affwild2"), (production, "synthetic")):
        rewrite_manifest(place, lambda manifest, to=adapter: manifest["source"].update(adapter=to))
    sources = find_sources([tmp_path])
    assert len(sources.datasets) == 2
    assert banner(sources) == ""
    rewrite_manifest(faces, lambda manifest: manifest["source"].update(adapter="folder"))
    said = banner(find_sources([tmp_path]))
    assert "faces (read by the adapter folder)" in said
    assert "production (read" not in said
    assert "Drawn faces" not in said


def test_commands_typed_beside_the_steps_are_listed_and_none_twice(tmp_path):
    home = run(tmp_path, "main-group", 0.6)
    run(tmp_path, "by-hand", 0.5)
    evaluation(home, "faces-group-test", 0.59)  # by a step
    evaluation(home, "other", 0.4, command="python -m orchestrator.evaluate typed")
    (tmp_path / "steps").mkdir()
    commands = {
        "train": f"python -m orchestrator.train out={tmp_path} name=main-group",
        "evaluate": "python -m orchestrator.evaluate checkpoint=main-group",
        "adapt": "python -m orchestrator.adapt checkpoint=main-group production=street",
    }
    for number, (name, command) in enumerate(commands.items()):
        record = {"step": name, "command": command, "started": f"2026-01-0{number + 1}"}
        (tmp_path / "steps" / f"{name}.json").write_text(json.dumps(record))
    sources = find_sources([tmp_path])
    assert sources.adaptations == [], "the record of the step `adapt` holds no adaptation"
    blocks = commands_section(sources, Linker(tmp_path)).blocks
    of_steps, others = (block.lines for block in blocks if isinstance(block, Commands))
    assert of_steps == list(commands.values())
    by_hand, typed = others
    assert by_hand.endswith("name=by-hand")
    assert typed == "python -m orchestrator.evaluate typed"


def test_averages_of_production_stand_in_the_column_of_f1(tmp_path):
    home = run(tmp_path, "main-group", 0.6)
    weighted = {"precision": 0.61, "recall": 0.62, "f1": 0.63}
    evaluation(home, "production", 0.4, own=False, weighted_average=weighted)
    blocks = production_section(find_sources([tmp_path]), Linker(tmp_path)).blocks
    paper, ours = ({cells[0]: cells for cells in texts(block)} for block in blocks[1:])
    samples = f"{paper_tables.PRODUCTION_IMAGES:,}"
    for name, value in (("macro", "0.90"), ("weighted", "0.95")):
        assert paper[f"{name} average"][1:] == ["–", "–", value, samples]
    assert paper["accuracy"][1:] == ["–", "–", "0.95", samples]
    assert ours["weighted average"][1:] == ["0.610", "0.620", "0.630", "30"]


def texts(table):
    return [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in table.rows]


def test_a_caption_keeps_its_end():
    caption = "words " * 60 + "and its end"
    table = Table(caption, ["a", "b"], [["1", "2"]])
    figure = Figure("a.png", png_of(np.zeros((2, 2, 3), np.uint8)), caption)
    page = Page(report_html(Report("t", "", [Section("s", [table, figure])])))
    assert page.text.count("and its end") == 2
    (alt,) = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert alt.endswith("and its end")


def test_every_number_leads_to_a_file_that_is_there(told):
    out, page, markdown = told
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert len(links) > 100
    for link in {*links, *re.findall(r"\]\(([^)]+)\)", markdown)}:
        assert (out / unquote(link)).is_file(), link


def test_the_page_needs_no_network_and_runs_nothing(told):
    _, page, _ = told
    tags = {tag for tag, _ in page.tags}
    assert tags.isdisjoint({"script", "link", "iframe", "object", "form"})
    for tag, attrs in page.tags:
        if tag == "img":
            assert attrs["src"].startswith("data:image/png;base64,")
    policy = [attrs["content"] for tag, attrs in page.tags if tag == "meta" and "content" in attrs]
    assert any("default-src 'none'" in text for text in policy)


def test_the_gap_is_between_trainings_that_differ_in_the_protocol_alone(whole):
    gaps = find_gaps(find_sources([whole]))
    assert [(gap.split, round(gap.value, 3)) for gap in gaps[:2]] == [
        ("validation", 0.2),
        ("test", 0.2),
    ]
    assert [round(gap.value, 3) for gap in gaps[2:]] == [0.2, 0.2, 0.2]
    low, high = gaps[0].interval
    assert (low, high) == pytest.approx((0.2 - 0.05 * 2**0.5, 0.2 + 0.05 * 2**0.5))


def test_gaps_of_studies_are_between_finished_trials_of_the_same_seed(tmp_path):
    by_protocol = {"group": ((0, 0.5), (1, 0.4), (2, 0.3)), "random": ((1, 0.6), (0, 0.9))}
    for protocol, by_seed in by_protocol.items():
        scores = [score for _, score in by_seed]
        rows = [ROWS[0]] * len(scores)
        folder = ledger(tmp_path, f"study-{protocol}", scores, protocol, rows=rows)
        records = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
        for record in records:
            if record["record"] == "trial":
                record |= {"seed": by_seed[record["trial"]][0], "configuration": 0}
        if protocol == "random":
            records[-1]["state"] = "stopped"  # that of seed 0
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "ledger.jsonl").write_text(lines)
    (gap,) = find_gaps(find_sources([tmp_path]))
    assert gap.value == pytest.approx(0.6 - 0.4)
    assert gap.words == "trial 1, seed 1, 10 epochs"


def test_a_run_from_before_a_field_was_added_is_still_the_same_training(whole):
    config = whole / "main-random" / "config.yaml"
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "gradient_clip": 0.0}))
    splits = [gap.split for gap in find_gaps(find_sources([whole]))]
    assert splits[:2] == ["validation", "test"]
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "gradient_clip": 1.0}))
    assert "test" not in [gap.split for gap in find_gaps(find_sources([whole]))]


def test_hostile_names_stay_text(tmp_path):
    root = tmp_path / "r"
    ledger(root, "study", (0.3, 0.5, 0.6), rows=[(EVIL, 0.001, 2), ("adam", 0.001, 2), ("b", 1, 2)])
    home = run(root, "a<b>&c", 0.5, model=EVIL)
    evaluation(home, "other", 0.4, own=False, classes=(EVIL, "b", "c"))
    page, markdown = written(root)
    assert all(tag != "script" for tag, _ in page.tags)
    assert "alert(1)" in page.text
    assert "<script" not in markdown
    assert not re.search(r"(?<!\\)\]\(http", markdown)
    for attrs in (attrs for tag, attrs in page.tags if tag == "a"):
        assert not attrs["href"].lower().startswith(("javascript:", "http"))
        assert (root / "report" / unquote(attrs["href"])).is_file()


def test_a_command_cannot_leave_its_block():
    lines = ["```", "</pre><script>alert(1)</script>", "a\nb"]
    report = Report("t", "", [Section("s", [Commands(lines), Paragraph("after")])])
    assert "<script" not in report_html(report)
    code = [line for line in report_markdown(report).splitlines() if "```" in line or "pre" in line]
    assert code == ["    ```", "    </pre><script>alert(1)</script>"]


def test_one_odd_file_is_named_and_hides_nothing(whole, capsys):
    (whole / "paper-random" / "ledger.jsonl").write_text('{"record": "study", "version": 99}\n')
    odd = whole / "main-group" / "evaluations" / "odd"
    odd.mkdir()
    (odd / "evaluation.json").write_text("[1]")
    assert main([f"study={whole}"]) == 1
    said = capsys.readouterr()
    assert "paper-random/ledger.jsonl" in said.err
    assert "must hold a JSON object" in said.err
    page = Page((whole / "report" / "report.html").read_text())
    assert "Not read" in page.text
    assert "0.610" in page.text


def test_values_of_another_type_do_not_break_the_report(tmp_path):
    root = tmp_path / "r"
    home = run(root, "main", 0.5)
    odd = home / "evaluations" / "odd"
    odd.mkdir(parents=True)
    content = {
        "data": "text",
        "by_class": 3,
        "macro_f1": "high",
        "macro_f1_interval": {"a": 1},
        "confusion": [[1, "x"], [2]],
        "classes": 5,
        "environment": [],
    }
    for name in ("evaluation.json", "diagnosis.json", "adapt.json"):
        (odd / name).write_text(json.dumps(content))
    page, _ = written(root)
    assert "0.500" in page.text


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="study: must hold a study"):
        main([f"study={tmp_path}"])
    with pytest.raises(ConfigError, match="also: must be a folder"):
        main([f"study={tmp_path}", f"also=[{tmp_path / 'gone'}]"])
    assert not (tmp_path / "report").exists()


def test_links_that_lead_elsewhere_are_not_followed(tmp_path, whole):
    root = tmp_path / "r"
    run(root, "main", 0.5)
    (root / "elsewhere").symlink_to(whole)
    assert len(find_sources([root]).studies) == 0


def test_the_weaknesses_of_the_study_follow_from_its_figures():
    assert all(len(changed) >= 2 for changed in paper_tables.factors_changed())
    assert "0 differ in one factor only" in paper_tables.ablation_verdict()
    assert "not label shift alone" in paper_tables.production_verdict()
    total = sum(row.samples for row in paper_tables.TABLE_5)
    assert total == paper_tables.PRODUCTION_IMAGES
    macro = sum(row.f1 for row in paper_tables.TABLE_5) / 6
    assert macro == pytest.approx(paper_tables.TABLE_5_MACRO_F1, abs=0.005)


def test_main_effects_are_differences_of_partners():
    # Additive: adam +0.2, lr 0.1 -0.1, ten epochs +0.05.
    crossed = [(o, lr, e) for o in ("sgd", "adam") for lr in (0.01, 0.1) for e in (5, 10)]
    records = [fake_study.head()]
    for k, (optimizer, lr, epochs) in enumerate(crossed):
        score = 0.3 + 0.2 * (optimizer == "adam") - 0.1 * (lr == 0.1) + 0.05 * (epochs == 10)
        values = {"optimizer.name": optimizer, "optimizer.lr": lr}
        records.append(fake_study.trial(k, f"lineage{k}", epochs, values))
        records.append(fake_study.epoch(f"lineage{k}", epochs, score))
        records.append(fake_study.end(k, epochs))
    effects = {(one.factor, one.level): one for one in paired_effects(fold(records))}
    found = {key: one.change for key, one in effects.items() if one.change is not None}
    assert found == pytest.approx(
        {("optimizer.name", "adam"): 0.2, ("optimizer.lr", 0.1): -0.1, ("epochs", 10): 0.05}
    )
    adam = effects["optimizer.name", "adam"]
    assert adam.num_pairs == 4
    assert adam.interval == pytest.approx((0.2, 0.2))


def test_main_effects_of_several_seeds_are_of_the_mean_over_those_that_all_levels_have():
    # sgd and adam by seed; adam's last seed alone would turn the sign, sgd's third has no partner.
    scores = {"sgd": (0.5, 0.4, 0.1), "adam": (0.7, 0.3)}
    records = [fake_study.head()]
    for configuration, (optimizer, of_seeds) in enumerate(scores.items()):
        for seed, score in enumerate(of_seeds):
            number = 10 * configuration + seed
            trial = fake_study.trial(number, f"l{number}", 1, {"optimizer.name": optimizer})
            records.append({**trial, "seed": seed, "configuration": configuration})
            records.append(fake_study.epoch(f"l{number}", 1, score))
            records.append(fake_study.end(number, 1))
    sgd, adam = paired_effects(fold(records))
    assert (sgd.mean, adam.mean, adam.change) == pytest.approx((0.45, 0.5, 0.05))
    assert adam.num_pairs == 1


def test_what_is_not_crossed_has_no_main_effects():
    records = [fake_study.head()]
    for k, (optimizer, lr, epochs) in enumerate(ROWS):
        values = {"optimizer.name": optimizer, "optimizer.lr": lr}
        records.append(fake_study.trial(k, f"lineage{k}", epochs, values))
        records.append(fake_study.epoch(f"lineage{k}", epochs, 0.5))
        records.append(fake_study.end(k, epochs))
    assert paired_effects(fold(records)) == ()
