"""The benchmark of ranking at its smallest: it runs, whatever is left of the galleries."""

from __future__ import annotations

import fastreid_privacy  # noqa: F401  before fastreid

# isort: split
import re

import pytest
import torch

from fastreid_privacy.bench import ranking


@pytest.mark.parametrize("scale", [1e-3, 1e-9])
def test_the_smallest_galleries_have_matches(monkeypatch, capsys, scale):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(ranking, "fastreid_cython", lambda: None)  # it is compiled
    ranking.bench_ranking(["market", "msmt17", "million"], scale, 1)
    printed = capsys.readouterr().out
    sizes = re.findall(r"^.*anking ([\d,]+) × ([\d,]+) ×", printed, re.MULTILINE)
    assert sizes == [("10", "1,500"), ("11" if scale == 1e-3 else "10", "1,500"), ("10", "1,500")]
    assert len(re.findall(r"^  ours  .* the matrix product", printed, re.MULTILINE)) == 3


def test_a_whole_gallery_stays_as_it_is():
    assert ranking.MARKET.scaled(1.0) == ranking.MARKET
    assert ranking.MSMT17.scaled(0.5) == (5829, 41080, 2048)
    assert ranking.Size(100, 50, 8).scaled(0.1) == (10, 50, 8)
