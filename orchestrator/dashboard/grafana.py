"""A Grafana dashboard of `metrics.py`, for Grafana to import. PURE.

python -m orchestrator.dashboard.grafana > deploy/grafana.json
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from orchestrator.dashboard.metrics import METRICS, Metric

SCHEMA_VERSION: Final = 39
COLUMNS: Final = 2
WIDTH: Final = 24 // COLUMNS
HEIGHT: Final = 8
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN: Final = 'study=~"$study"'


def dashboard() -> dict[str, Any]:
    """One chart for each metric, of the studies that are chosen at the top."""
    return {
        "uid": "fer-study",
        "title": "FER studies",
        "tags": ["ray", "fer"],
        "schemaVersion": SCHEMA_VERSION,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_data_source(), _studies()]},
        "panels": [_panel(number, metric) for number, metric in enumerate(METRICS)],
    }


def expression(metric: Metric, chosen: str = CHOSEN) -> str:
    """What Prometheus is asked; a driver that ended and came again makes no second line."""
    return f"max by ({', '.join(metric.tags)}) ({metric.exported}{{{chosen}}})"


def _panel(number: int, metric: Metric) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": metric.title,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": metric.unit}, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "expr": expression(metric),
                "legendFormat": " ".join(f"{{{{{tag}}}}}" for tag in metric.tags),
            }
        ],
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"}


def _studies() -> dict[str, Any]:
    return {
        "name": "study",
        "label": "Study",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": "label_values(ray_fer_trials, study)", "refId": "studies"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "sort": 1,
    }


def as_text() -> str:
    """The file that Grafana imports."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_text())
