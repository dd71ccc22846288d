"""The parts of a model by the first word of their tensors' names."""

from __future__ import annotations

# Parts of the model trained as GANs are; everything else is the Re-ID model.
DISCRIMINATORS = ("anonymization_discriminator", "recovery_discriminator")
GAN_MODULES = ("anonymizer", "recovery", *DISCRIMINATORS, "attacker")
TRAINING_ONLY = ("centers", "supervision", *DISCRIMINATORS, "attacker")
NOT_REID = (*GAN_MODULES, *TRAINING_ONLY)  # parts of a checkpoint that retrieval does not use
