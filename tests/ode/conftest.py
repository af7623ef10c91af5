"""Problems with known solutions, shared by the tests of the engine."""

import pytest
import torch

DOUBLE = torch.float64


class Turning(torch.nn.Module):
    """Rotation at a rate that changes with time: y(t) turns by the integral of 1 + rate * cos(t)."""

    def __init__(self, rate=0.5):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(rate, dtype=DOUBLE))

    def forward(self, t, y):
        return torch.stack([-y[:, 1], y[:, 0]], dim=1) * (1 + self.rate * torch.cos(t))

    def exact(self, y0, ts):
        angle = (ts - ts[..., :1]) + self.rate * (torch.sin(ts) - torch.sin(ts[..., :1]))
        angle = angle.expand(len(y0), -1)
        a, b = y0[:, :1], y0[:, 1:]
        return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


class Network(torch.nn.Module):
    """A small network with an input u(t), smooth enough for finite differences."""

    def __init__(self, state=3, width=6):
        super().__init__()
        rng = torch.Generator().manual_seed(3)
        self.first = torch.nn.Parameter(torch.randn(state, width, generator=rng, dtype=DOUBLE) / state**0.5)
        self.second = torch.nn.Parameter(torch.randn(width, state, generator=rng, dtype=DOUBLE) / width**0.5)
        self.input = torch.nn.Parameter(torch.tensor(0.7, dtype=DOUBLE))

    def forward(self, t, y):
        return torch.tanh(y @ self.first) @ self.second + self.input * torch.sin(3 * t)


class Linear(torch.nn.Module):
    """y' = (y - slow) A^T: decays at the given rates in a rotated basis."""

    def __init__(self, rates):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        basis, _ = torch.linalg.qr(torch.randn(len(rates), len(rates), generator=rng, dtype=DOUBLE))
        self.matrix = torch.nn.Parameter(-basis @ torch.diag(torch.tensor(rates, dtype=DOUBLE)) @ basis.T)

    def forward(self, t, y):
        return y @ self.matrix.T

    def exact(self, y0, ts):
        return torch.stack([y0 @ torch.linalg.matrix_exp(self.matrix * t).T for t in ts], dim=1)


def robertson(t, y):
    a, b, c = y.unbind(1)
    return torch.stack(
        [-0.04 * a + 1e4 * b * c, 0.04 * a - 1e4 * b * c - 3e7 * b**2, 3e7 * b**2],
        dim=1,
    )


def hires(t, y):
    a, b, c, d, e, f, g, h = y.unbind(1)
    return torch.stack(
        [
            -1.71 * a + 0.43 * b + 8.32 * c + 0.0007,
            1.71 * a - 8.75 * b,
            -10.03 * c + 0.43 * d + 0.035 * e,
            8.32 * b + 1.71 * c - 1.12 * d,
            -1.745 * e + 0.43 * f + 0.43 * g,
            -280 * f * h + 0.69 * d + 1.71 * e - 0.43 * f + 0.69 * g,
            280 * f * h - 1.81 * g,
            -280 * f * h + 1.81 * g,
        ],
        dim=1,
    )


def van_der_pol(t, y):
    a, b = y.unbind(1)
    return torch.stack([b, ((1 - a**2) * b - a) * 1e6], dim=1)


@pytest.fixture
def turning():
    return Turning()


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def linear():
    return Linear


# Standard problems: field, start, end, published end state, absolute tolerance in units of the relative one.
# Test Set for IVP Solvers (Mazzia & Magherini 2008); Robertson at 40 by two methods at 1e-13.
STIFF = {
    "robertson to 40": (
        robertson,
        [1.0, 0.0, 0.0],
        40.0,
        [0.71582706871940, 9.1855347645578e-6, 0.28416374574583],
        1e-4,
    ),
    "robertson to 1e11": (
        robertson,
        [1.0, 0.0, 0.0],
        1e11,
        [0.2083340149701255e-7, 0.8333360770334713e-13, 0.9999999791665050],
        1e-9,
    ),
    "hires": (
        hires,
        [1.0, 0, 0, 0, 0, 0, 0, 0.0057],
        321.8122,
        [
            0.7371312573325668e-3,
            0.1442485726316185e-3,
            0.5888729740967575e-4,
            0.1175651343283149e-2,
            0.2386356198831331e-2,
            0.6238968252742796e-2,
            0.2849998395185769e-2,
            0.2850001604814231e-2,
        ],
        1e-4,
    ),
    "van der pol": (van_der_pol, [2.0, 0.0], 2.0, [1.706167732170483, -0.8928097010247975], 1e-2),
}


@pytest.fixture(params=list(STIFF))
def stiff(request):
    return STIFF[request.param]
