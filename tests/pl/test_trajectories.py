import numpy as np
import pytest
from matplotlib.collections import LineCollection

import scnode
from scnode import ScnodeError


def lines_of(ax):
    return next(c for c in ax.collections if isinstance(c, LineCollection))


def test_lines_follow_the_curve_in_the_order_of_time(drawn):
    ax = scnode.pl.trajectories(drawn, show=False, n_trajectories=5)
    lines = lines_of(ax)
    segments = np.array(lines.get_segments())
    assert len(segments) == 5 * 7
    inside = lines.get_alpha() == 1
    assert inside.any()
    points = segments[inside].reshape(-1, 2)
    np.testing.assert_allclose(points[:, 1], points[:, 0] ** 2, atol=0.05)
    t = drawn.uns["scnode"]["trajectories"]["t"]
    assert lines.get_clim() == (t[0], t[-1])
    assert (np.diff(lines.get_array()[:7]) > 0).all()


def test_states_off_the_data_fade(drawn):
    adata = drawn.copy()
    stored = adata.uns["scnode"]["trajectories"]
    latent = stored["latent"].copy()
    latent[:, :, 4:] += 100
    adata.uns["scnode"] = {**adata.uns["scnode"], "trajectories": {**stored, "latent": latent}}
    alpha = lines_of(scnode.pl.trajectories(adata, show=False)).get_alpha().reshape(-1, 7)
    assert (alpha[:, 3:] < 0.5).all()


@pytest.mark.parametrize(("options", "fix"), [({"basis": "tsn"}, "basis="), ({"key_added": "b"}, "tl.trajectories")])
def test_errors_name_the_mending_call(drawn, options, fix):
    with pytest.raises(ScnodeError, match=fix):
        scnode.pl.trajectories(drawn, **options)


def test_of_many_samples_of_each_start_an_even_choice_is_drawn(drawn):
    adata = drawn.copy()
    stored = adata.uns["scnode"]["trajectories"]
    latent = np.repeat(stored["latent"][:4, :1], 200, axis=1)
    adata.uns["scnode"] = {**adata.uns["scnode"], "trajectories": {**stored, "latent": latent}}
    segments = np.array(lines_of(scnode.pl.trajectories(adata, show=False, n_trajectories=40)).get_segments())
    begins = segments.reshape(40, -1, 2, 2)[:, 0, 0]
    number = np.unique(begins.round(9), axis=0, return_counts=True)[1]
    assert number.tolist() == [10] * 4


def test_what_should_not_be_believed_fades_and_has_no_end(drawn):
    adata = drawn.copy()
    stored = dict(adata.uns["scnode"]["trajectories"])
    plain = lines_of(scnode.pl.trajectories(adata, show=False)).get_alpha()
    score = np.zeros(stored["latent"].shape[:3])
    score[..., 4:] = 1.0
    adata.uns["scnode"] = {**adata.uns["scnode"], "trajectories": {**stored, "ood": score}}
    ax = scnode.pl.trajectories(adata, show=False)
    alpha = lines_of(ax).get_alpha().reshape(-1, 7)
    np.testing.assert_allclose(alpha[:, :3], plain.reshape(-1, 7)[:, :3])
    assert (alpha[:, 3:] < 0.2).all()
    assert len(ax.collections[-1].get_offsets()) == 0
