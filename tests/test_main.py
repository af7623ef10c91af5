from importlib.metadata import version as installed

import anndata as ad
import pytest

import scnode
from scnode.__main__ import main


@pytest.mark.slow
def test_the_demo_says_how_close_it_is_and_leaves_its_results(tmp_path, capsys):
    with scnode.settings.override(verbosity=0):
        assert main(["demo", "--folder", str(tmp_path), "--cells", "300"]) == 0
    said = capsys.readouterr().out
    assert "Cosine of fitted and true velocity" in said
    assert "FateA_TF1 knock-out, share of FateA" in said
    figures = {path.name for path in tmp_path.glob("*.png")}
    assert figures == {"stream.png", "grid.png", "trajectories.png", "history.png", "divergence.png"}
    adata = ad.read_h5ad(tmp_path / "demo.h5ad")
    assert scnode.get.model(adata).n_latent == 20


def test_a_command_that_does_not_exist_is_told(capsys):
    with pytest.raises(SystemExit):
        main(["dmeo"])
    assert "demo" in capsys.readouterr().err


def test_without_a_command_the_versions_of_a_bug_report_are_printed(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"scnode {scnode.__version__}"
    assert f"anndata {installed('anndata')}" in said
    assert sum(line.startswith("pytest ") for line in said) == 1


def test_the_version_alone(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.strip() == scnode.__version__
