import numpy as np
import pytest
import torch

from scnode import ode
from scnode.nn import Hold

A = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
B = torch.tensor([0.5, -1.0], dtype=torch.float64)


def test_confined_states_meet_the_constraint_with_the_least_change():
    states = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = Hold(A, B).confine(states)
    torch.testing.assert_close(moved @ A.T, B.expand(7, 2))
    # The least change has no part along the plane.
    along = np.linalg.svd(A.numpy())[2][2:]
    np.testing.assert_allclose((moved - states).numpy() @ along.T, 0, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 2])
def test_flow_stays_on_the_constraint_and_keeps_the_rest(rows):
    hold = Hold(A[:rows], B[:rows])
    matrix = torch.tensor([[0.0, 1.0, 0.3], [-1.0, 0.2, 0.0], [0.5, 0.0, -0.4]], dtype=torch.float64)

    def field(t, y):
        return y @ matrix.T

    start = hold.confine(torch.ones(1, 3, dtype=torch.float64))
    ts = torch.linspace(0, 2, 5, dtype=torch.float64)
    ys = ode.solve(hold.wrap(field), start, ts, rtol=1e-9, atol=1e-10).ys
    torch.testing.assert_close(ys @ A[:rows].T, B[:rows].expand(1, 5, rows), atol=1e-7, rtol=0)
    across = torch.linalg.pinv(A[:rows]) @ A[:rows]
    np.testing.assert_allclose(
        hold.wrap(field)(None, start), (field(None, start) @ (torch.eye(3, dtype=torch.float64) - across).T), atol=1e-12
    )
