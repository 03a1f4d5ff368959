"""What the tests share, by subject."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
