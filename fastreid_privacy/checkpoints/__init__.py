"""Checkpoints as files and as functions; nothing here trains.

``reading`` (files, without running code from them), ``rebuilding`` (their networks, from the config that they
carry), ``fingerprints`` (which files belong together), ``checksum`` (whether a file is as it was written),
``image_maps`` (anonymizer and recovery as functions of images), ``opening`` (those functions from their
files), ``splitting`` (the parts that the holders of a model get), ``onnx_export`` and ``onnx_runtime`` (the
same as ONNX graphs), ``mobilenet`` (torchvision's weights for fastreid's backbone).
"""
