"""What can go wrong with a delivery."""

from __future__ import annotations


class DeliveryFault(Exception):
    """A message was not delivered, or not acknowledged; the text is the reason. retry_after_s: how long the receiver asks to be left alone."""

    def __init__(self, reason: str, retry_after_s: float = 0):
        super().__init__(reason)
        self.retry_after_s = retry_after_s
