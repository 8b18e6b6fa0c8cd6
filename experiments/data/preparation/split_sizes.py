"""Sizes of the splits of a fixed data set."""

from collections.abc import Mapping


def split_sizes(largest: Mapping[str, int], chosen: Mapping[str, int | None], title: str) -> dict[str, int]:
    """Return the number of rows of each split; None takes all.

    Args:
        largest: number of rows that the data set has.
        chosen: number of rows that are used, the first ones.
        title: name of the data set, for the message.

    Raises:
        ValueError: a size is out of range.
    """
    sizes = {split: largest[split] if size is None else size for split, size in chosen.items()}
    for split, size in sizes.items():
        if not 1 <= size <= largest[split]:
            raise ValueError(
                f"{split} of {title} has {largest[split]:,} rows, got {split}={size}; take 1 to {largest[split]}."
            )
    return sizes
