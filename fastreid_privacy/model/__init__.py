"""The method itself: stages in front of a fastreid Re-ID model, trained jointly.

``anonymizer`` (what the anonymizer sees), ``storage`` (what a stored file keeps of a protected image),
``image_stages`` (raw images to desensitized, protected and recovered ones), ``supervision`` (what the
anonymizer is trained towards, and the rule that upgrades it), ``losses`` (eqs. 1–6 and the center loss),
``attacker`` (a decoder in the loop, whom the anonymizer must not help), ``reid_losses`` (what Re-ID learns of
a batch), ``heads`` (fastreid's, and the features of theirs that retrieval takes), ``teacher`` (whose features
Re-ID is to find), ``memory_layout`` (how weights lie in memory), ``meta_arch`` (all of it wired together),
``verdict`` (whether a trained model is private), ``parts`` (which tensors of a checkpoint are whose).
"""
