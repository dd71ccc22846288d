"""Human verification (the paper's table 2): can people tell whether two images show the same person?

1. ``groups``        the 13 groups of pairs, and who made their images
2. ``pairs``         drawing pairs, balanced and seeded, and dealing them to participants
3. ``study_images``  the images of the groups, from a test set and trained models
4. ``pages``         one self-contained page for each participant, and the key that the pages do not hold
5. ``score``         answers → accuracy of each group with confidence intervals
"""

from .groups import GROUPS, Group
from .pairs import Pair, deal, draw_pairs
from .score import read_answers, score_study

__all__ = ["GROUPS", "Group", "Pair", "deal", "draw_pairs", "read_answers", "score_study"]
