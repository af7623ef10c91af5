import numpy as np

from scnode.pl._grid import on_grid


def test_a_uniform_flow_stays_uniform_and_holes_stay_empty():
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, 4000), rng.uniform(1, 2, 4000)
    cells = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    field = on_grid(cells, np.tile([0.5, -1.0], (4000, 1)), np.full(4000, 0.7), n_grid=30)
    x, y = np.meshgrid(field.x, field.y)
    distance = np.hypot(x, y)
    seen = np.isfinite(field.trust)
    assert seen[(distance > 1.1) & (distance < 1.9)].all()
    assert not seen[(distance < 0.7) | (distance > 2.3)].any()
    np.testing.assert_allclose(field.velocity[seen], np.tile([0.5, -1.0], (seen.sum(), 1)))
    np.testing.assert_allclose(field.trust[seen], 0.7)
    np.testing.assert_allclose(np.diff(field.x), field.x[1] - field.x[0])
