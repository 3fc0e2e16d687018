"""Pages of MLflow that show a flow run's results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipelines import paths
from pipelines.environment import tracking_uri
from pipelines.messages import clean
from pipelines.params import load_params
from pipelines.tracking import published_state
from pipelines.tracking.mlflow_errors import tracking_errors


def addresses(root: Path, flow_run: str | None) -> dict[str, str]:
    """What -> its page: the run, the report, candidate and champion. Nothing where MLflow has no server.

    flow_run: None of a run that had nothing to publish. Raises TrackingError where MLflow fails.
    """
    base = clean(tracking_uri(root)).rstrip("/")
    if not base.startswith("http"):
        return {}
    if flow_run is None and (known := published_state.expected(root)) is not None:
        return _model_pages(base, known.model, known.aliases)
    from pipelines.tracking.mlflow_store import Store

    tracking = load_params(root / paths.PARAMS).tracking
    pages: dict[str, str] = {}
    with tracking_errors(root):
        store = Store(root, tracking.experiment)
        run = store.find_by_flow_run(flow_run) if flow_run else None
        aliases = store.aliases(tracking.registered_model)
    if run is not None:
        page = f"{base}/#/experiments/{store.experiment}/runs/{run.info.run_id}"
        pages |= {"run in MLflow": page, "report": f"{page}/artifacts/report/{paths.REPORT.name}"}
    return pages | _model_pages(base, tracking.registered_model, aliases)


def _model_pages(base: str, model: str, aliases: Mapping[str, str]) -> dict[str, str]:
    return {
        f"{alias} (version {aliases[alias]})": f"{base}/#/models/{model}/versions/{aliases[alias]}"
        for alias in ("candidate", "champion")
        if alias in aliases
    }
