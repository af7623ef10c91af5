"""One question to every cell, some cells at a time: here, or by the workers of a dask client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from scnode._errors import ScnodeError
from scnode._settings import settings

if TYPE_CHECKING:
    from distributed import Client
    from torch import Tensor

    Result = TypeVar("Result")


def each_part(
    ask: Callable[..., Result],
    model: Any,
    cells: Sequence[Tensor | None],
    *,
    size: int,
    client: Client | None,
    name: str,
) -> list[Result]:
    """What `ask(model, *part)` says of each part of the cells, in their order.

    Parameters
    ----------
    ask
        A function of a module, for workers to import, and of tensors (part, ...).
    model
        Whatever is asked; goes to every worker once.
    cells
        Tensors (cell, ...), or None where there is nothing to give.
    size
        Most cells of a part, the same with a client and without: both give the same numbers.
    client
        Of dask.distributed; None asks here.
    name
        Of the progress bar.
    """
    n = next(len(values) for values in cells if values is not None)
    columns = [[None] * -(-n // size) if values is None else list(values.split(size)) for values in cells]
    if client is not None:
        return _by_workers(client, ask, model, columns)
    from tqdm.auto import tqdm

    parts = list(zip(*columns, strict=True))
    return [ask(model, *part) for part in tqdm(parts, desc=name, disable=not settings.progress or len(parts) == 1)]


def _by_workers(client: Client, ask: Callable[..., Result], model: Any, columns: list[list[Any]]) -> list[Result]:
    if getattr(client, "asynchronous", True):
        raise ScnodeError(
            f"client={client!r} is no dask client that waits for its answers. Pass client=dask.distributed.Client(), "
            "or leave client= out."
        )
    # A part is a view, and a view takes all cells along.
    columns = [[None if part is None else part.clone() for part in column] for column in columns]
    try:
        there = client.scatter(model, broadcast=True, hash=False)
        # Neither told apart by its contents, which would be hashed: the same question is not asked twice.
        futures = client.map(ask, [there] * len(columns[0]), *columns, pure=False)
        return list(client.gather(futures))
    except ScnodeError:
        raise
    except Exception as error:
        raise ScnodeError(
            f"The workers of client={client!r} gave no answer ({type(error).__name__}: {error}). adata is unchanged. "
            "Look at their logs (client.get_worker_logs()), start a new client, or leave client= out."
        ) from error
