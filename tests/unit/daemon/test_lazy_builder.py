"""What only builds need is not loaded by a daemon that builds nothing."""

import subprocess
import sys


def test_the_routes_load_neither_http2_nor_the_planner() -> None:
    names = ("h2", "hpack", "google.protobuf", "tiffin.http.buildkit", "tiffin.build", "tiffin.engine.builds")
    script = (
        "import sys; from tiffin.daemon import services; services.router(); "
        f"print([name for name in {names} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
