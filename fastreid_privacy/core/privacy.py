"""What messages, reports and files say of a model whose protected images are not private."""

NOT_PRIVATE = "NOT PRIVATE"
WHY = (
    "at the last check of its training, protected images were closer to the raw ones than the privacy "
    "constraint allows"
)
WORDS = {"private": True, "not private": False}
"""What files of an export say of the model; of one that says nothing it is not known."""


def word_of(private: bool | None) -> dict[str, str]:
    """What an export and a manifest say of a model; {} where it is not known."""
    return next(({"privacy": word} for word, meant in WORDS.items() if meant is private), {})


def meant_by(word: object) -> bool | None:
    """What such a word of a manifest means; None: it is none of them, and nothing is known."""
    return WORDS.get(word) if isinstance(word, str) else None
