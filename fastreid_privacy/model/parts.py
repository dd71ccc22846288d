"""The parts of a model by the first word of their tensors' names."""

from __future__ import annotations

# Parts of the model trained as GANs are; everything else is the Re-ID model.
GAN_MODULES = ("anonymizer", "recovery", "anonymization_discriminator", "recovery_discriminator")
TRAINING_ONLY = ("centers", "supervision", "anonymization_discriminator", "recovery_discriminator")
NOT_REID = (*GAN_MODULES, *TRAINING_ONLY)  # parts of a checkpoint that retrieval does not use
