"""What an evaluation leaves in OUTPUT_DIR, written and read in one place.

``results_json`` (the figures), ``stored`` (sample images, rank lists, features, query ranks),
``training_log`` (fastreid's metrics.json).
"""
