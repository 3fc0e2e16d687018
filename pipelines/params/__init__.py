"""params.yaml: its schema, its errors by line, and the recipes that write it."""

from pipelines.params.schema import MARK, Params, load_params

__all__ = ["MARK", "Params", "load_params"]
