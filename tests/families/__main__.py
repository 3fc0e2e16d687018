"""`python -m tests.families > docs/models.md`: survey every family and print the page."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

# Set before transformers is imported, so that nothing is looked up on the hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from transformers.utils import logging as transformers_logging

from .survey import survey
from .table import document, row
from .zoo import NOT_BUILT, families


def main() -> None:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    rows = []
    for model_type in sys.argv[1:] or sorted(families().keys() - NOT_BUILT.keys()):
        with TemporaryDirectory() as folder:
            rows.append(row(model_type, survey(model_type, Path(folder))[0]))
        print(rows[-1], file=sys.stderr, flush=True)
    print(document(rows), end="")


if __name__ == "__main__":
    main()
