"""The method itself: stages in front of a fastreid Re-ID model, trained jointly.

``anonymizer`` (what the anonymizer sees), ``storage`` (what a stored file keeps of a protected image),
``supervision`` (what the anonymizer is trained towards, and the rule that upgrades it), ``losses`` (eqs. 1–6
and the center loss), ``memory_layout`` (how weights lie in memory), ``meta_arch`` (all of it wired together),
``parts`` (which tensors of a checkpoint are whose).
"""
