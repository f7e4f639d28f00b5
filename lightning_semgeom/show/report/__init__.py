"""A page of its own: the history of one or several runs as one HTML file."""

from lightning_semgeom.show.report.page import write_report
from lightning_semgeom.show.report.runs import CONTROL, RunFiles, find_runs

__all__ = ["CONTROL", "RunFiles", "find_runs", "write_report"]
