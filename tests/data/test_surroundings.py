import numpy as np

from scnode.data import surroundings


def test_states_far_from_a_disc_are_sent_back_and_near_ones_follow_the_cells():
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, 2000), np.sqrt(rng.uniform(size=2000))
    latent = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    velocity = np.tile([1.0, 0.0], (2000, 1))
    states, target = surroundings(latent, velocity, rng=rng)
    distance = np.linalg.norm(states, axis=1)
    inside = distance < 0.9
    np.testing.assert_allclose(target[inside], velocity[inside], atol=1e-6)
    far = distance > 1.13
    assert far.sum() > 20
    radial = (target[far] * states[far]).sum(1) / distance[far]
    assert (radial < 0).all()


def test_in_time_a_state_follows_the_cell_that_it_was_drawn_around():
    """Cells of two times at the same places, which move against each other."""
    latent = np.repeat(np.random.default_rng(0).normal(size=(300, 2)), 2, axis=0)
    velocity = np.tile([[3.0, 0.0], [-3.0, 0.0]], (300, 1))
    apart, mixed = (
        surroundings(latent, velocity, rng=np.random.default_rng(1), in_time=in_time) for in_time in (True, False)
    )
    np.testing.assert_array_equal(apart[0], mixed[0])
    among = np.linalg.norm(apart[0], axis=1) < 0.8
    assert among.sum() > 20
    np.testing.assert_allclose(apart[1][among], velocity[among], atol=1e-9)
    assert np.abs(mixed[1][among]).max() < 1
