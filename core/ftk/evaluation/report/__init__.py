"""The report of a run: one page of HTML that a person can show around, and Markdown for a model card."""

from __future__ import annotations

from .making import make_report as make_report
