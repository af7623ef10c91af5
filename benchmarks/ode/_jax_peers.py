"""diffrax on the same weights, as one joint system or one trajectory at a time; jitted, forward and gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _work import Layers


def double() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)  # noqa: FBT003


def network(weights: Any, y: Any) -> Any:
    import jax.numpy as jnp

    for weight, bias in weights[:-1]:
        y = jnp.tanh(y @ weight.T + bias)
    weight, bias = weights[-1]
    return y @ weight.T + bias


def paced(weights: Any, y: Any) -> Any:
    """The network at the pace that is the last, constant state."""
    import jax.numpy as jnp

    return jnp.concatenate([y[..., -1:] * network(weights, y[..., :-1]), jnp.zeros_like(y[..., -1:])], axis=-1)


def arrays(weights: Layers, dtype: type = np.float32) -> Any:
    import jax.numpy as jnp

    return [(jnp.asarray(w, dtype), jnp.asarray(b, dtype)) for w, b in weights]


class Diffrax:
    """Integrate `field(weights, y)` over `ts`; `run` and `run_gradient` are compiled at their first call."""

    def __init__(
        self,
        field: Callable[[Any, Any], Any],
        ts: np.ndarray,
        *,
        solver: str,
        controller: dict[str, float] | None = None,
        single: bool = False,
        max_steps: int = 4096,
        dt0: float | None = None,
    ) -> None:
        import diffrax
        import jax

        self.field, self.ts, self.max_steps, self.single = field, ts, max_steps, single
        self.dt0 = dt0
        self.solver, self.controller = getattr(diffrax, solver)(), controller or {}
        solve = jax.vmap(self._solve, in_axes=(None, 0, None, None)) if single else self._solve
        self._forward = jax.jit(solve)
        self._gradient = jax.jit(jax.value_and_grad(partial(self._loss, solve), has_aux=True))

    def _solve(self, weights: Any, y0: Any, rtol: float, atol: float) -> Any:
        import diffrax

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda _, y, w: self.field(w, y)),
            self.solver,
            t0=self.ts[0],
            t1=self.ts[-1],
            dt0=self.dt0,
            y0=y0,
            args=weights,
            saveat=diffrax.SaveAt(ts=self.ts),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, **self.controller),
            adjoint=diffrax.RecursiveCheckpointAdjoint(),
            max_steps=self.max_steps,
            throw=False,
        )
        return solution.ys, solution.stats["num_steps"], solution.result == diffrax.RESULTS.successful

    @staticmethod
    def _loss(solve: Callable[..., Any], weights: Any, y0: Any, rtol: float, atol: float) -> Any:
        ys, _, _ = solve(weights, y0, rtol, atol)
        return (ys**2).mean(), ys

    def run(self, weights: Any, y0: np.ndarray, *, rtol: float, atol: float) -> tuple[np.ndarray, int]:
        """States (batch, time, state) and the largest number of steps taken."""
        ys, steps, succeeded = self._forward(weights, y0, rtol, atol)
        failed = int(np.sum(~np.asarray(succeeded)))
        if failed:
            raise RuntimeError(f"{failed} solves not done in {self.max_steps} steps")
        return self._ordered(ys), int(np.max(steps))

    def run_gradient(self, weights: Any, y0: np.ndarray, *, rtol: float, atol: float) -> tuple[np.ndarray, np.ndarray]:
        """States and parameter gradient of their mean square."""
        (_, ys), grads = self._gradient(weights, y0, rtol, atol)
        return self._ordered(ys), np.concatenate([np.asarray(p).ravel() for pair in grads for p in pair])

    def temporary(self, weights: Any, y0: np.ndarray, *, rtol: float, atol: float) -> float:
        """Megabytes of temporaries that XLA plans for the gradient."""
        compiled = self._gradient.lower(weights, y0, rtol, atol).compile()
        return compiled.memory_analysis().temp_size_in_bytes / 2**20

    def _ordered(self, ys: Any) -> np.ndarray:
        ys = np.asarray(ys)
        return ys if self.single else ys.swapaxes(0, 1)
