"""A state of the sampler as named tensors and a plain tree, and back: what a file can hold without running code."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from ..models import dit, oasis
from ..sampling.memory import Memory
from ..sampling.sampler import State

KINDS: dict[str, type[Any]] = {  # what a state is made of
    "state": State,
    "memory": Memory,
    "dit past": dit.Past,
    "oasis past": oasis.Past,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def freeze(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Take a state apart: its tensors by name, and a tree of plain values in which their names stand for them."""
    tensors: dict[str, Tensor] = {}

    def part(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            tensors[path] = value.contiguous()
            return {"tensor": path, "device": str(value.device)}
        if is_dataclass(value) and not isinstance(value, type):
            own = {field.name: part(getattr(value, field.name), f"{path}.{field.name}") for field in fields(value)}
            return {"kind": NAMES[type(value)], "parts": own}
        if isinstance(value, list | tuple):
            each = [part(item, f"{path}.{i}") for i, item in enumerate(value)]
            return {"list" if isinstance(value, list) else "tuple": each}
        assert value is None or isinstance(value, bool | int | float | str)
        return {"value": value}

    return tensors, part(state, "state")


def thaw(tensors: dict[str, Tensor], tree: Any) -> Any:
    """Put together what `freeze` took apart.

    Raises: CheckpointError where the two do not fit
    """

    def whole(node: Any) -> Any:
        ((form, value), *rest) = node.items()
        if form == "tensor":
            return tensors[value].to(node["device"])
        if form == "kind":
            ((_, parts),) = rest
            return KINDS[value](**{name: whole(part) for name, part in parts.items()})
        if form in ("list", "tuple"):
            each = [whole(item) for item in value]
            return each if form == "list" else tuple(each)
        if form == "value":
            return value
        raise KeyError(form)

    try:
        return whole(tree)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"A saved state does not fit together: {error!r}.") from error
