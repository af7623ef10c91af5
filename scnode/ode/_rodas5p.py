"""The Rosenbrock method Rodas5P: order 5, stiffly accurate, one Jacobian and one factorisation a step."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from scnode.ode._linear import Factorised
from scnode.ode._step import Step, Work, column, combine

if TYPE_CHECKING:
    from torch import Tensor

    from scnode.ode._step import Start, System

# Steinebach 2023 (BIT Numerical Mathematics 63:27), in the transformed form of Hairer & Wanner II, IV.7.
_GAMMA = 0.21193756319429014
_SIXTH = (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946)
_A = (
    (),
    (3.0,),
    (2.849394379747939, 0.45842242204463923),
    (-6.954028509809101, 2.489845061869568, -10.358996098473584),
    (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
    _SIXTH,
    (*_SIXTH, 1.0),
    (*_SIXTH, 1.0, 1.0),
)
_C = (
    (),
    (-14.155112264123755,),
    (-17.97296035885952, -2.859693295451294),
    (147.12150275711716, -1.41221402718213, 71.68940251302358),
    (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
    (24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471),
    (
        30.91273214028599,
        -3.1208243349937974,
        77.79954646070892,
        34.28646028294783,
        -19.097331116725623,
        -28.087943162872662,
    ),
    (
        37.80277123390563,
        -3.2571969029072276,
        112.26918849496327,
        66.9347231244047,
        -40.06618937091002,
        -54.66780262877968,
        -9.48861652309627,
    ),
)
_NODES = (0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1.0, 1.0, 1.0)
_TIME = (_GAMMA, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734, 2.325825639765069, 0.0, 0.0, 0.0)
_DENSE = (
    (
        25.948786856663858,
        -2.5579724845846235,
        10.433815404888879,
        -2.3679251022685204,
        0.524948541321073,
        1.1241088310450404,
        0.4272876194431874,
        -0.17202221070155493,
    ),
    (
        -9.91568850695171,
        -0.9689944594115154,
        3.0438037242978453,
        -24.495224566215796,
        20.176138334709044,
        15.98066361424651,
        -6.789040303419874,
        -6.710236069923372,
    ),
    (
        11.419903575922262,
        2.8879645146136994,
        72.92137995996029,
        80.12511834622643,
        -52.072871366152654,
        -59.78993625266729,
        -0.15582684282751913,
        4.883087185713722,
    ),
)


class Rodas5P:
    r"""Steps :math:`(\tfrac{1}{\gamma h} - J)\,u_i = f(Y_i) + \sum_{j<i} \tfrac{c_{ij}}{h} u_j + d_i h f_t`."""

    name, order, error_order, implicit, adaptive = "rodas5p", 5, 5, True, True

    def step(self, system: System, start: Start) -> Step:
        """Advance every row by its own step size."""
        rows, s, h, y, slope = start.rows, start.s, start.h, start.y, start.slope
        both = _stages(y.dtype, y.device)
        span = column(h, y)
        jacobian = system.jacobian(s, y, rows)
        in_time = system.time_derivative(start)
        factors = Factorised.of(_shifted(jacobian, h))
        u: list[Tensor] = []
        point = y
        for i in range(8):
            if i:
                forward, back = combine(both[i], u)
                point = y + forward
                right = system(s + _NODES[i] * h, point, rows) + back / span
            else:
                right = system(s, y, rows) if slope is None else slope
            if in_time is not None and _TIME[i]:
                right = torch.addcmul(right, span, in_time, value=_TIME[i])
            u.append(factors.solve(right.to(torch.float64)).to(y.dtype))
        with torch.no_grad():
            stiffness = h.abs() * jacobian.abs().sum(-1).amax(-1)
        extra = 0 if in_time is None else 2
        work = Work(8 + extra - (slope is not None), jacobians=1, factorisations=1)
        return Step(
            point + u[7], None, u, None, work, error=u[7].detach(), stiffness=stiffness, converged=~factors.singular
        )

    def dense(self, like: Tensor) -> Tensor:
        """Coefficients of the powers of theta in the weight of each stage."""
        return _dense(like.dtype, like.device)


def _shifted(jacobian: Tensor, h: Tensor) -> Tensor:
    shift = 1 / (_GAMMA * h.to(torch.float64))
    matrix = -jacobian.to(torch.float64)
    diagonal = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return torch.addcmul(matrix, shift[..., None, None], diagonal) if h.ndim else matrix + shift * diagonal


@lru_cache
def _stages(dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    return [torch.tensor((a, c), dtype=dtype, device=device) for a, c in zip(_A, _C, strict=True)]


@lru_cache
def _dense(dtype: torch.dtype, device: torch.device) -> Tensor:
    r"""Powers of theta in :math:`\theta y_1 + \theta(1-\theta)(K_1 + \theta K_2 + \theta^2 K_3)` (its section 5)."""
    end = torch.tensor((*_A[7], 1.0), dtype=torch.float64, device="cpu")
    k1, k2, k3 = torch.tensor(_DENSE, dtype=torch.float64, device="cpu")
    return torch.stack([end + k1, k2 - k1, k3 - k2, -k3], dim=1).to(dtype).to(device)
