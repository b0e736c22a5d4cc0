"""Where the bundle lies that the service ships; apart, so that to know it costs no torch."""

from __future__ import annotations

from pathlib import Path

SHIPPED_BUNDLE = Path(__file__).parents[2] / "service" / "default_bundle"
