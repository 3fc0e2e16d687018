"""params.yaml: its schema, its errors by line, its recipes, and the document that describes its keys."""

from pipelines.params.schema import MARK, Params, load_params

__all__ = ["MARK", "Params", "load_params"]
