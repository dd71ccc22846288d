"""Benchmarks, peers beside us in one run: to be read as ratios, for machines differ.

``ranking`` beside fastreid's evaluator and the matrix products alone, ``steps`` of training beside plain AGW,
and what ``checks`` cost beside them, ``collection`` (protecting files) beside its stages alone. Memory is the
peak above what the inputs need.
"""
