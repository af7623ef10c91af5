import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from matplotlib.collections import LineCollection
from matplotlib.legend import Legend
from PIL import Image

import scnode
from scnode import ScnodeError

# Frames are drawn one by one here, and not by the film.
pytestmark = pytest.mark.filterwarnings("ignore:Animation was deleted")


def drawn_at(film, number):
    """Dots and tails of a frame."""
    dots, tails = film._func(number)[:2]
    assert isinstance(tails, LineCollection)
    return np.asarray(dots.get_offsets()), tails.get_segments(), dots


def test_dots_go_along_the_curve_with_their_tails_behind_them(drawn):
    film = scnode.pl.animate(drawn, color="stage", n_trajectories=5, n_tail=3)
    first, _, _ = drawn_at(film, 0)
    last, tails, dots = drawn_at(film, 7)
    assert (last[:, 0] > first[:, 0]).all()
    assert [len(tail) for tail in tails] == [4] * 5
    np.testing.assert_allclose([tail[-1] for tail in tails], last)
    inside = dots.get_facecolors()[:, 3] == 1
    assert inside.any()
    np.testing.assert_allclose(last[inside, 1], last[inside, 0] ** 2, atol=0.05)
    assert dots.axes.get_title() == "time 1.00"


def test_a_state_off_the_data_fades(drawn):
    adata = drawn.copy()
    stored = adata.uns["scnode"]["trajectories"]
    latent = stored["latent"].copy()
    latent[:, :, 4:] += 100
    adata.uns["scnode"] = {**adata.uns["scnode"], "trajectories": {**stored, "latent": latent}}
    film = scnode.pl.animate(adata)
    assert (drawn_at(film, 7)[2].get_facecolors()[:, 3] < 0.2).all()


def test_both_arms_of_a_perturbation_go_together(drawn):
    adata = scnode.tl.perturb(drawn, {"g0": 0.5}, name="low", copy=True)
    film = scnode.pl.animate(adata, perturbation="low", n_trajectories=6)
    control, perturbed = film._func(3)[::2]
    paths = adata.uns["scnode"]["perturbations"]["low"]
    assert len(control.get_offsets()) == len(perturbed.get_offsets()) == min(6, len(paths["path_start"]))
    assert not np.allclose(control.get_offsets(), perturbed.get_offsets())
    (arms,) = control.axes.findobj(Legend)
    assert [text.get_text() for text in arms.get_texts()] == ["control", "perturbed"]
    with pytest.raises(ScnodeError, match=r"Did you mean 'low'"):
        scnode.pl.animate(adata, perturbation="lo")


def test_a_picture_has_a_frame_for_each_step(drawn, tmp_path):
    path = tmp_path / "cells.gif"
    scnode.pl.animate(drawn, path=path, dpi=40, fps=10)
    with Image.open(path) as picture:
        assert picture.n_frames == 8
        assert picture.info["duration"] == 100


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="ffmpeg is not installed")
def test_a_film_is_written_by_ffmpeg(drawn, tmp_path):
    path = tmp_path / "cells.mp4"
    scnode.pl.animate(drawn, path=path, dpi=40)
    assert path.stat().st_size > 1000


def test_errors_name_the_mending_call(drawn, tmp_path, monkeypatch):
    with pytest.raises(ScnodeError, match=r"\.gif"):
        scnode.pl.animate(drawn, path=tmp_path / "cells.txt")
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda _: False))
    with pytest.raises(ScnodeError, match=r"Pass a \.gif"):
        scnode.pl.animate(drawn, path=tmp_path / "cells.mp4")
    with pytest.raises(ScnodeError, match=r"tl\.trajectories"):
        scnode.pl.animate(drawn, key_added="other")
    assert list(tmp_path.iterdir()) == []
