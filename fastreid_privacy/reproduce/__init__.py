"""The tables of the paper's section 4 from one command, for any data set, the paper's figures beside ours.

In order: ``paper`` (its figures), ``plan`` (which runs the tables need), ``schedule`` (a smaller budget), ``reproduction`` (the config of
each run, plan.json), ``runs`` (making them, one process each), ``raw_agw`` (the upper bound's Re-ID on a full model's images), ``cells``
(results.json → figures), ``tables`` (Markdown, CSV, HTML), ``command_line``.
"""
