"""The tables and figures of the paper's section 4, for any data set, the paper's beside ours.

In order: ``paper`` (its figures), ``plan`` (which runs the tables need), ``protocols`` (the paper's, and this
project's), ``reproduction`` (the config of each run, plan.json), ``finished`` (which runs have results),
``runs`` (making the others, one process each, with ``progress``),
``raw_agw`` (the upper bound's Re-ID on a full model's images), ``cells`` (results.json → cells
of a ``table``, with ``captions`` and ``gains``), ``formats`` (Markdown, CSV, HTML), ``paper_runs``,
``embedding`` (t-SNE), ``paper_figures`` and ``paper_report`` (the page).
"""
