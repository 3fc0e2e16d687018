"""Blocks: values that the Prefect server keeps encrypted."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.blocks.webhook import Webhook

from pipelines.deployment.changes import Changes


def secret(name: str, value: str, changes: Changes) -> None:
    """Keep `value` as the Secret block `name`."""
    if (block := _load(Secret, name)) is None or block.get() != value:
        _save(Secret(value=value), name)  # type: ignore[arg-type]
        changes.note("written", f"secret block {name}")


def webhook(name: str, address: str | None, changes: Changes) -> str | None:
    """Id of the Webhook block `name`, with `address` if one is given; None if there is no such block."""
    block = _load(Webhook, name)
    if address is not None and (block is None or block.url.get_secret_value() != address):
        headers = {"Content-Type": "application/json"}
        _save(Webhook(url=address, headers=headers), name)  # type: ignore[arg-type]
        changes.note("written", f"block {name}, the address of alerts")
        block = _load(Webhook, name)
    return None if block is None else str(block._block_document_id)


def _load(kind: type[Block], name: str) -> Any:
    """The block, or None."""
    load: Any = kind.load
    try:
        return load(name, _sync=True)
    except ValueError:  # Prefect's error for a block that does not exist.
        return None


def _save(block: Block, name: str) -> None:
    save: Any = block.save
    save(name, overwrite=True, _sync=True)
