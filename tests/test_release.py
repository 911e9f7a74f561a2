"""What a release needs: one version everywhere, a site with every page, and a core that says what is missing."""

from __future__ import annotations

import re
import subprocess
import sys

import yaml
from conftest import ROOT
from test_layout import WITHOUT_THE_REST

REST_IS_MISSING = (
    WITHOUT_THE_REST.partition("import pkgutil")[0]
    + """
import explorer
try:
    explorer.run
except ImportError as error:
    print(error)
from explorer.__main__ import main
sys.argv = ["explorer", "check", "x.yaml"]
main()
"""
)


def test_the_version_is_the_same_everywhere() -> None:
    (version,) = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), flags=re.M)
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text()
    images = re.findall(r"image: REGISTRY/explorer:(\S+)", (ROOT / "deploy/rayjob.yaml").read_text())
    images += re.findall(r"-t REGISTRY/explorer:(\S+)", (ROOT / "deploy/Dockerfile").read_text())
    assert len(images) == 3
    assert set(images) == {version}


def test_the_site_has_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in text, page
    for named in re.findall(r"[\w./-]+\.md", text):
        assert (ROOT / named).is_file(), named


def test_without_other_packages_the_rest_says_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REST_IS_MISSING], cwd=ROOT, capture_output=True, text=True, check=False
    )
    for said in (done.stdout, done.stderr):
        assert re.search(r"the package \w+ is missing: pip install explorer-landscapes", said)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
