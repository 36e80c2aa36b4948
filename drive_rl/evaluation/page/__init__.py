"""The evaluation as one HTML page: offline, light and dark, on a phone and on paper."""

from drive_rl.evaluation.page.render import film_crashes, render, write_page

__all__ = ["film_crashes", "render", "write_page"]
