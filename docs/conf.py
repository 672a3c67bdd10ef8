"""How Sphinx builds the manual."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent

project = "sbm"
author = "The sbm authors"
copyright = "2026, the sbm authors"
release = re.findall(r'^VERSION = "(.+?)"', (ROOT / "setup.py").read_text("utf-8"), re.MULTILINE)[0]
version = release

extensions = ["sphinx.ext.graphviz"]
graphviz_output_format = "svg"
exclude_patterns = ["_build"]
nitpicky = True
smartquotes = False
html_theme = "furo"
html_title = f"sbm {release}"
html_copy_source = False
html_show_sourcelink = False
