"""Packaging: ``pip install "fastreid_privacy[all]"`` and ``pip install --no-deps fastreid==1.4.0``.

The lowest versions here are those that the tests run with: requirements.txt pins them. The highest stop
before the next release that may break.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (root / "fastreid_privacy" / "core" / "version.py").read_text())

# fastreid itself is left out: its metadata pins torch 1.13.1, so it is installed with --no-deps.
ALWAYS = [
    "torch>=2.15,<3",
    "torchvision>=0.29,<1",
    "numpy>=2.4,<3",
    'faiss-gpu>=1.15,<2 ; sys_platform == "linux" and platform_machine == "x86_64"',
    'faiss-cpu>=1.15,<2 ; sys_platform != "linux" or platform_machine != "x86_64"',
    "opencv-python>=4.14,<5",
    "pillow>=12.3,<14",
    "torchmetrics>=1.9,<2",
    "yacs>=0.1.8,<0.2",
    "tqdm>=4.70,<5",
    "matplotlib>=3.11,<4",
    "jinja2>=3.1,<4",
    "safetensors>=0.8,<1",
    "shtab>=1.13,<2",
    # what fastreid imports besides
    "pyyaml>=6,<7",
    "scikit-learn>=1.9,<2",
    "scipy>=1.17,<2",
    "tabulate>=0.10,<1",
    "tensorboard>=2.21,<3",
    "termcolor>=3.3,<4",
    "gdown>=6.5,<7",
    "h5py>=3.16,<4",  # CUHK03 is one file of MATLAB 7.3, which is HDF5
]
EXTRAS = {  # fastreid_privacy/core/extras.py names them where one is missing
    "video": ["av>=18.1,<19"],
    "onnx": ["onnxruntime>=1.32,<2", "onnx>=1.23,<2", "onnxscript>=0.7,<0.8"],
    "attack": ["scikit-image>=0.26,<1"],
    "cluster": ["ray>=2.60,<3", "fsspec>=2026.9"],
    "app": ["gradio>=6.31,<7"],
    "custody": ["cryptography>=50", "pynacl>=1.6,<2"],  # cryptography keeps what is used here through majors
}

setup(
    name="fastreid_privacy",
    version=version[1],
    description="Reversible, learnable anonymization of pedestrian images for fastreid",
    long_description=(root / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["fastreid_privacy", "fastreid_privacy.*"]),
    package_data={"": ["*.html", "*.css", "*.js"]},
    entry_points={"console_scripts": ["fastreid-privacy = fastreid_privacy.commands.main:main"]},
    install_requires=ALWAYS,
    extras_require={**EXTRAS, "all": [library for extra in EXTRAS.values() for library in extra]},
)
