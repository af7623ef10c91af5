"""Sphinx configuration."""

from __future__ import annotations

import os
from importlib.metadata import version as installed

from sphinx.ext.intersphinx import missing_reference

# Notebooks show their figures in the page, whatever backend the surroundings ask for.
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"

project = "scnode"
author = "The scnode developers"
copyright = f"2026, {author}"
version = release = installed("scnode")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints"]
autosummary_generate = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "cache"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
# Progress bars and the advice of other packages are no part of a page.
nb_output_stderr = "remove"

html_theme = "sphinx_book_theme"
html_title = "scnode"
html_static_path = ["_static"]
html_css_files = ["scnode.css"]
html_theme_options = {
    "repository_url": "https://github.com/scverse/scnode",
    "path_to_docs": "docs",
    "use_repository_button": True,
    "use_download_button": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}

# Names of other projects link to their pages where these can be reached; a build without a network has no such links.
_NEIGHBOURS = {
    "anndata": "https://anndata.readthedocs.io/en/stable/",
    "distributed": "https://distributed.dask.org/en/stable/",
    "lightning": "https://lightning.ai/docs/pytorch/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
    "python": "https://docs.python.org/3/",
    "scanpy": "https://scanpy.readthedocs.io/en/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}
intersphinx_mapping = {k: (v, None) for k, v in _NEIGHBOURS.items()} if os.environ.get("READTHEDOCS") else {}

_IN_FULL = {
    "AnnData": "anndata.AnnData",
    "ArrayLike": "numpy.typing.ArrayLike",
    "Axes": "matplotlib.axes.Axes",
    "Client": "distributed.Client",
    "Colormap": "matplotlib.colors.Colormap",
    "FuncAnimation": "matplotlib.animation.FuncAnimation",
    "Figure": "matplotlib.figure.Figure",
    "Iterable": "collections.abc.Iterable",
    "Module": "torch.nn.Module",
    "NDArray": "numpy.typing.NDArray",
    "Path": "pathlib.Path",
    "Sequence": "collections.abc.Sequence",
    "SubFigure": "matplotlib.figure.SubFigure",
    "Tensor": "torch.Tensor",
    "nn.Module": "torch.nn.Module",
    "torch._C.Generator": "torch.Generator",
}
# Aliases of types, and private classes behind public ones, are named in signatures and have no page of their own.
_UNLISTED = (
    "Controls",
    "Curved",
    "GeneLevel",
    "Input",
    "Level",
    "Mode",
    "RandomState",
    "Start",
    "Table",
    "VectorField",
    "scnode.nn._curved.Curved",
)
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", rf"({'|'.join(['collections', 'enum', 'np', 'pathlib', 'pd', 'scipy', *_NEIGHBOURS])})\..*"),
    ("py:class", "|".join([*_IN_FULL, *_UNLISTED])),
]


def _name_in_full(app, env, node, contnode):
    """Look a name that is imported for types alone up under its full name."""
    name = node.get("reftarget", "")
    name = _IN_FULL.get(name, name)
    for short, long in (("np.", "numpy."), ("pd.", "pandas.")):
        name = long + name.removeprefix(short) if name.startswith(short) else name
    node["reftarget"] = name
    return missing_reference(app, env, node, contnode)


def setup(app):
    """Register what this file adds."""
    app.connect("missing-reference", _name_in_full, priority=400)
