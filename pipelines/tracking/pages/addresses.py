"""Pages of MLflow that show a flow run's results."""

from __future__ import annotations

from pathlib import Path

from pipelines import paths
from pipelines.messages import clean
from pipelines.params import load_params
from pipelines.tracking.mlflow_errors import tracking_errors
from pipelines.tracking.mlflow_store import Store
from pipelines.tracking.registry.registered_model import RegisteredModel


def addresses(root: Path, flow_run: str) -> dict[str, str]:
    """What -> its page: the run, the report, candidate and champion. Nothing where MLflow has no server.

    Raises TrackingError where MLflow fails.
    """
    tracking = load_params(root / paths.PARAMS).tracking
    with tracking_errors(root):
        store = Store(root, tracking.experiment)
        if not store.uri.startswith("http"):
            return {}
        pages: dict[str, str] = {}
        base = clean(store.uri).rstrip("/")
        if (run := store.find_by_flow_run(flow_run)) is not None:
            page = f"{base}/#/experiments/{store.experiment}/runs/{run.info.run_id}"
            pages |= {"run in MLflow": page, "report": f"{page}/artifacts/report/{paths.REPORT.name}"}
        model = RegisteredModel(store, tracking.registered_model)
        for alias in ("candidate", "champion"):
            if (version := model.aliased(alias)) is not None:
                pages[f"{alias} (version {version.version})"] = (
                    f"{base}/#/models/{model.name}/versions/{version.version}"
                )
        return pages
