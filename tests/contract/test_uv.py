"""The Makefile's uv trusts the system's certificates, because a company's proxy has its own authority."""

import subprocess

from local.stack import ROOT


def test_the_pinned_uv_knows_the_setting_by_which_the_makefile_has_it_take_the_systems_certificates() -> None:
    help_text = subprocess.check_output([ROOT / ".venv/bin/uv", "pip", "install", "--help"], text=True)
    assert "UV_SYSTEM_CERTS" in help_text
    assert "export UV_SYSTEM_CERTS := true\n" in (ROOT / "Makefile").read_text()
